// The training step, checkpoints, resuming.
#include <doctest/doctest.h>

#include "tests/testing.h"
#include "tests/tiny_model.h"
#include "trainer/checkpoint.h"
#include "trainer/credit.h"
#include "trainer/run_config.h"
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
std::vector<float> after_step(const std::string& name, const std::string& keys, int64_t max_tokens,
                              Metrics& metrics) {
  const Model model = tiny_model(true);
  std::vector<Group> groups = scored_groups(5, 4);
  for (Group& group : groups)
    for (Response& response : group.responses)
      for (int32_t t = 0; t < response.num_tokens; ++t)
        response.logprobs.push_back(-2.9f + 0.3f * static_cast<float>(t % 3));
  Update update = make_update(groups, 0, groups.size(), 20);
  for (Sample& sample : update.samples)
    sample.old.assign(static_cast<size_t>(sample.response->num_tokens), -2.9f);
  OptimizerState state(*model.decoder);
  OptimizerConfig optimizer;
  optimizer.eps = 1;  // far above the gradient: the step is proportional to it
  optimizer.grad_clip = 0;
  optimizer_step(*model.decoder, state, *algorithm(name, keys), update, 0.9, max_tokens, optimizer,
                 1.0, nullptr, metrics);
  return weights_of(*model.decoder);
}

TEST_CASE("the number of micro-batches does not change the update") {
  const std::vector<std::pair<std::string, std::string>> all = {
      {"grpo", ""},
      {"drpo", ""},
      {"disco", ""},
      {"gspo", "entropy_coef = 0.01"},
      {"grpo", "loss = \"kl_cov\"\ncov_ratio = 0.1\nselection_scope = \"block\""},
      {"grpo", "loss = \"clip_cov\"\ncov_ratio = 0.1\ncov_low = -1\ntop_entropy = 0.5"},
      {"decoupled_ppo", "correction_normalize = true"},
      {"grpo",
       "rejection = [\"token_k1\"]\nrejection_high = [1.5]\nrejection_denominator = \"verl\"\n"
       "loss_aggregation = \"seq-mean-token-mean\""}};
  for (const auto& [name, keys] : all) {
    CAPTURE(name);
    CAPTURE(keys);
    Metrics one, many;
    const auto whole = after_step(name, keys, 1 << 20, one);
    const auto split = after_step(name, keys, 24, many);
    CHECK(one.get("microbatches") == 1);
    CHECK(many.get("microbatches") > 4);
    CHECK(one.get("grad_norm") > 1e-4);
    CHECK(many.get("grad_norm") == doctest::Approx(one.get("grad_norm")).epsilon(1e-4));
    CHECK(many.get("loss") == doctest::Approx(one.get("loss")).epsilon(1e-5));
    CHECK(worst(split, whole) < 1e-5);
  }
}

TEST_CASE("the mismatch of the engine's log-probabilities is always written") {
  Metrics metrics;
  after_step("grpo", "", 40, metrics);
  // Recorded as -2.9, -2.6 and -2.3 in turn, the old ones are -2.9.
  const auto k3 = [](double x) { return std::exp(x) - 1 - x; };
  const std::vector<Group> groups = scored_groups(5, 4);
  double gap = 0, divergence = 0, outside = 0, tokens = 0, smallest = 1;
  for (const Group& group : groups)
    for (const Response& response : group.responses) {
      double sum = 0;
      for (int32_t t = 0; t < response.num_tokens; ++t) {
        const double x = 0.3 * (t % 3);
        gap += x;
        divergence += k3(-x);
        outside += x > std::log(2.0) ? 1 : 0;
        sum += x;
        tokens += 1;
      }
      smallest = std::min(smallest, std::exp(-sum));
    }
  CHECK(metrics.get("sampling/sampling_logp_difference/mean") ==
        doctest::Approx(gap / tokens).epsilon(1e-5));
  CHECK(metrics.get("sampling/sampling_logp_difference/max") == doctest::Approx(0.6).epsilon(1e-5));
  CHECK(metrics.get("sampling/k3/mean") == doctest::Approx(divergence / tokens).epsilon(1e-5));
  CHECK(metrics.get("sampling/weight_outside") == outside / tokens);
  CHECK(metrics.get("sampling/sequence_weight/min") == doctest::Approx(smallest).epsilon(1e-5));
}

