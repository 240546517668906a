// Steps of a cluster in simulated time, against what a hand adds up.
#include "trainer/cluster_plan.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "rollout/rows.h"

namespace vernier {
namespace {

// A pass takes a second, however many rows it has.
SimulatedEngine engine_of(int64_t max_running) {
  return {.max_running = max_running, .pass = [](double, double) { return 1.0; }};
}

std::string problem_of(const std::string& text) {
  try {
    read_cluster(text);
  } catch (const UsageError& problem) {
    return problem.what();
  }
  return "";
}

}  // namespace

TEST_CASE("cluster: one rank draws, waits for rewards, trains") {
  const SimulatedJob job{.groups = {{.lengths = {10, 4}}}, .reward_s = 2, .update_s = 5};
  const SimulatedStep step = simulate(job, {}, engine_of(8));
  CHECK(step.step_s == doctest::Approx(17));
  CHECK(step.draw_s == doctest::Approx(12));
  CHECK(step.bubble == doctest::Approx(2.0 / 17));
  CHECK(step.rows == doctest::Approx(1.4));
  CHECK(step.staleness == 0);
}

TEST_CASE("cluster: with room for one response the second waits") {
  const SimulatedJob job{.groups = {{.lengths = {10, 4}}}, .update_s = 5};
  const SimulatedStep step = simulate(job, {}, engine_of(1));
  CHECK(step.step_s == doctest::Approx(19));
  CHECK(step.bubble == doctest::Approx(0));
}

TEST_CASE("cluster: who has the short group waits for the long one") {
  const SimulatedJob job{
      .groups = {{.lengths = {10}}, {.lengths = {4}}}, .prompts_per_step = 2, .update_s = 5};
  const SimulatedStep step = simulate(job, {.drawing = 2, .training = 2}, engine_of(8));
  CHECK(step.step_s == doctest::Approx(15));
  CHECK(step.bubble == doctest::Approx(1 - (14 + 10) / 30.0));
}

TEST_CASE("cluster: ranks that only sample wait for the others, or draw ahead") {
  const SimulatedJob job{.groups = {{.lengths = {10}}}, .update_s = 5, .sync_s = 1};
  SimulatedSetup apart{.drawing = 1, .training = 1, .colocated = false};
  const SimulatedStep waits = simulate(job, apart, engine_of(1));
  CHECK(waits.step_s == doctest::Approx(16));
  CHECK(waits.bubble == doctest::Approx(1 - (10 + 1 + 6) / 32.0));
  apart.max_staleness = 1;
  const SimulatedStep ahead = simulate(job, apart, engine_of(1));
  CHECK(ahead.step_s == doctest::Approx(11));  // the draw, and the pause for weights
  CHECK(ahead.staleness == doctest::Approx(1));
  // The sampler has no idle time, the trainer 5 of 11.
  CHECK(ahead.bubble == doctest::Approx(5.0 / 22));
}

TEST_CASE("cluster: what is in the making hides the tail") {
  // Of two groups a step one is long; drawn ahead, the rank is never empty.
  const SimulatedJob job{
      .groups = {{.lengths = {20}}, {.lengths = {2}}}, .prompts_per_step = 2, .update_s = 1};
  SimulatedSetup setup{.drawing = 1, .training = 1};
  const SimulatedStep alone = simulate(job, setup, engine_of(2));
  CHECK(alone.step_s == doctest::Approx(21));
  setup.max_staleness = 2;
  const SimulatedStep ahead = simulate(job, setup, engine_of(2));
  CHECK(ahead.step_s < 13);
  CHECK(ahead.staleness > 0);
  CHECK(ahead.staleness <= 2);
}

TEST_CASE("cluster: times that are far longer than a pass") {
  const SimulatedEngine engine{.max_running = 8, .pass = [](double, double) { return 1e-5; }};
  const SimulatedJob job{.groups = {{.lengths = {10, 4.5}}}, .reward_s = 1e7};
  CHECK(simulate(job, {}, engine).step_s == doctest::Approx(1e7));
}

TEST_CASE("cluster: the time that rows and what they see take") {
  const SimulatedEngine engine{.max_running = 4,
                               .pass = [](double rows, double seen) { return rows + seen / 100; },
                               .prompt_token = 0.5};
  const SimulatedJob job{.groups = {{.prompt = 10, .lengths = {1, 1}}}};
  const SimulatedStep step = simulate(job, {}, engine);
  CHECK(step.step_s == doctest::Approx(10 * 0.5 + 2 + 0.1));
}

TEST_CASE("cluster: keys are read, and wrong ones named") {
  const ClusterShape shape = read_cluster("nodes=2,gpus=8,link=50,device=h100,price=2.5");
  CHECK(shape.ranks() == 16);
  CHECK(shape.link == 50);
  CHECK(shape.price == 2.5);
  CHECK_FALSE(shape.measured());
  CHECK(read_cluster("gpus=4").measured());
  CHECK(problem_of("nodes=2").find("needs link") != std::string::npos);
  CHECK(problem_of("gpus=two").find("gpus is 'two'") != std::string::npos);
  CHECK(problem_of("gpus=1.5").find("not whole") != std::string::npos);
  CHECK(problem_of("gpus").find("gpus is ''") != std::string::npos);
  CHECK(problem_of("gpus=0").find("from 1") != std::string::npos);
  CHECK(problem_of("speed=3").find("key 'speed' is unknown; known: nodes") != std::string::npos);
  CHECK(problem_of("device=abacus").find("known: cpu") != std::string::npos);
  CHECK(problem_of("nodes=65536,gpus=65536,link=1").find("at most") != std::string::npos);
  CHECK(problem_of("").find("is empty") != std::string::npos);
  CHECK(problem_of("gpus=2,gpus=3").find("given twice") != std::string::npos);
  CHECK(problem_of("gpus=2,train_share=0.5").find("device is cpu") != std::string::npos);
  CHECK(problem_of("train_share=1.5").find("to 1") != std::string::npos);
}

TEST_CASE("cluster: lengths of a recorded run") {
  const fs::path folder = fs::temp_directory_path() / cat("vernier-cluster-", ::getpid());
  fs::create_directories(folder / "rollouts");
  for (int64_t step = 1; step <= 3; ++step) {
    Group group;
    group.step = step;
    for (const int32_t length : {3, 5}) {
      Response& response = group.responses.emplace_back();
      response.sample = std::ssize(group.responses) - 1;
      response.raw_num_tokens = length * static_cast<int32_t>(step);
      response.num_tokens = 1;  // cut by a transform: it was drawn all the same
    }
    Group measured = group;
    measured.role = "monitor";
    measured.id = -1;
    write_rollout_files(folder / "rollouts", step, {group}, false, "tempered",
                        std::vector<Group>{measured});
  }
  const std::vector<SimulatedGroup> groups = recorded_groups(folder.string(), 2);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].lengths == std::vector<double>{6, 10});
  CHECK(groups[1].lengths == std::vector<double>{9, 15});
  fs::remove_all(folder);
  CHECK_THROWS_AS(recorded_groups(folder.string(), 2), UsageError);
}

}  // namespace vernier
