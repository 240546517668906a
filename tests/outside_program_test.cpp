// Rewards that are programs: what they answer, and what becomes of those that misbehave.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <thread>

#include "rewards/outside/program_copy.h"
#include "tests/outside_cases.h"
#include "tests/socket_client.h"

namespace vernier {
namespace {

using testing::begins;
using testing::comes_true;
using testing::outside_chain;
using testing::outside_group;
using testing::outside_reward;
using testing::python_command;
using testing::scores_of;
using testing::usage_error;

std::unique_ptr<Reward> program(const std::string& mode, const std::string& keys = "",
                                const std::string& argument = "") {
  return outside_reward("program",
                        cat("command = ", python_command(mode, argument), "\n", keys, "\n"));
}

TEST_CASE("a program scores responses, one by one or as a group, and is told of them before") {
  const auto reward = program("good", "copies = 2");
  const Group group = outside_group({"a", "bb", "ccc"});
  CHECK_FALSE(reward->needs_group());
  for (size_t i = 0; i < 3; ++i) reward->expect(group, i);
  for (int again = 0; again < 2; ++again) {
    const std::vector<Score> scores = scores_of(*reward, group);
    for (size_t i = 0; i < 3; ++i) {
      CHECK(scores[i].abstain == "");
      CHECK(scores[i].value == static_cast<double>(i + 1));
      REQUIRE(scores[i].components.size() == 1);
      CHECK(scores[i].components[0] == std::pair<std::string, double>("tokens", i + 2));
    }
  }
  CHECK(reward->counters()["asked"] == 3);  // the second time, the answers were there
  Group cut = group;
  cut.responses[2].text = "c";
  CHECK(scores_of(*reward, cut)[2].value == 1);
  CHECK(reward->counters()["asked"] == 4);

  const auto share = program("group", "needs_group = true");
  CHECK(share->needs_group());
  CHECK(scores_of(*share, group)[2].value == doctest::Approx(4.0 / 9));
  CHECK(scores_of(*program("row"), group)[0].value == 2.5);
  const auto abstains = program("abstain");
  CHECK(scores_of(*abstains, group)[1].abstain == "no opinion");
  CHECK(abstains->counters().count("failed/no opinion") == 0);
}

TEST_CASE("a response that the policy did not end is not asked about") {
  const auto reward = program("good");
  Group group = outside_group({"a", "bb"});
  group.responses[1].finish_reason = FinishReason::deadline;
  reward->expect(group, 1);
  CHECK(scores_of(*reward, group)[1].abstain == "finish reason deadline");
  CHECK(reward->counters()["asked"] == 1);
}

// Mode, how the reason begins, what it is counted by.
TEST_CASE("a program that misbehaves abstains, with its cause, in time") {
  const Group group = outside_group({"aaaa"});
  struct Case {
    const char *mode, *reason, *counted;
  };
  for (const Case& one : {Case{"sleep",
                               "timeout: no answer within start_s = 1 s; the program has not "
                               "answered since it was started",
                               "timeout"},
                          Case{"die", "died: the program ended with exit code 3", "died"},
                          Case{"crash", "died: the program ended with signal 11", "died"},
                          Case{"garbage", "garbage: reply: not JSON", "garbage"},
                          Case{"chatty", "garbage: reply: not JSON", "garbage"},
                          Case{"late", "timeout: no answer within start_s", "timeout"},
                          Case{"nan", "nan: the score is not a finite number", "nan"},
                          Case{"few", "count: 0 rewards for 1 responses", "count"},
                          Case{"version", "version: the reply is of version 2", "version"},
                          Case{"other", "garbage: the reply is to \"another\"", "garbage"},
                          Case{"threw", "threw: ValueError: 7", "threw"},
                          Case{"flood", "garbage: a line of more than 16777216 bytes", "garbage"},
                          Case{"spin", "timeout: no answer within start_s", "timeout"}}) {
    CAPTURE(one.mode);
    // On a busy machine the interpreter alone may take a second, which counts.
    const bool waits = begins(one.reason, "timeout");
    const auto reward =
        program(one.mode, waits ? "deadline_s = 2\nstart_s = 1" : "deadline_s = 40", "5");
    const Clock clock;
    const std::vector<Score> scores = scores_of(*reward, group);
    CAPTURE(scores[0].abstain);
    CHECK(begins(scores[0].abstain, one.reason));
    CHECK(clock.seconds() < (waits ? 3.5 : 40.0));
    CHECK(reward->counters()[cat("failed/", one.counted)] == 1);
  }
  CHECK(comes_true([] { return testing::spawned().empty(); }));
}

TEST_CASE("a program goes on after a failure, restarted where it has died") {
  const auto reward = program("mixed", "deadline_s = 60\ncall_s = 3");
  const Group group =
      outside_group({"good", "die", "good", "chatty", "good", "garbage", "sleep", "good", "few",
                     "nan", "twice", "good", "good", "crash", "good", "deaf", "good"});
  const std::vector<Score> scores = scores_of(*reward, group);
  const std::vector<std::string> expected = {"",        "died", "",      "garbage", "", "garbage",
                                             "timeout", "",     "count", "nan",     "", "",
                                             "",        "died", "",      "",        ""};
  for (size_t i = 0; i < scores.size(); ++i) {
    CAPTURE(i);
    CAPTURE(scores[i].abstain);
    CHECK(begins(scores[i].abstain, expected[i]));
    CHECK(scores[i].abstain.empty() == expected[i].empty());
  }
  CHECK(scores[6].abstain == "timeout: no answer within call_s = 3 s; the program was killed");
  const auto counters = reward->counters();
  CHECK(counters.at("asked") == std::ssize(scores));
  CHECK(counters.at("failed/died") == 2);
  CHECK(counters.at("restarts") >= 3);
  CHECK(counters.at("late") >= 2);  // chatty's, and twice's second
}

TEST_CASE("a program that writes lines without end does not keep another copy waiting") {
  const auto reward = program("mixed", "copies = 2\ndeadline_s = 3\ncall_s = 3", "0.3");
  const Clock clock;
  const std::vector<Score> scores = scores_of(*reward, outside_group({"lines", "late"}));
  CHECK(begins(scores[0].abstain, "garbage: reply: not JSON"));
  CHECK(scores[1].abstain == "");
  CHECK(clock.seconds() < 2.5);
}

TEST_CASE("what a program has written is read to the answer after it has ended") {
  const auto reward = program("parting");
  for (int64_t step = 0; step < 2; ++step)
    CHECK(scores_of(*reward, outside_group({"abc"}, step))[0].value == 3);
}

TEST_CASE("a program that has ended is read to its answer, though a turn ends before it") {
  ProgramLog log("reward.r");
  const ChildSpec spec{
      .command = {"python3", cat(VERNIER_TEST_CASES, "/outside/reward.py"), "behind"},
      .library = "",
      .config = "",
      .limits = {}};
  AskedResponse response;
  response.text = "abc";
  const auto question = std::make_shared<Question>(
      Asked{.id = "1", .prompt = "", .answer = "", .row = "{}", .responses = {response}}, 20,
      nullptr);
  ProgramCopy copy({.spec = spec,
                    .greets = false,
                    .log = log,
                    .start_s = 20,
                    .greeted = nullptr,
                    .late = nullptr,
                    .give_back = [](const QuestionPtr&) { FAIL("it has answered"); }});
  copy.start();
  copy.give(question, 20);
  CHECK(comes_true([] { return testing::spawned().empty(); }));
  for (int turn = 0; turn < 4 && copy.running(); ++turn) copy.serve();
  REQUIRE(question->answered());
  CHECK(question->outcomes()[0].score.value == 3);
}

TEST_CASE("what a program writes behind an answer is not taken for the next one") {
  const auto reward = program("debug", "deadline_s = 20");
  for (const Score& score :
       scores_of(*reward, outside_group({"a", "a", "a", "a", "a", "a", "a", "a"})))
    CHECK(score.abstain == "");
}

TEST_CASE("a question that waits too long for a copy says so; late answers are counted") {
  const auto reward = program("late", "deadline_s = 0.6\ncall_s = 5", "1");
  const auto scores = scores_of(*reward, outside_group({"a", "b", "c"}));
  CHECK(begins(scores[0].abstain, "timeout: no answer within 0.6 s"));
  CHECK(begins(scores[2].abstain,
               "timeout: waited 0.6 s for a free copy of the program; copies = 1; the program has "
               "not answered since it was started "));
  CHECK(comes_true([&] { return reward->counters()["late"] == 1; }));
  CHECK(scores_of(*program("good"), outside_group({"a"}))[0].value == 1);
}

TEST_CASE("a program may load for longer than a question may take") {
  const auto reward = program("loading", "deadline_s = 1.2\ncall_s = 1\nstart_s = 40", "3");
  CHECK(begins(
      scores_of(*reward, outside_group({"a"}))[0].abstain,
      "timeout: no answer within 1.2 s; the program has not answered since it was started "));
  CHECK(comes_true([&] { return reward->counters()["late"] == 1; }));
  CHECK(scores_of(*reward, outside_group({"abc"}, 1))[0].value == 3);
  CHECK(reward->counters()["restarts"] == 0);
  // From then on it is at work.
  CHECK(begins(scores_of(*reward, outside_group({"stay"}, 2))[0].abstain,
               "timeout: no answer within call_s = 1 s"));
}

TEST_CASE("a program that has loaded for too long is given up after a few starts") {
  const auto reward = program("loading", "deadline_s = 20\ncall_s = 0.2\nstart_s = 0.3", "3600");
  const std::vector<Score> scores = scores_of(*reward, outside_group({"a", "b", "c", "d", "e"}));
  CHECK(
      begins(scores[0].abstain, "timeout: no answer within start_s = 0.3 s; the program has not"));
  CHECK(scores[4].abstain ==
        "died: the program ended 3 times without an answer, the last time with signal 9, Killed, "
        "as it had not answered within start_s = 0.3 s");
}

TEST_CASE("a call_s above deadline_s is warned of") {
  testing::TemporaryFolder folder;
  const std::string path = (folder.path() / "log").string();
  const auto warnings = [&](const std::string& keys) {
    {
      const testing::CaughtErrors errors(path);
      program("good", keys);
    }
    return read_file(path);
  };
  CHECK(warnings("deadline_s = 20\ncall_s = 30")
            .find("reward.r: call_s = 30 is above deadline_s = 20") != std::string::npos);
  CHECK(warnings("deadline_s = 20\ncall_s = 20").find("call_s") == std::string::npos);
}

TEST_CASE("too many failures end the run and name their causes") {
  const auto reward = program("mixed", "max_failed_share = 0.25\nfailure_window = 8");
  CHECK_NOTHROW(scores_of(*reward, outside_group({"good", "few", "nan", "good"})));
  CHECK_NOTHROW(scores_of(*reward, outside_group({"good", "good", "good", "good"}, 1)));
  CHECK_NOTHROW(scores_of(*reward, outside_group({"good", "nan", "nan", "good"}, 2)));
  std::string said;
  try {
    scores_of(*reward, outside_group({"few", "good"}, 3));
  } catch (const RunError& problem) {
    said = problem.what();
  }
  CHECK(
      said ==
      "reward.r: 3 of the last 8 responses could not be scored, more than max_failed_share = 0.25 "
      "of 8 (count 1, nan 2); the last one: count: 0 rewards for 1 responses");
  const auto patient = program("nan", "max_failed_share = 1\nfailure_window = 2");
  CHECK_NOTHROW(scores_of(*patient, outside_group({"a", "b", "c", "d"})));
}

TEST_CASE("limits are kept") {
  const Group group = outside_group({"a"});
  CHECK(scores_of(*program("memory"), group)[0].value == 1);
  CHECK(scores_of(*program("memory", "limits = { memory_gb = 2 }"), group)[0].value == -1);
  const auto spins = program("spin", "limits = { cpu_s = 1 }\ndeadline_s = 60");
  CHECK(begins(scores_of(*spins, group)[0].abstain, "died: the program ended with signal 24"));
}

TEST_CASE("without a network not even loopback is reached") {
  const Group group = outside_group({"a"});
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(listener, 8) == 0);
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string port = cat(ntohs(address.sin_port));
  CHECK(scores_of(*program("network", "", port), group)[0].value == 1);
  std::unique_ptr<Reward> closed;
  const std::string refused =
      usage_error([&] { closed = program("network", "limits = { network = false }", port); });
  if (refused.empty()) {
    CHECK(scores_of(*closed, group)[0].value == -1);
  } else {
    MESSAGE("this machine has no network namespaces, so network = false is not tried: ", refused);
    CHECK(refused.find("limits.network = false cannot be had on this machine") !=
          std::string::npos);
  }
  ::close(listener);
}

TEST_CASE("a limit of processor time that the machine does not let be set is refused") {
  // Of all programs that are started from now on, and more than any of them needs.
  const rlimit hard = {1000, 1000};
  REQUIRE(::prlimit(testing::spawner_pid(), RLIMIT_CPU, &hard, nullptr) == 0);
  const std::string refused = usage_error([] { program("good", "limits = { cpu_s = 1000 }"); });
  CAPTURE(refused);
  CHECK(refused.find("limits.cpu_s = 1000 cannot be had on this machine: a process may use 1000 s "
                     "in all (ulimit -Ht)") != std::string::npos);
  CHECK(scores_of(*program("good", "limits = { cpu_s = 900 }"), outside_group({"a"}))[0].value ==
        1);
}

TEST_CASE("where a limit of processor time cannot be moved on, the program is started again") {
  const auto reward = program("frugal", "limits = { cpu_s = 5 }");
  for (int64_t step = 0; step < 2; ++step)
    CHECK(scores_of(*reward, outside_group({"a"}, step))[0].value == 1);
  CHECK(reward->counters()["restarts"] == 1);
}

TEST_CASE("what a program leaves behind is ended, and nothing is left after the reward") {
  testing::TemporaryFolder folder;
  const std::string file = (folder.path() / "pid").string();
  {
    const auto reward = program("child", "copies = 3", file);
    CHECK(scores_of(*reward, outside_group({"a"}))[0].value == 1);
    CHECK(testing::spawned().size() >= 2);
    const pid_t grandchild = std::stoi(read_file(file));
    CHECK(comes_true([&] { return !testing::is_alive(grandchild); }));
  }
  CHECK(comes_true([] { return testing::spawned().empty(); }));
}

TEST_CASE("programs end with the process that asked, even where it is killed") {
  std::array<int, 2> ends;
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::string self = "/proc/self/exe", mode = "--hold-programs";
  std::string script = cat(VERNIER_TEST_CASES, "/outside/stubborn.py");
  std::array<char*, 4> arguments = {self.data(), mode.data(), script.data(), nullptr};
  pid_t holder = -1;
  REQUIRE(::posix_spawn(&holder, self.c_str(), &actions, nullptr, arguments.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string said;
  std::array<char, 256> buffer;
  while (std::count(said.begin(), said.end(), '\n') < 2) {
    const ssize_t count = ::read(ends[0], buffer.data(), buffer.size());
    REQUIRE(count > 0);
    said.append(buffer.data(), static_cast<size_t>(count));
  }
  ::close(ends[0]);
  std::istringstream list(said);
  std::vector<pid_t> pids;
  for (pid_t pid = 0; list >> pid;) pids.push_back(pid);
  REQUIRE(pids.size() == 2);
  // Each has a child of its own.
  CHECK(comes_true([&] { return testing::descendants(holder).size() == 5; }));
  const std::vector<pid_t> all = testing::descendants(holder);
  for (const pid_t pid : pids) CHECK(testing::is_alive(pid));
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  for (const pid_t pid : all) CHECK(comes_true([&] { return !testing::is_alive(pid); }));
}

TEST_CASE("a program that cannot be run is a mistake of the configuration") {
  const auto says = [](const std::string& keys) {
    return usage_error([&] { outside_chain(cat("[[reward]]\ntype = \"program\"\n", keys)); });
  };
  CHECK(says("").find("reward.program: needs command, as [\"python3\", \"my_reward.py\"]") !=
        std::string::npos);
  CHECK(says("command = [\"no-such-program\"]") ==
        "t.toml:3:11: reward.program.command: no-such-program is not on PATH");
  CHECK(says("command = [\"./nothing\"]").find("./nothing is no program that can be run") !=
        std::string::npos);
  CHECK(says("command = [\"/etc/passwd\"]").find("is no program that can be run") !=
        std::string::npos);
  CHECK(says("command = [\"python3\", \"nothing.py\"]").find("nothing.py: no such file") !=
        std::string::npos);
  CHECK(says(cat("command = ", python_command("good"), "\ncopys = 2"))
            .find("unknown key (did you mean copies?)") != std::string::npos);
  CHECK(says(cat("command = ", python_command("good"), "\nlimits = { ram = 2 }"))
            .find("ram: unknown key") != std::string::npos);
  CHECK(comes_true([] { return testing::spawned().empty(); }));
}

TEST_CASE("other rewards of the chain are not touched by one that fails") {
  const ScoringChain chain = outside_chain(
      cat("[[reward]]\ntype = \"program\"\nname = \"bad\"\ndeadline_s = 0.5\nweight = 0\n",
          "max_failed_share = 1\ncommand = ", python_command("sleep"),
          "\n[[reward]]\ntype = \"program\"\nname = \"fine\"\ncommand = ", python_command("good"),
          "\n"));
  Group group = outside_group({"a", "bb"});
  const Clock clock;
  chain.score(group, false);
  CHECK(clock.seconds() < 3);
  for (const Response& response : group.responses) {
    CHECK(begins(response.rewards[0].abstained, "timeout"));
    CHECK(response.rewards[1].abstained == "");
    CHECK(response.reward == static_cast<double>(response.text.size()));
  }
}

TEST_CASE("reward functions of other toolkits run as they are") {
  const auto adapted = [](const std::string& function, const std::string& style,
                          const std::string& file = "styles.py") {
    return outside_reward(
        "program", cat("command = [\"python3\", \"", VERNIER_TEST_CASES,
                       "/../../tools/reward_adapter.py\", \"", VERNIER_TEST_CASES, "/outside/",
                       file, ":", function, "\", \"--style\", \"", style,
                       "\"]\nneeds_group = ", style == "verl" ? "false" : "true", "\n"));
  };
  const Group group = outside_group({"7", "none", "seven"});
  auto scores = scores_of(*adapted("trl_lengths", "trl"), group);
  CHECK(scores[0].value == 1);
  CHECK(scores[1].abstain == "the reward function returned None");
  CHECK(scores[2].value == 5);
  CHECK(scores_of(*adapted("trl_few", "trl"), group)[0].abstain ==
        "count: 1 rewards for 3 responses");
  CHECK(scores_of(*adapted("trl_raises", "trl"), group)[0].abstain ==
        "threw: ValueError: nothing to say");
  CHECK(begins(scores_of(*adapted("not_finite", "trl"), group)[0].abstain, "nan: "));
  scores = scores_of(*adapted("verl_points", "verl"), group);
  CHECK(scores[0].value == 1);
  CHECK(scores[2].value == 0);
  CHECK(scores[2].components == std::vector<std::pair<std::string, double>>{{"length", 5}});
  scores = scores_of(*adapted("openrlhf_lengths", "openrlhf"), group);
  CHECK(scores[2].value == 5);
  CHECK(scores[2].components ==
        std::vector<std::pair<std::string, double>>{{"twice", 10}, {"score", 5}});
  // The file has the name of a standard module, and imports that and its neighbour.
  CHECK(scores_of(*adapted("trl_named", "trl", "named/statistics.py"), group)[2].value == 5);
  // It works in a process of its own, which imports it by its name.
  CHECK(scores_of(*adapted("trl_pooled", "trl", "named/pooled.py"), group)[2].value == 5);
  scores = scores_of(*adapted("verl_surrogate", "verl"), group);
  CHECK(scores[0].abstain == "threw: ValueError: caf\u00e9 ?.");
  CHECK(scores[1].components == std::vector<std::pair<std::string, double>>{{"part?", 2}});
  for (const auto& [function, code] : {std::pair("nothing", 1), {"trl_leaves", 4}, {"trl_ends", 0}})
    CHECK(scores_of(*adapted(function, "trl"), group)[0].abstain ==
          cat("died: the program ended with exit code ", code));
}

TEST_CASE("a program that writes a thousand lines to its log is heard in part") {
  CHECK(scores_of(*program("loud"), outside_group({"a"}))[0].value == 1);
}

}  // namespace
}  // namespace vernier