TEST_CASE("what two updates of a step say: the mean, the largest, the smallest") {
  std::vector<Metrics> updates(2);
  for (const std::string name : {"a", "a/max", "a/min"}) {
    updates[0].set(name, 1.0);
    updates[1].set(name, 4.0);
  }
  Metrics found;
  add_means(updates, found);
  CHECK(found.get("a") == 2.5);
  CHECK(found.get("a/max") == 4);
  CHECK(found.get("a/min") == 1);
}

CreditModels models_of(const Model& policy, const Model& reference) {
  return {.policy = policy.decoder.get(),
          .reference = reference.decoder.get(),
          .temperature = 0.9,
          .max_tokens = 40};
}

TEST_CASE("credit that tells tokens apart sees their probabilities and reaches their losses") {
  const Model policy = tiny_model(true), reference = tiny_model(false);
  reference.decoder->weights().mul_(1.2);
  reference.decoder->weights_changed();
  std::vector<Group> groups = scored_groups(3, 4);
  const auto algo = algorithm("reinforce_plus_plus", "beta = 0.1\nkl_target = 1e-3");
  Metrics numbers;
  assign_credit(*algo, groups, models_of(policy, reference), numbers);
  CHECK(std::isfinite(numbers.get("kl")));
  Update update = make_update(groups, 0, groups.size(), 20);
  fill_logprobs(*policy.decoder, update, 0.9, 1 << 20, false);
  fill_logprobs(*reference.decoder, update, 0.9, 1 << 20, true);
  // Returns by hand, whitened over all tokens.
  std::vector<double> returns, found;
  for (const Sample& sample : update.samples) {
    std::vector<double> own(sample.old.size());
    double next = *sample.response->reward;
    for (size_t t = own.size(); t-- > 0;)
      own[t] = next -= 0.1 * (double{sample.old[t]} - double{sample.reference[t]});
    returns.insert(returns.end(), own.begin(), own.end());
    const std::vector<float>& token = sample.response->token_advantages;
    found.insert(found.end(), token.begin(), token.end());
  }
  double mean = 0, squares = 0;
  for (const double value : returns) mean += value / static_cast<double>(returns.size());
  for (const double value : returns) squares += (value - mean) * (value - mean);
  const double scale = std::sqrt(squares / static_cast<double>(returns.size() - 1));
  for (double& value : returns) value = (value - mean) / scale;
  CHECK(worst(found, returns, 1) < 1e-4);
  CHECK(algo->state().at("beta").get<double>() != 0.1);

  // The loss has one advantage a token: of those of one token all the others are 0.
  const auto norm = [&] {
    OptimizerState state(*policy.decoder);
    Metrics metrics;
    optimizer_step(*policy.decoder, state, *algo, update, 0.9, 1 << 20, {}, 0.0, nullptr, metrics);
    return metrics.get("grad_norm");
  };
  for (Group& group : groups)
    for (Response& response : group.responses)
      std::fill(response.token_advantages.begin(), response.token_advantages.end(), 0.0f);
  CHECK(norm() == 0);
  groups[1].responses[2].token_advantages.back() = 1;
  CHECK(norm() > 1e-3);
}

TEST_CASE("the baseline of least variance gets the sum of squared probabilities") {
  const Model policy = tiny_model(true);
  std::vector<Group> groups = scored_groups(2, 4);
  const auto algo = algorithm("grpo", "advantage = \"otb\"");
  Metrics numbers;
  assign_credit(*algo, groups, models_of(policy, policy), numbers);
  CHECK(numbers.row().empty());
  for (const Group& group : groups)
    for (const Response& response : group.responses) {
      REQUIRE(response.token_advantages.size() == response.ids.size());
      // A return is the reward, 0 or 1, and a baseline lies between; the longest ends without.
      for (const float value : response.token_advantages) CHECK((value >= -1 && value <= 1));
    }
}

