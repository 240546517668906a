// The training step, checkpoints, resuming.
#include <doctest/doctest.h>

#include "tests/testing.h"
#include "tests/tiny_model.h"
#include "trainer/checkpoint.h"
#include "trainer/run_config.h"
#include "trainer/run_folder.h"
#include "trainer/step.h"

namespace vernier {
namespace {

using testing::tiny_model;
using testing::usage_error;
using testing::worst;

// Groups of scored responses of uneven lengths, with advantages.
std::vector<Group> scored_groups(int64_t groups, int64_t responses) {
  std::vector<Group> out;
  Rng rng(4, Stream::task);
  for (int64_t g = 0; g < groups; ++g) {
    Group group;
    group.id = g;
    group.prompt.ids = {1, 2, static_cast<int32_t>(g), 11};
    for (int64_t i = 0; i < responses; ++i) {
      Response response;
      response.sample = i;
      for (int64_t t = 0; t < 1 + rng.next_below(20); ++t)
        response.ids.push_back(static_cast<int32_t>(rng.next_below(24)));
      response.num_tokens = response.raw_num_tokens = static_cast<int32_t>(response.ids.size());
      response.correct = i % 2 == 0;
      response.reward = i % 2 == 0 ? 1 : 0;
      response.advantage = i % 2 == 0 ? 0.7 : -1.1;
      group.responses.push_back(response);
    }
    out.push_back(std::move(group));
  }
  return out;
}

std::unique_ptr<Algorithm> algorithm(const std::string& name, const std::string& keys = "") {
  ConfigFile file = ConfigFile::parse(keys, "test");
  std::unique_ptr<Algorithm> out;
  file.bind([&](Binder& root) { out = AlgorithmRegistry::all().at(name).make(root, {4, 20}); });
  return out;
}

std::vector<float> weights_of(Decoder& decoder) {
  return {decoder.weights().const_data_ptr<float>(),
          decoder.weights().const_data_ptr<float>() + decoder.weights().numel()};
}

// Weights after one step of plain gradient descent with the given micro-batch budget.
std::vector<float> after_step(const std::string& name, int64_t max_tokens, Metrics& metrics) {
  const Model model = tiny_model(true);
  const std::vector<Group> groups = scored_groups(5, 4);
  Update update = make_update(groups, 0, groups.size(), 20);
  for (Sample& sample : update.samples)
    sample.old.assign(static_cast<size_t>(sample.response->num_tokens), -2.9f);
  OptimizerState state(*model.decoder);
  OptimizerConfig optimizer;
  optimizer.eps = 1;  // far above the gradient: the step is proportional to it
  optimizer.grad_clip = 0;
  optimizer_step(*model.decoder, state, *algorithm(name), update, 0.9, max_tokens, optimizer, 1.0,
                 nullptr, metrics);
  return weights_of(*model.decoder);
}

TEST_CASE("the number of micro-batches does not change the update") {
  for (const std::string name : {"grpo", "drpo", "disco"}) {
    CAPTURE(name);
    Metrics one, many;
    const auto whole = after_step(name, 1 << 20, one), split = after_step(name, 40, many);
    CHECK(one.get("microbatches") == 1);
    CHECK(many.get("microbatches") > 4);
    CHECK(one.get("grad_norm") > 1e-4);
    CHECK(many.get("grad_norm") == doctest::Approx(one.get("grad_norm")).epsilon(1e-4));
    CHECK(many.get("loss") == doctest::Approx(one.get("loss")).epsilon(1e-5));
    CHECK(worst(split, whole) < 1e-5);
  }
}

TEST_CASE("responses without a reward, masked, or ended by the machine do not enter an update") {
  std::vector<Group> groups = scored_groups(1, 4);
  groups[0].responses[0].reward.reset();
  groups[0].responses[1].masked = true;
  groups[0].responses[2].finish_reason = FinishReason::deadline;
  const Update update = make_update(groups, 0, 1, 20);
  REQUIRE(update.samples.size() == 1);
  CHECK(update.samples[0].place == 3);
  CHECK(update.totals.tokens == groups[0].responses[3].num_tokens);
  CHECK(update.table.active == std::vector<char>{0, 0, 0, 1});
}

TEST_CASE("an update with a number that is not finite is skipped") {
  const Model model = tiny_model(true);
  const std::vector<float> before = weights_of(*model.decoder);
  OptimizerState state(*model.decoder);
  model.decoder->gradients().fill_(1);
  model.decoder->gradients()[7] = std::nanf("");
  const UpdateResult result = apply_update(*model.decoder, state, {}, 0.1);
  CHECK(!result.applied);
  CHECK(state.step == 0);
  CHECK(weights_of(*model.decoder) == before);
  CHECK(model.decoder->gradients().sum().item<float>() == 0);
}

TEST_CASE("learning-rate schedules") {
  OptimizerConfig config;
  config.learning_rate = 1;
  config.schedule = "cosine";
  config.final_ratio = 0.05;
  config.warmup_steps = 10;
  CHECK(config.rate(0, 110) == doctest::Approx(0.1));
  CHECK(config.rate(9, 110) == doctest::Approx(1.0));
  CHECK(config.rate(60, 110) == doctest::Approx(0.525));
  CHECK(config.rate(110, 110) == doctest::Approx(0.05));
  config.schedule = "linear";
  CHECK(config.rate(60, 110) == doctest::Approx(0.525));
  config.schedule = "constant";
  CHECK(config.rate(60, 110) == 1.0);
}

struct Saved {
  testing::TemporaryFolder folder;
  Model model = tiny_model(true);
  OptimizerState optimizer{*model.decoder};

