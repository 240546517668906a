#include "core/comm/identity.h"

#include <doctest/doctest.h>

#include <map>

#include "core/base/bytes.h"
#include "core/comm/slices.h"
#include "core/group_bytes.h"
#include "rewards/memory.h"
#include "tests/testing.h"

namespace vernier {
namespace {

Identity from(std::map<std::string, std::string> variables) {
  return identity_from([variables](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

std::string problem_of(std::map<std::string, std::string> variables) {
  try {
    from(std::move(variables));
  } catch (const UsageError& problem) {
    return problem.what();
  }
  return "";
}

}  // namespace

TEST_CASE("identity: alone, and in the shell of a Slurm batch job") {
  CHECK(from({}).launcher == "alone");
  CHECK(from({}).world_size == 1);
  // A batch script has these without being a step.
  CHECK(from({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "7"}}).launcher ==
        "alone");
  CHECK(from({{"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}})
            .launcher == "alone");
}

TEST_CASE("identity: torchrun") {
  const Identity one = from({{"RANK", "3"},
                             {"WORLD_SIZE", "4"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "2"},
                             {"MASTER_ADDR", "10.0.0.1"},
                             {"MASTER_PORT", "29500"},
                             {"TORCHELASTIC_RUN_ID", "x"},
                             {"TORCHELASTIC_RESTART_COUNT", "2"},
                             {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                             {"SLURM_STEP_ID", "0"},
                             {"SLURM_STEP_NUM_TASKS", "9"}});
  CHECK(one.rank == 3);
  CHECK(one.local_rank == 1);
  CHECK(one.agent_store);
  CHECK(!one.on_one_machine());
  CHECK(description_of(one) ==
        "rank 3 of 4 (torchrun; 1 of 2 on this machine; store at 10.0.0.1:29500)");
}

TEST_CASE("identity: Open MPI, with and without an address") {
  std::map<std::string, std::string> variables = {{"OMPI_COMM_WORLD_RANK", "1"},
                                                  {"OMPI_COMM_WORLD_SIZE", "2"},
                                                  {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                                  {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                                  {"PMIX_NAMESPACE", "job-17"}};
  const Identity local = from(variables);
  CHECK(local.launcher == "Open MPI");
  CHECK(local.address == "127.0.0.1");
  CHECK(local.port >= 20000);
  CHECK(local.port < 30000);
  variables["OMPI_COMM_WORLD_RANK"] = "0";
  CHECK(from(variables).port == local.port);
  variables["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1";
  variables["OMPI_COMM_WORLD_LOCAL_RANK"] = "0";
  CHECK_MESSAGE(problem_of(variables).find("MASTER_ADDR is not set") != std::string::npos,
                problem_of(variables));
}

TEST_CASE("identity: a step of Slurm") {
  const std::map<std::string, std::string> variables = {{"SLURM_JOB_ID", "4711"},
                                                        {"SLURM_STEP_ID", "0"},
                                                        {"SLURM_STEP_NUM_TASKS", "7"},
                                                        {"SLURM_PROCID", "6"},
                                                        {"SLURM_LOCALID", "0"},
                                                        {"SLURM_NODEID", "3"},
                                                        {"SLURM_STEP_TASKS_PER_NODE", "2(x3),1"},
                                                        {"SLURM_STEP_NODELIST", "gpu[03-05,9]"}};
  const Identity one = from(variables);
  CHECK(one.launcher == "Slurm");
  CHECK(one.rank == 6);
  CHECK(one.local_world_size == 1);
  CHECK(one.address == "gpu03");
  CHECK(one.port >= 20000);
}

TEST_CASE("identity: the first host of a list") {
  CHECK(first_host("login") == "login");
  CHECK(first_host("a,b") == "a");
  CHECK(first_host("gpu[03-07,9],login") == "gpu03");
  CHECK(first_host("rack[2]node,x") == "rack2node");
  for (const char* wrong : {"", ",a", "gpu[1-2", "gpu[]", "n[1-2]c[1-3]"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(first_host(wrong), UsageError);
  }
}

TEST_CASE("identity: half an environment is an error that names the variable") {
  CHECK(problem_of({{"RANK", "0"}}) ==
        "environment: WORLD_SIZE is not set, RANK is: a rank needs both");
  CHECK(problem_of({{"RANK", "one"}, {"WORLD_SIZE", "2"}}) ==
        "environment: RANK = \"one\": expected a number from 0 to 1048576");
  CHECK(problem_of({{"RANK", "2"}, {"WORLD_SIZE", "2"}}) ==
        "environment: RANK = 2 and WORLD_SIZE = 2: ranks go from 0 to the size less 1");
  CHECK(problem_of({{"RANK", "0"}, {"WORLD_SIZE", "2"}}).find("MASTER_ADDR is not set") !=
        std::string::npos);
  CHECK(problem_of({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}})
            .find("MASTER_PORT is not set") != std::string::npos);
  CHECK(problem_of({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_WORLD_SIZE", "3"}})
            .find("LOCAL_WORLD_SIZE = 3") != std::string::npos);
  // Alone under a launcher there is nobody to meet.
  CHECK(problem_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).empty());
}

TEST_CASE("slices: every block has one rank, in order, evenly over any stretch") {
  constexpr int64_t kBlock = Slices::kBlock;
  for (const int64_t count : {int64_t{1}, kBlock, kBlock + 1, int64_t{1000001}})
    for (const int64_t ranks : {1, 2, 3, 4, 64}) {
      CAPTURE(count);
      CAPTURE(ranks);
      const Slices slices(count, ranks);
      int64_t all = 0;
      for (int64_t r = 0; r < ranks; ++r) {
        int64_t end = 0;
        slices.for_blocks(r, 0, count, [&](int64_t at, int64_t place, int64_t some) {
          CHECK(at / kBlock % ranks == r);
          CHECK(place == end);
          end += some;
          CHECK((some == kBlock || at + some == count));
        });
        CHECK(end == slices.size(r));
        CHECK(end <= slices.each());
        all += end;
      }
      CHECK(all == count);
      CHECK(slices.size(ranks) == 0);  // of a rank that is not one of them
    }
  // A stretch within blocks, and its places in the slice.
  std::vector<std::vector<int64_t>> found;
  Slices(10 * kBlock, 3)
      .for_blocks(1, kBlock + 5, 7 * kBlock + 2, [&](int64_t at, int64_t place, int64_t some) {
        found.push_back({at, place, some});
      });
  CHECK(found == std::vector<std::vector<int64_t>>{{kBlock + 5, 5, kBlock - 5},
                                                   {4 * kBlock, kBlock, kBlock},
                                                   {7 * kBlock, 2 * kBlock, 2}});
}

namespace {

Group full_group() {
  Group group;
  group.id = 5;
  group.step = 9;
  group.dropped = "flat";
  group.role = "monitor";
  group.greedy_reward = 0.25;
  group.rank = 3;
  group.prompt.id = "p";
  group.prompt.index = 77;
  group.prompt.text = "what?";
  group.prompt.ids = {1, 2, 3};
  group.prompt.answer = "4";
  group.prompt.other_answers = {"four", "IV"};
  group.prompt.verify = "exact";
  group.prompt.task = "t";
  group.prompt.difficulty = 2.5;
  group.prompt.max_completion_length = 8;
  group.prompt.is_chat = true;
  group.prompt.round = "1";
  group.prompt.baseline = "2";
  group.prompt.target_length = "3";
  group.prompt.row = "{}";
  Response& one = group.responses.emplace_back();
  one.sample = 1;
  one.text = "t\xff";
  one.ids = {4, 5, 6};
  one.logprobs = {-0.5F, -0.25F, -1.0F};
  one.sampled_logprobs = {-1.0F};
  one.plain_logprobs = {-2.0F};
  one.top_logprobs = {{{4, -0.5F}}, {}};
  one.forced = {1};
  one.assumed = {0};
  one.branch = {.thought = 1, .exit = 2, .cut = 3};
  one.finish_reason = FinishReason::deadline;
  one.flags = {"a", "b"};
  one.num_tokens = 3;
  one.raw_num_tokens = 4;
  one.think = {0, 1};
  one.answer_span = {1, 2};
  one.first_correct = 2;
  one.correct = true;
  one.sampled_correct = false;
  one.versions = {{7, 3}};
  one.rewards = {{"acc", 1.0, 0.5, "", {{"n", 2.0}}}, {"len", 0.0, 1.0, "why", {}}};
  one.reward = 0.5;
  one.advantage = -1;
  one.token_advantages = {1.0F};
  one.token_bonus = {2.0F};
  one.transforms = {"dot"};
  one.masked = one.left_out = one.left_out_in_batch = true;
  one.explain = "[]";
  one.row = "{\"x\":1}";
  return group;
}

}  // namespace

TEST_CASE("bytes: a group goes there and back with every field") {
  const Group whole = full_group();
  const std::string bytes = bytes_of_groups({whole, Group()});
  const std::vector<Group> back = groups_from_bytes(bytes, "test");
  CHECK(bytes_of_groups(back) == bytes);
  // Nothing is left as a fresh one has it, so a field that the list forgot would show.
  const Response &was = whole.responses[0], &is = back[0].responses[0];
  CHECK(is.text == was.text);
  CHECK(is.top_logprobs == was.top_logprobs);
  CHECK(is.finish_reason == FinishReason::deadline);
  CHECK(is.versions == was.versions);
  CHECK(is.rewards[0].components == was.rewards[0].components);
  CHECK(is.rewards[1].abstained == "why");
  CHECK(is.first_correct == was.first_correct);
  CHECK(is.row == was.row);
  CHECK(back[0].prompt.target_length == "3");
  CHECK(back[0].prompt.other_answers == whole.prompt.other_answers);
  CHECK(back[0].rank == 3);
}

TEST_CASE("bytes: the numbers of a group say what a step needs of it") {
  const Group whole = full_group(), numbers = numbers_of(whole);
  const Response &was = whole.responses[0], &is = numbers.responses[0];
  CHECK(is.elsewhere);
  CHECK(is.ids.empty());
  CHECK(is.text.empty());
  CHECK(drawn_tokens(is) == drawn_tokens(was));
  CHECK(mean_logprob(is) == mean_logprob(was));
  CHECK(mean_logprob(was) == -0.75);
  CHECK(is.reward == was.reward);
  CHECK(is.correct == was.correct);
  CHECK(is.raw_num_tokens == 4);
  CHECK(numbers.prompt.ids.empty());
  CHECK(numbers.greedy_reward == whole.greedy_reward);
}

TEST_CASE("bytes: cut anywhere, or with a length that lies, they are refused") {
  const std::string bytes = bytes_of_groups({full_group()});
  for (size_t size = 0; size < bytes.size(); ++size)
    CHECK_THROWS_AS(groups_from_bytes(std::string_view(bytes).substr(0, size), "test"), RunError);
  CHECK_THROWS_AS(groups_from_bytes(bytes + "x", "test"), RunError);
  std::string huge = bytes;
  huge[7] = '\x7f';  // 2^62 groups
  CHECK_THROWS_AS(groups_from_bytes(huge, "test"), RunError);
  // Every byte that is flipped gives groups or an error, and takes no memory that is not there.
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x80);
    try {
      groups_from_bytes(flipped, "test");
    } catch (const RunError&) {
    }
  }
}

TEST_CASE("bytes: notes of a step") {
  StepNotes notes;
  notes.add("hapo", 4, {{"length", 12.5, "p1"}, {"length", 3, ""}});
  notes.add("leash", 2, {{"lambda", 0.1, ""}});
  const StepNotes back = StepNotes::from_bytes(notes.to_bytes(), "test");
  CHECK(back.to_bytes() == notes.to_bytes());
  CHECK(back.of("hapo").at(0).prompt == "p1");
  CHECK(back.of("hapo").at(0).value == 12.5);
}

}  // namespace vernier