TEST_CASE("a response that one part of its reward cannot score enters where parts count alone") {
  std::vector<Group> groups = scored_groups(1, 3);
  for (Response& response : groups[0].responses)
    response.rewards = {{"accuracy", response.reward.value_or(0), 2, ""}, {"format", 1, 1, ""}};
  Response& partly = groups[0].responses[1];
  partly.reward.reset();
  partly.rewards[1].abstained = "unreadable";
  GroupTable table = make_table(groups, true);
  REQUIRE(table.channels.size() == 2);
  CHECK(table.channels[0].weight == 2);
  CHECK(table.channels[0].value == std::vector<double>{1, 0, 1});
  CHECK(std::isnan(table.channels[1].value[1]));
  CHECK(table.active == std::vector<char>{1, 1, 1});
  CHECK(make_table(groups).active == std::vector<char>{1, 0, 1});
  CHECK(make_update(groups, 0, 1, 20, true).samples.size() == 3);
  partly.rewards[0].abstained = "no verdict";
  CHECK(make_table(groups, true).active == std::vector<char>{1, 0, 1});
  groups[0].responses[0].masked = true;
  const Update update = make_update(groups, 0, 1, 20);
  CHECK(update.totals.sequences == 1);
  CHECK(update.totals.responses == 2);
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
                     .pass_rates = {0.1, 1.0 / 3},
                     .algorithm = {{"beta", 0.25}}});
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
                                                         .pass_rates = {0.1, 1.0 / 3},
                                                         .algorithm = {{"beta", 0.25}}});
  CHECK(state.step == 12);
  CHECK(at::equal(state.moment1, saved.optimizer.moment1));
}

TEST_CASE("moments in bytes come back bit for bit, and are not mistaken for fp32") {
  const testing::TemporaryFolder folder;
  const Model model = tiny_model(true);
  OptimizerState state(*model.decoder, true);
  for (int step = 0; step < 3; ++step) {
    model.decoder->gradients().uniform_(-1, 1);
    REQUIRE(apply_update(*model.decoder, state, {}, 0.1).applied);
  }
  save_checkpoint(folder.path(), *model.decoder, *model.tokenizer, state,
                  {.phase = "rl", .step = 3});
  const fs::path checkpoint = folder.path() / "checkpoint-3";
  OptimizerState again(*model.decoder, true);
  load_trainer_state(checkpoint, 4, again);
  CHECK(again.step == 3);
  CHECK(at::equal(again.moment1, state.moment1));
  CHECK(at::equal(again.moment2, state.moment2));
  CHECK(at::equal(again.scales2, state.scales2));
  CHECK(4 * state.moment1.nbytes() == model.decoder->weights().nbytes());
  OptimizerState whole(*model.decoder);
  CHECK(usage_error([&] { load_trainer_state(checkpoint, 4, whole); }).find("trainer.optimizer") !=
        std::string::npos);
  CHECK(usage_error([&] {
          const SafetensorsFile file(checkpoint / "trainer" / "optimizer.safetensors");
        }).find("U8 is not supported") != std::string::npos);
}

TEST_CASE("a checkpoint of a version that wrote less of its progress loads") {
  Saved saved;
  saved.save(12);
  const fs::path folder = saved.folder.path() / "checkpoint-12";
  Json state = Json::parse(read_file(folder / "trainer/state.json"));
  CHECK(state["next_prompt"] == 7);
  for (const char* key : {"next_prompt", "pass_rates", "algorithm"}) state.erase(key);
  write_file(folder / "trainer/state.json", dump_json(state));
  OptimizerState optimizer(*saved.model.decoder);
  const Progress progress = load_trainer_state(folder, 4, optimizer);
  CHECK(progress.next_prompt == 48);
  CHECK(progress.pass_rates.empty());
  CHECK(progress.algorithm.is_null());
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
  prune_checkpoints(saved.folder.path(), 1, std::vector<int64_t>{20, 40});
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
  prune_checkpoints(saved.folder.path(), 1, std::vector<int64_t>{40});
  CHECK(fs::exists(start));
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
  CHECK(config_problem(base +
                       "[algo]\ntype = \"decoupled_ppo\"\n[trainer]\nold_logprobs = \"rollout\"\n")
            .find("trainer.old_logprobs: \"rollout\" leaves no gap for algo.correction") !=
        std::string::npos);
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

TEST_CASE("every preset is ten lines at most, and lies over a job without mistakes") {
  int64_t count = 0;
  for (const auto& entry : fs::directory_iterator(cat(VERNIER_CONFIGS, "/presets"))) {
    const std::string preset = entry.path().string(), text = read_file(preset);
    CAPTURE(preset);
    CHECK(std::count(text.begin(), text.end(), '\n') <= 10);
    ++count;
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