  void save(int64_t step, const std::string& phase = "rl") {
    optimizer.step = step;
    optimizer.moment1.fill_(static_cast<double>(step));
    save_checkpoint(folder.path(), *model.decoder, *model.tokenizer, optimizer,
                    {.phase = phase,
                     .step = step,
                     .last_eval = step - 1,
                     .nonfinite_in_a_row = 0,
                     .next_prompt = 7,
                     .pass_rates = {0.1, 1.0 / 3}});
  }
};

TEST_CASE("a checkpoint comes back bit for bit") {
  Saved saved;
  saved.save(12);
  const auto found = find_checkpoint(saved.folder.path());
  REQUIRE(found);
  CHECK(found->filename() == "checkpoint-12");
  const Model again = load_model(found->string(), {.trained = true});
  CHECK(weights_of(*again.decoder) == weights_of(*saved.model.decoder));
  OptimizerState state(*again.decoder);
  CHECK(load_trainer_state(*found, 4, state) == Progress{.phase = "rl",
                                                         .step = 12,
                                                         .last_eval = 11,
                                                         .nonfinite_in_a_row = 0,
                                                         .next_prompt = 7,
                                                         .pass_rates = {0.1, 1.0 / 3}});
  CHECK(state.step == 12);
  CHECK(at::equal(state.moment1, saved.optimizer.moment1));
}

TEST_CASE("a checkpoint of a version that did not write its place in the prompts loads") {
  Saved saved;
  saved.save(12);
  const fs::path folder = saved.folder.path() / "checkpoint-12";
  Json state = Json::parse(read_file(folder / "trainer/state.json"));
  CHECK(state["next_prompt"] == 7);
  for (const char* key : {"next_prompt", "pass_rates"}) state.erase(key);
  write_file(folder / "trainer/state.json", dump_json(state));
  OptimizerState optimizer(*saved.model.decoder);
  const Progress progress = load_trainer_state(folder, 4, optimizer);
  CHECK(progress.next_prompt == 48);
  CHECK(progress.pass_rates.empty());
}

TEST_CASE("a damaged checkpoint is refused by name, and the one before it is found") {
  for (const std::string name :
       {"model.safetensors", "config.json", "tokenizer.json", "trainer/state.json",
        "trainer/optimizer.safetensors", "trainer/manifest.json"}) {
    CAPTURE(name);
    for (const bool truncate : {false, true}) {
      Saved saved;
      saved.save(1);
      saved.save(2);
      const fs::path victim = saved.folder.path() / "checkpoint-2" / name;
      std::string bytes = read_file(victim);
      if (truncate)
        bytes.resize(bytes.size() - 1);
      else
        bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
      write_file(victim, bytes);
      const std::string problem = check_checkpoint(saved.folder.path() / "checkpoint-2");
      CHECK(!problem.empty());
      if (name != "trainer/manifest.json") CHECK(problem.find(name) != std::string::npos);
      const auto found = find_checkpoint(saved.folder.path());
      REQUIRE(found);
      CHECK(found->filename() == "checkpoint-1");
    }
  }
}

TEST_CASE("an unfinished checkpoint does not count, and old ones are pruned") {
  Saved saved;
  saved.save(300, "sft");
  CHECK(find_checkpoint(saved.folder.path())->filename() == "checkpoint-sft-300");
  for (const int64_t step : {0, 10, 20, 30, 40}) saved.save(step);
  fs::create_directories(saved.folder.path() / "checkpoint-50.tmp");
  fs::create_directories(saved.folder.path() / "checkpoint-60");
  CHECK(find_checkpoint(saved.folder.path())->filename() == "checkpoint-40");
  fs::remove_all(saved.folder.path() / "checkpoint-60");
  prune_checkpoints(saved.folder.path(), 2, 40);
  std::vector<std::string> left;
  for (const fs::path& path : list_checkpoints(saved.folder.path()))
    left.push_back(path.filename().string());
  CHECK(left == std::vector<std::string>{"checkpoint-0", "checkpoint-20", "checkpoint-30",
                                         "checkpoint-40"});
}

TEST_CASE("a run that goes on from an earlier checkpoint moves the later ones out of the way") {
  Saved saved;
  for (const int64_t step : {0, 10, 20, 30, 40}) saved.save(step);
  write_file(saved.folder.path() / "checkpoint-30" / "config.json", "{}");
  fs::create_directories(saved.folder.path() / "checkpoint-50.tmp");
  const fs::path start = saved.folder.path() / "checkpoint-20";
  clear_after(saved.folder.path(), &start);
  std::vector<std::string> left;
  for (const fs::path& path : list_checkpoints(saved.folder.path()))
    left.push_back(path.filename().string());
  CHECK(left == std::vector<std::string>{"checkpoint-0", "checkpoint-10", "checkpoint-20"});
  CHECK(fs::exists(saved.folder.path() / "checkpoint-30.damaged"));
  CHECK(fs::exists(saved.folder.path() / "checkpoint-40.superseded"));
  CHECK(!fs::exists(saved.folder.path() / "checkpoint-50.tmp"));
  prune_checkpoints(saved.folder.path(), 1, 40);
  CHECK(fs::exists(start));
}

TEST_CASE("an evaluation that has its row is not done again") {
  testing::TemporaryFolder folder;
  const RunFolder run(folder.path());
  write_file(folder.path() / "metrics.jsonl",
             "{\"step\":2,\"phase\":\"rl\"}\n{\"step\":2,\"phase\":\"eval\"}\n{\"step\":3,\"pha");
  const Progress progress{.phase = "rl", .step = 2, .last_eval = 0, .nonfinite_in_a_row = 0};
  CHECK(run.last_evaluation(progress) == 2);
  CHECK(run.last_evaluation({.phase = "rl", .step = 1, .last_eval = 0, .nonfinite_in_a_row = 0}) ==
        0);
}

TEST_CASE("the effective configuration of a run loads again") {
  for (const std::string model :
       {"path = \"m\"", "[model.new]\ncharacters = \"01.\"\nend_token = \".\""}) {
    ConfigFile file = ConfigFile::parse(
        "[data]\ntask = \"chain_sum\"\n[run]\nsteps = 1\n[[reward]]\ntype = "
        "\"accuracy\"\n[model]\n" +
            model,
        "c");
    RunConfig::load(file);
    ConfigFile again = ConfigFile::parse(file.effective(), "again");
    RunConfig::load(again);
    CHECK(again.effective() == file.effective());
  }
}

TEST_CASE("rows after the loaded checkpoint move to metrics.dropped.jsonl") {
  testing::TemporaryFolder folder;
  RunFolder run(folder.path());
  write_file(folder.path() / "metrics.jsonl",
             "{\"step\":1,\"phase\":\"sft\"}\n{\"step\":0,\"phase\":\"eval\"}\n{\"step\":1,"
             "\"phase\":\"rl\"}\n"
             "{\"step\":2,\"phase\":\"rl\"}\n{\"step\":2,\"phase\":\"eval\"}\n{\"step\":3,"
             "\"phase\":\"rl\"}\n{\"st");
  run.open_metrics({.phase = "rl", .step = 2, .last_eval = 0, .nonfinite_in_a_row = 0});
  Metrics row;
  row.set("step", Json(9));
  run.write_metrics(row);
  CHECK(read_file(folder.path() / "metrics.jsonl") ==
        "{\"step\":1,\"phase\":\"sft\"}\n{\"step\":0,\"phase\":\"eval\"}\n{\"step\":1,\"phase\":"
        "\"rl\"}\n"
        "{\"step\":2,\"phase\":\"rl\"}\n{\"step\":9}\n");
  CHECK(read_file(folder.path() / "metrics.dropped.jsonl") ==
        "{\"step\":2,\"phase\":\"eval\"}\n{\"step\":3,\"phase\":\"rl\"}\n");
}

std::string config_problem(const std::string& text) {
  return usage_error([&] {
    ConfigFile file = ConfigFile::parse(text, "c.toml");
    RunConfig::load(file);
  });
}

TEST_CASE("mistakes across keys of a run are named") {
  const std::string base =
      "[model]\npath = \"m\"\n[data]\ntask = \"chain_sum\"\n[run]\nsteps = 1\n";
  CHECK(config_problem(base + "[[reward]]\ntype = \"accuracy\"\n").empty());
  CHECK(config_problem(base).find("no [[reward]] is given") != std::string::npos);
  CHECK(config_problem(base + "[[reward]]\ntype = \"length_penalty\"\n[algo]\ntype = \"drpo\"\n")
            .find("looks at the verdict alone") != std::string::npos);
  CHECK(config_problem(base + "[[reward]]\ntype = \"accuracy\"\n[[transform]]\ntype = "
                              "\"stop_properly\"\n[algo]\ntype = \"drpo\"\n")
            .find("so transform.stop_properly has no effect") != std::string::npos);
  CHECK(
      config_problem(base + "[[reward]]\ntype = \"accuracy\"\n[trainer]\nsamples_per_update = 9\n")
          .find("9 is not a multiple of rollout.num_generations = 8") != std::string::npos);
  CHECK(config_problem(base + "[[reward]]\ntype = \"accuracy\"\n[[transform]]\ntype = \"dot\"\n")
            .find("transform.dot.alpha: 3 can never cut: of 8 lengths none lies more than "
                  "(n-1)/sqrt(n) "
                  "= 2.4749 deviations above their mean") != std::string::npos);
  CHECK(config_problem("[data]\ntask = \"chain_sum\"").find("neither model.path nor [model.new]") !=
        std::string::npos);
  CHECK(config_problem(base + "[rollout]\ntemperature = 0\n[[reward]]\ntype = \"accuracy\"\n")
            .find("nothing to learn from") != std::string::npos);
  const auto warm = [&](const std::string& curriculum) {
    return config_problem(
        cat("[model]\npath = \"m\"\n[data]\ntask = \"chain_sum\"\n[data.chain_sum]\nmax_terms = 6\n"
            "[sft]\nsteps = 10\ncurriculum = ",
            curriculum, "\n"));
  };
  CHECK(warm("[5, 6]").empty());
  CHECK(warm("[5, 7]").find("c.toml:") == 0);
  CHECK(warm("[5, 7]").find("hardest = 7 is outside 2 to 6") != std::string::npos);
  CHECK(warm("[5, 1]").find("hardest = 1 is outside 2 to 6") != std::string::npos);
}

TEST_CASE("a key that another one makes idle is refused, and is no part of the effective one") {
  const std::string base =
      "[model]\npath = \"m\"\n[data]\ntask = \"chain_sum\"\n[[reward]]\ntype = \"accuracy\"\n";
  const auto idle = [&](const std::string& keys, const std::string& key) {
    CAPTURE(keys);
    CHECK(config_problem(base + keys).find(key + ": has no effect with ") != std::string::npos);
    const size_t line = keys.rfind('\n', keys.size() - 2);
    ConfigFile file = ConfigFile::parse(base + keys.substr(0, line + 1), "c.toml");
    RunConfig::load(file);
    const std::string name = key.substr(key.rfind('.') + 1),
                      section = key.substr(0, key.rfind('.'));
    const std::string effective = file.effective();
    const size_t at = effective.find(cat("[", section, "]"));
    REQUIRE(at != std::string::npos);
    const std::string own = effective.substr(at, effective.find("\n\n", at) - at);
    CHECK(own.find(cat("\n", name, " = ")) == std::string::npos);
  };
  idle("[algo]\ntype = \"drpo\"\nlambda = inf\nlength_reward = \"cosine\"\n", "algo.length_reward");
  idle("[algo]\ntype = \"drpo\"\nlambda = inf\nlength_capacity = 9\n", "algo.length_capacity");
  idle("[algo]\ntype = \"disco\"\nbeta = 0.0\ndelta = 0.1\n", "algo.delta");
  idle("[algo]\ntype = \"disco\"\nbeta = 0.0\nkl_scope = \"block\"\n", "algo.kl_scope");
  idle("[algo]\nscale_rewards = \"none\"\nadvantage_eps = 1e-4\n", "algo.advantage_eps");
  idle("[trainer]\nfinal_ratio = 0.1\n", "trainer.final_ratio");
  idle("[rollout]\nthink_start = \"#\"\n", "rollout.think_start");
}

// The keys of a configuration in the tree, as the program reads them.
std::string effective_of(const std::string& name) {
  ConfigFile file = ConfigFile::load(cat(VERNIER_CONFIGS, "/", name));
  RunConfig::load(file);
  return file.effective();
}

TEST_CASE("the reference of GRPO is what its paper and the reference implementations have") {
  const std::string found = effective_of("grpo_reference.toml");
  for (const std::string key : {"type = \"grpo\"", "loss_aggregation = \"seq-mean-token-mean\"",
                                "epsilon = 0.2", "epsilon_high = 0.2", "scale_rewards = \"group\"",
                                "advantage_eps = 1e-06", "beta = 0.001", "entropy_coef = 0.0"}) {
    CAPTURE(key);
    CHECK(found.find(cat("\n", key, "\n")) != std::string::npos);
  }
}

TEST_CASE("the defaults of grpo: token-mean, no KL, eps 1e-6, clip .2 and .2") {
  ConfigFile file = ConfigFile::parse("[model]\npath = \"m\"\n", "c.toml");
  RunConfig::load(file);
  for (const std::string key : {"loss_aggregation = \"token-mean\"", "beta = 0.0", "epsilon = 0.2",
                                "epsilon_high = 0.2", "advantage_eps = 1e-06"}) {
    CAPTURE(key);
    CHECK(file.effective().find(cat("\n", key, "\n")) != std::string::npos);
  }
}

TEST_CASE("every configuration of the tree is without mistakes") {
  int64_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(VERNIER_CONFIGS)) {
    if (entry.path().extension() != ".toml") continue;
    if (entry.path().parent_path().filename() == "presets") continue;  // no jobs of their own
    CAPTURE(entry.path().string());
    CHECK(usage_error([&] {
            ConfigFile file = ConfigFile::load(entry.path().string());
            RunConfig::load(file);
          }).empty());
    ++count;
  }
  CHECK(count >= 9);
}

TEST_CASE("every preset is ten lines at most, and lies over a job without mistakes") {
  int64_t count = 0;
  for (const auto& entry : fs::directory_iterator(cat(VERNIER_CONFIGS, "/presets"))) {
    const std::string preset = entry.path().string(), text = read_file(preset);
    CAPTURE(preset);
    CHECK(std::count(text.begin(), text.end(), '\n') <= 10);
    ++count;
    // The family of policy gradients registers the others.
    const std::string name = entry.path().stem();
    const bool family = AlgorithmRegistry::all().contains("dapo");
    if (!family && name != "grpo" && name != "drpo" && name != "disco") continue;
    for (const std::string job : {"smoke", "grpo_reference", "quickstart/naive-4"}) {
      CAPTURE(job);
      const std::string problem = usage_error([&] {
        const std::vector<std::string> paths = {cat(VERNIER_CONFIGS, "/", job, ".toml"), preset};
        ConfigFile file = ConfigFile::load(paths);
        RunConfig::load(file);
        ConfigFile again = ConfigFile::parse(file.effective(), "again");
        RunConfig::load(again);
        CHECK(again.effective() == file.effective());
      });
      CHECK(problem == "");
    }
  }
  CHECK(count == 15);
}

}  // namespace
}  // namespace vernier
