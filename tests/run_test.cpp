// Whole runs of a tiny model: filters and their restart, replay of stored rollouts.
#include <doctest/doctest.h>

#include "core/kernels/kernels.h"
#include "core/metrics/metrics.h"
#include "core/weights/weights.h"
#include "rollout/rows.h"
#include "tests/testing.h"
#include "trainer/checkpoint.h"
#include "trainer/loop.h"
#include "trainer/replay.h"

namespace vernier {
namespace {

using testing::TemporaryFolder;
using testing::usage_error;
using testing::worst_gap;

// Half the responses of this untrained model end at their limit: `overlong` tells them apart.
const char* const kJob = R"(
[run]
seed = 5
steps = 2
threads = 1
[model.new]
characters = "0123456789abcdefgh+=#.?~"
end_token = "."
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
[data]
task = "chain_sum"
[rollout]
num_generations = 2
prompts_per_step = 4
max_completion_length = 16
[[reward]]
type = "overlong"
cache = 1
[algo]
type = "grpo"
[trainer]
learning_rate = 1e-3
[log.rollouts]
every = 1
token_fields = true
)";

class Job {
 public:
  explicit Job(const std::string& keys = "") { write_file(path("c.toml"), kJob + keys); }

  fs::path path(const std::string& name) const { return folder_.path() / name; }

  void run(const std::string& name, const std::vector<std::string>& overrides = {}) const {
    train({.config_paths = {path("c.toml").string()},
           .overrides = overrides,
           .run_dir = path(name).string()});
  }

  void again(const std::string& name, const ReplayOptions& more) const {
    ReplayOptions options = more;
    options.config_paths = {path("c.toml").string()};
    options.run_dir = path(name).string();
    replay(options);
  }

  std::string weights(const std::string& name, int64_t step) const {
    return read_file(path(name) / cat("checkpoint-", step) / "model.safetensors");
  }

  // Without what depends on the clock and the cache.
  std::vector<Json> metrics(const std::string& name) const {
    std::vector<Json> rows;
    LineReader reader((path(name) / "metrics.jsonl").string());
    for (std::string line; reader.next(line);) {
      const Json all = Json::parse(line);
      Json row;
      for (const auto& [key, value] : all.items())
        if (!key.starts_with("time/") && !key.starts_with("perf/") && !key.starts_with("memory/"))
          row[key] = value;
      rows.push_back(row);
    }
    return rows;
  }

 private:
  TemporaryFolder folder_;
};

TEST_CASE("a run that filters its groups goes on from a checkpoint as if nothing had happened") {
  for (const std::string refill : {"none", "batches", "missing", "predict"}) {
    CAPTURE(refill);
    const Job job(cat("[rollout.filter]\nrule = \"spread\"\nmetric = \"reward\"\nrefill = \"",
                      refill, "\"\n"));
    const std::vector<std::string> longer = {"run.steps=4"};
    job.run("whole", longer);
    job.run("parts");
    job.run("parts", longer);
    CHECK(job.weights("parts", 4) == job.weights("whole", 4));
    CHECK(job.metrics("parts") == job.metrics("whole"));
    double dropped = 0, batches = 0;
    for (const Json& row : job.metrics("whole")) {
      const auto count = [&](const char* key) { return row[key].get<double>(); };
      for (const auto& [key, value] : row.items()) {
        CAPTURE(key);
        CHECK((key.starts_with("rewards/") || MetricDocs::all().contains(key)));
      }
      dropped += count("filter/dropped/flat");
      batches += count("filter/generation_batches");
      CHECK(count("filter/sampled_groups") * 2 == count("samples/issued"));
      CHECK((4 - count("filter/missing_groups")) * 2 == count("samples/trained"));
      if (refill == "batches" || refill == "missing") CHECK(count("filter/missing_groups") == 0);
      if (refill == "missing") CHECK(count("filter/dropped/surplus") == 0);
      if (refill == "predict" && row["step"] == 1) {
        CHECK(count("filter/predicted_factor") == 1.5);
        CHECK(count("filter/sampled_groups") == 6);
      }
    }
    CHECK(dropped > 0);
    if (refill == "batches" || refill == "missing") CHECK(batches > 4);
  }
}

// A guarded run of an untrained model, which is hardly ever right.
class Guarded {
 public:
  Guarded()
      : job_(
            "[guard]\nmax_accuracy_loss = 0.3\nreference = \"start\"\npatience = 1\n"
            "factor = 4\n[[reward]]\ntype = \"accuracy\"\n") {}

  void run(const std::string& name, int64_t steps,
           const std::vector<std::string>& more = {}) const {
    std::vector<std::string> overrides = {cat("run.steps=", steps),  "run.eval_every=1",
                                          "run.save_every=1",        "run.keep_checkpoints=10",
                                          "algo.scale_rewards=none", "data.eval_prompts=150"};
    overrides.insert(overrides.end(), more.begin(), more.end());
    job_.run(name, overrides);
  }
  std::vector<Json> looks(const std::string& name) const {
    std::vector<Json> out;
    for (const Json& row : job_.metrics(name))
      if (row.contains("guard/move")) out.push_back(row);
    return out;
  }
  // As after a crash that left what comes after `step` unwritten.
  void cut(const std::string& name, int64_t step) const {
    for (const fs::path& checkpoint : list_checkpoints(job_.path(name)))
      if (std::stoll(checkpoint.filename().string().substr(std::string("checkpoint-").size())) >
          step)
        fs::remove_all(checkpoint);
  }
  const Job& job() const { return job_; }

 private:
  Job job_;
};

TEST_CASE(
    "a guarded run goes on from a checkpoint as if nothing had happened, and ends at its best") {
  const Guarded guarded;
  const Job& job = guarded.job();
  // What adapts has to go back too.
  const std::vector<std::string> adaptive = {"algo.beta=0.01", "algo.kl_target=0.001",
                                             "algo.kl_horizon=10"};
  guarded.run("whole", 6, adaptive);
  const std::vector<Json> rows = job.metrics("whole"), looks = guarded.looks("whole");
  for (const Json& row : rows)
    for (const auto& [key, value] : row.items()) {
      CAPTURE(key);
      CHECK((key.starts_with("rewards/") || MetricDocs::all().contains(key)));
    }
  CHECK(looks.front()["guard/move"] == "begin");
  const Json& last = looks.back();
  CHECK((last["guard/move"] == "end" || last["guard/move"] == "stop"));
  const int64_t best = last["guard/best_step"].get<int64_t>(), end = last["step"].get<int64_t>();
  double shortest = 1e9;
  for (const Json& row : looks)
    shortest = std::min(shortest, row["eval/mean_length"].get<double>());
  REQUIRE(best != end);  // else nothing is gone back to
  CHECK(rows.back()["eval/mean_length"] == shortest);
  CHECK(rows.back()["step"] == end);
  CHECK(job.weights("whole", end) == job.weights("whole", best));

  guarded.run("parts", 6, adaptive);
  for (const int64_t step : {5, 3, 2, 1}) {
    guarded.cut("parts", step);
    guarded.run("parts", 6, adaptive);
    CHECK(job.weights("parts", end) == job.weights("whole", end));
    CHECK(job.metrics("parts") == rows);
  }
}

TEST_CASE("a guarded run that is made shorter ends at its best, and one made longer goes on") {
  const Guarded guarded;
  const Job& job = guarded.job();
  guarded.run("short", 3);
  guarded.run("cut", 6);
  guarded.cut("cut", 3);
  guarded.run("cut", 3);
  CHECK(guarded.looks("cut").back()["guard/move"] == "end");
  CHECK(job.weights("cut", 3) == job.weights("short", 3));
  guarded.run("short", 4);
  CHECK(guarded.looks("short").back()["step"] == 4);
  // To less than it has done, between two evaluations.
  const std::vector<std::string> seldom = {"run.eval_every=4", "run.keep_checkpoints=10"};
  guarded.run("less", 8, seldom);
  guarded.cut("less", 7);
  guarded.run("less", 6, seldom);
  CHECK(guarded.looks("less").back()["step"] == 7);
  CHECK(guarded.looks("less").back()["guard/move"] == "end");
}

TEST_CASE("the guard of a run that goes on in another folder begins anew there") {
  const Guarded guarded;
  const Job& job = guarded.job();
  guarded.run("first", 3);
  train({.config_paths = {job.path("c.toml").string()},
         .overrides = {"run.steps=5", "run.eval_every=1", "algo.scale_rewards=none",
                       "data.eval_prompts=150"},
         .run_dir = job.path("fork").string(),
         .resume = (job.path("first") / "checkpoint-2").string()});
  CHECK(guarded.looks("fork").front()["guard/move"] == "begin");
  CHECK(guarded.looks("fork").front()["step"] == 2);
  CHECK(guarded.looks("fork").back()["guard/move"] == "end");

  // What the first run ended with is a reference for others, on the same prompts alone.
  const std::string reference = cat("guard.reference=", job.path("first").string());
  guarded.run("second", 2, {reference});
  CHECK(guarded.looks("second").front()["guard/reference_accuracy"] ==
        guarded.looks("first").back()["eval/accuracy"]);
  CHECK(usage_error([&] {
          guarded.run("third", 2, {reference, "data.eval_seed=5"});
        }).find("and they are not the 150") != std::string::npos);

  const std::string turned = usage_error([&] { guarded.run("first", 5, {"guard.reference=0.5"}); });
  CHECK(turned.find("with the reference start") != std::string::npos);
  // What it may have to go back to is gone.
  const auto best = guarded.looks("first").back()["guard/best_step"].get<int64_t>();
  REQUIRE(best < 3);
  fs::remove_all(job.path("first") / cat("checkpoint-", best));
  const std::string gone = usage_error([&] { guarded.run("first", 5); });
  CHECK(gone.find("the guard may have to go back to it") != std::string::npos);
}

TEST_CASE("what a reward needs of other sections is asked for before the run") {
  const auto load = [](const std::string& reward, const std::string& more,
                       const std::vector<std::string>& overrides) {
    std::string text = kJob;
    const size_t at = text.find("[[reward]]");
    text.replace(at, text.find("[algo]") - at, reward);
    text.insert(text.find("[trainer]"), more);
    ConfigFile file = ConfigFile::parse(text, "c.toml", overrides);
    return RunConfig::load(file);
  };
  const auto problem = [&](const std::string& reward, const std::string& more = "",
                           const std::vector<std::string>& overrides = {}) {
    return usage_error([&] { load(reward, more, overrides); });
  };
  const std::vector<std::string> warm_start_alone = {"run.steps=0", "sft.steps=2"};
  const std::string tag = "think_end = \"#\"\n", naive = "advantage = \"naive\"\n";
  const std::string adaptthink = "[[reward]]\ntype = \"adaptthink\"\n";
  const std::string brpo = tag + "[[reward]]\ntype = \"brpo\"\nbudgets = [4]\nexit_tokens = 2\n";
  const std::string logged = "weight = 0\n[[reward]]\ntype = \"accuracy\"\n";
  for (const std::string& reward : {adaptthink, brpo}) {
    CHECK(problem(reward).find("algo.advantage = \"naive\"") != std::string::npos);
    CHECK(problem(reward, naive).empty());
    CHECK(problem(reward, "", warm_start_alone).empty());
    const SamplingPlan plan = load(reward + logged, "", {})->chain.plan();
    CHECK(plan.forced_share == 0);
    CHECK(plan.reference_generations == 0);
    CHECK(plan.branches == SamplingPlan::Branches::none);
  }
  CHECK(problem("[[reward]]\ntype = \"lc_r1\"\n").find("rollout.think_end") != std::string::npos);
  CHECK(problem(tag + "[[reward]]\ntype = \"lc_r1\"\n").empty());
  CHECK(problem("[[reward]]\ntype = \"lc_r1\"\n", "", warm_start_alone).empty());
  CHECK(problem(adaptthink + "forced_share = 0.2\n", naive)
            .find("forced_share = 0.2 make 0 responses") != std::string::npos);
}

TEST_CASE("a row that a reward cannot be scored with ends the run before it begins") {
  const Job job;
  auto problem = [&, count = 0](const std::string& rows, const std::vector<std::string>& more = {},
                                const std::string& reward = "length_interval") mutable {
    write_file(job.path("rows.jsonl"), rows);
    std::string text = kJob;
    const auto replace = [&](const std::string& old, const std::string& now) {
      text.replace(text.find(old), old.size(), now);
    };
    replace("task = \"chain_sum\"", cat("train = \"", job.path("rows.jsonl").string(), "\""));
    replace("type = \"overlong\"\ncache = 1", cat("type = \"", reward, "\""));
    write_file(job.path("c.toml"), text);
    return usage_error([&] { job.run(cat("r", count++), more); });
  };
  const std::string good = "{\"prompt\":\"1+1=\",\"target_length\":9}\n";
  const std::string none = "{\"prompt\":\"1+2=\"}\n";
  const std::string bad = "{\"prompt\":\"1+3=\",\"target_length\":\"long\"}\n";
  const std::string negative = "{\"prompt\":\"1+3=\",\"target_length\":-9}\n";
  CHECK(problem(good + none).empty());
  for (const std::string& row : {bad, negative}) {
    const std::string found = problem(good + row);
    CHECK(found.find("rows.jsonl:2: prompt 1: target_length: ") != std::string::npos);
    CHECK(found.find("is none of n, [x, y]") != std::string::npos);
  }
  CHECK(problem(good + bad, {"data.on_bad_row=skip"}).empty());
  const std::string mute = problem(none + none);
  CHECK(mute.find("rows.jsonl:1: reward.length_interval: no target_length; every response "
                  "abstains, to all 2 "
                  "rows") != std::string::npos);
  // A row that is left out is none that can be learned from.
  CHECK(problem(bad + none, {"data.on_bad_row=skip"}).find("to all 1 rows") != std::string::npos);
  // With channels the other rewards still teach; a gate that is closed makes it 0.
  const std::string accuracy = "length_interval\"\n[[reward]]\ntype = \"accuracy";
  CHECK(problem(none, {"algo.type=gdpo"}).find("to all 1 rows") != std::string::npos);
  CHECK(problem(none, {}, accuracy).find("to all 1 rows") != std::string::npos);
  CHECK(problem(none, {"algo.type=gdpo"}, accuracy).empty());
  CHECK(problem(none, {"reward.length_interval.min_solve_rate=0.5"}, accuracy).empty());

  // Whatever length a prompt may be asked for is looked at, and not that which is drawn first.
  std::vector<std::string> asks = {"data.length_request.mode=suffix",
                                   "data.length_request.text=?{budget}",
                                   "data.length_request.text_at_most=~{budget}"};
  CHECK(problem(none, asks).empty());
  asks.emplace_back("data.length_request.at_most_share=0.01");
  CHECK(problem(none, asks, "l1_max").empty());
  for (const char* on_bad_row : {"data.on_bad_row=error", "data.on_bad_row=skip"}) {
    asks.emplace_back(on_bad_row);
    const std::string most = problem(none, asks, "l1_exact");
    CHECK(most.find("data.length_request: prompt 0: target_length: -100 asks for a most") !=
          std::string::npos);
  }
  CHECK(problem(good, asks, "l1_exact").empty());  // it has its own
}

TEST_CASE("a control token that is learned is part of the warm start's loss") {
  const Job job;
  const std::vector<std::string> asks = {
      "data.length_request.mode=token", "data.length_request.text=#{budget}#",
      "data.length_request.low=10", "data.length_request.high=99"};
  const auto learned_tokens = [&](const std::string& name, const std::string& key) {
    std::vector<std::string> keys = {"run.steps=0", "sft.steps=1", "sft.batch_sequences=16",
                                     "sft.bucket_batches=1", "data.chain_sum.min_terms=3"};
    keys.insert(keys.end(), asks.begin(), asks.end());
    if (!key.empty()) keys.push_back(key);
    job.run(name, keys);
    return job.metrics(name)[0]["num_tokens"].get<int64_t>();
  };
  // "#23#" opens each of 16.
  CHECK(learned_tokens("learned", "data.length_request.learn_token=true") ==
        learned_tokens("given", "") + 4 * 16);
  std::vector<std::string> no_warm_start = asks;
  no_warm_start.emplace_back("data.length_request.learn_token=true");
  CHECK(usage_error([&] {
          job.run("none", no_warm_start);
        }).find("data: length_request.learn_token: has no effect without a warm start") !=
        std::string::npos);
}

TEST_CASE("a step that leaves out all its groups changes nothing, whatever the algorithm") {
  const Job job("[rollout.filter]\nrule = \"between\"\nmetric = \"reward\"\nbetween = [5, 6]\n");
  for (const std::string type : {"dler", "gdpo", "reinforce_plus_plus", "decoupled_ppo"}) {
    CAPTURE(type);
    job.run(type, {"algo.type=" + type, "run.steps=1"});
    CHECK(job.weights(type, 1) == job.weights(type, 0));
    CHECK(job.metrics(type)[0]["updates"] == 0);
  }
}

TEST_CASE(
    "groups that were left out are stored with their cause, and prompts are never drawn twice") {
  const Job job("[rollout.filter]\nrule = \"spread\"\nmetric = \"reward\"\nrefill = \"batches\"\n");
  job.run("run");
  std::map<std::string, int64_t> causes;
  std::vector<int64_t> places;
  for (const char* name : {"step_1", "step_2"})
    read_rollouts((job.path("run") / "rollouts" / cat(name, ".jsonl.zst")).string(),
                  [&](Group&& group) {
                    ++causes[group.dropped];
                    places.push_back(group.prompt.index);
                  });
  CHECK(causes[""] == 8);
  CHECK(causes["flat"] > 0);
  std::sort(places.begin(), places.end());
  CHECK(std::adjacent_find(places.begin(), places.end()) == places.end());
  CHECK(places.back() == std::ssize(places) - 1);
}

TEST_CASE("replay of a run's rollouts ends with its weights, bit for bit") {
  using Overrides = std::vector<std::string>;
  const std::vector<std::pair<std::string, Overrides>> all = {
      {"", {"algo.type=reinforce_plus_plus", "algo.kl_target=1e-4", "algo.kl_horizon=100"}},
      {"", {"algo.advantage=remax", "algo.beta=0.1", "algo.kl_in=reward"}},
      {"", {"algo.loss=clip_cov", "algo.cov_ratio=0.1", "algo.entropy_target=2.0"}},
      {"[rollout.filter]\nrule = \"spread\"\nmetric = \"reward\"\nrefill = \"missing\"\n",
       {"algo.type=gdpo"}},
      {"[[transform]]\ntype = \"overlong_mask\"\n[[transform]]\ntype = \"stop_properly\"\ncoef = "
       "-0.5\n",
       {"algo.beta=0.1"}}};
  for (const auto& [keys, given] : all) {
    CAPTURE(keys);
    CAPTURE(given.front());
    const Job job(keys);
    ReplayOptions options;
    options.overrides = given;
    options.overrides.emplace_back("trainer.samples_per_update=4");
    job.run("run", options.overrides);
    options.rollouts = {(job.path("run") / "rollouts").string()};
    options.save_gradients = job.path("g.safetensors").string();
    job.again("again", options);
    CHECK(job.weights("again", 2) == job.weights("run", 2));
    CHECK(job.weights("again", 2) != job.weights("run", 0));
    const std::vector<Json> was = job.metrics("run"), is = job.metrics("again");
    REQUIRE(was.size() == is.size());
    for (size_t i = 0; i < was.size(); ++i) {
      CHECK(is[i]["replay/stored_step"] == was[i]["step"]);
      for (const auto& [key, value] : was[i].items())
        if (!key.starts_with("filter/") && !key.starts_with("greedy/") &&
            !key.starts_with("overlong_mask/") && !key.starts_with("stop_properly/") &&
            key != "num_tokens") {
          CAPTURE(key);
          REQUIRE(is[i].contains(key));
          CHECK(is[i][key] == value);
        }
    }
    options.rescore = true;
    options.save_gradients.clear();
    job.again("rescored", options);
    CHECK(job.weights("rescored", 2) == job.weights("run", 2));
  }
}

TEST_CASE("replay saves the gradient of the first update, before clipping") {
  const Job job;
  job.run("run");
  ReplayOptions options;
  options.rollouts = {(job.path("run") / "rollouts/step_1.jsonl.zst").string(),
                      (job.path("run") / "rollouts/step_2.jsonl.zst").string()};
  options.steps = 1;
  options.overrides = {"trainer.grad_clip=1e-3"};
  options.save_gradients = job.path("g.safetensors").string();
  job.again("again", options);
  REQUIRE(job.metrics("again").size() == 1);
  const SafetensorsFile model(job.path("run") / "checkpoint-0" / "model.safetensors");
  const SafetensorsFile gradient(job.path("g.safetensors"));
  CHECK(gradient.tensors().size() == model.tensors().size());
  double squares = 0;
  for (const TensorInfo& tensor : gradient.tensors()) {
    const TensorInfo* weight = model.find(tensor.name);
    REQUIRE(weight != nullptr);
    CHECK(weight->shape == tensor.shape);
    std::vector<float> values(static_cast<size_t>(tensor.numel()));
    gradient.read(tensor, values.data());
    for (const float value : values) squares += double{value} * value;
  }
  const double norm = job.metrics("again")[0]["grad_norm"].get<double>();
  CHECK(norm > 0.01);
  CHECK(std::sqrt(squares) == doctest::Approx(norm).epsilon(1e-6));
}

TEST_CASE("old log-probabilities of the rollout are those that a pass would give") {
  const Job job("[rollout.filter]\nrule = \"all\"\n");
  job.run("recompute", {"trainer.samples_per_update=4"});
  job.run("rollout", {"trainer.samples_per_update=4", "trainer.old_logprobs=rollout"});
  CHECK(job.weights("rollout", 2) == job.weights("recompute", 2));

  // Drawn with other weights than the trainer's, the two differ, and the gap is still measured.
  const std::vector<std::string> bf16 = {"rollout.weights=bf16"};
  job.run("recompute_bf16", bf16);
  job.run("rollout_bf16", {"rollout.weights=bf16", "trainer.old_logprobs=rollout"});
  CHECK(job.weights("rollout_bf16", 2) != job.weights("recompute_bf16", 2));
  const auto gap = [&](const std::string& name) {
    return job.metrics(name)[0]["sampling/sampling_logp_difference/mean"].get<double>();
  };
  CHECK(gap("rollout_bf16") > 1e-5);
  CHECK(gap("rollout_bf16") == doctest::Approx(gap("recompute_bf16")).epsilon(1e-6));
}

std::vector<float> numbers_of(const std::string& safetensors) {
  const SafetensorsFile file(safetensors);
  std::vector<float> out;
  for (const TensorInfo& tensor : file.tensors()) {
    std::vector<float> values(static_cast<size_t>(tensor.numel()));
    file.read(tensor, values.data());
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

TEST_CASE("training in bf16 is near training in fp32, and computes what a bf16 engine drew by") {
  const Job job;
  const std::vector<std::string> keys = {"rollout.weights=bf16", "algo.beta=0.1", "run.steps=1",
                                         "trainer.learning_rate=1e-5"};
  const auto with = [&](const std::string& precision) {
    std::vector<std::string> out = keys;
    out.push_back("trainer.precision=" + precision);
    job.run(precision, out);
    return numbers_of((job.path(precision) / "checkpoint-1" / "model.safetensors").string());
  };
  const std::vector<float> exact = with("fp32"), rounded = with("bf16");
  // AdamW's first step moves a weight by the learning rate, whichever way it goes.
  CHECK(worst_gap(rounded, exact) < 2.1e-5);
  CHECK(rounded != exact);
  const Json was = job.metrics("fp32")[0], is = job.metrics("bf16")[0];
  const auto number = [](const Json& row, const char* key) { return row[key].get<double>(); };
  CHECK(number(is, "grad_norm") == doctest::Approx(number(was, "grad_norm")).epsilon(0.02));
  CHECK(number(is, "kl") == 0);  // the reference computes in bf16 too
  CHECK(number(was, "sampling/sampling_logp_difference/max") > 0);
  if (kernels::bf16_format() == kernels::WeightFormat::bf16_pairs)
    CHECK(number(is, "sampling/sampling_logp_difference/max") == 0);
}

TEST_CASE("activation checkpointing changes no bit of a run, warm start included") {
  const Job job("[sft]\nsteps = 2\nbatch_sequences = 4\n");
  for (const std::string precision : {"fp32", "bf16"}) {
    CAPTURE(precision);
    const auto with = [&](const std::string& flag) {
      const std::string name = precision + flag;
      job.run(name, {"trainer.precision=" + precision, "trainer.activation_checkpointing=" + flag});
      return job.weights(name, 2);
    };
    CHECK(with("true") == with("false"));
  }
}

TEST_CASE("moments of another optimizer are no moments of this one") {
  const Job job;
  const std::string bytes = "trainer.optimizer=adamw_8bit", floats = "trainer.optimizer=adamw";
  for (const auto& [first, second] : {std::pair(bytes, floats), std::pair(floats, bytes)}) {
    job.run(first, {first, "run.steps=1"});
    CHECK(usage_error([&] { job.run(first, {second}); }).find("another trainer.optimizer") !=
          std::string::npos);
  }
}

TEST_CASE("replay names what it cannot use") {
  const Job job;
  job.run("run", {"log.rollouts.token_fields=false", "run.steps=1"});
  ReplayOptions options;
  const auto problem = [&](const std::string& rollouts) {
    static int count = 0;
    options.rollouts = {rollouts};
    return usage_error([&] { job.again(cat("r", ++count), options); });
  };
  const std::string file = (job.path("run") / "rollouts/step_1.jsonl.zst").string();
  CHECK(
      problem(file) ==
      cat(file, ":1: has no prompt_ids; rollouts have them with log.rollouts.token_fields = true"));
  CHECK(problem(job.path("run").string()).find("has no step_N.jsonl.zst") != std::string::npos);

  const auto rows = [&](const std::string& text) {
    write_file(job.path("rows.jsonl"), text);
    return job.path("rows.jsonl").string();
  };
  const auto row = [](int64_t step, const std::string& more) {
    return cat("{\"step\":", step,
               ",\"group\":0,\"sample\":0,\"prompt_ids\":[1],\"logprobs\":[-1],", more, "}\n");
  };
  const std::string good = "\"response_ids\":[2],\"reward\":1.0";
  CHECK(problem(rows("")).find("has no row") != std::string::npos);
  CHECK(problem(rows(row(2, good) + row(1, good))).find("step 1 comes after step 2") !=
        std::string::npos);
  CHECK(problem(rows(row(1, "\"response_ids\":[2]"))).find("has no stored reward; use --rescore") !=
        std::string::npos);
  const std::string parts = "\"response_ids\":[2],\"rewards\":{\"accuracy\":1}";
  CHECK(problem(rows(row(1, parts))).find("has no stored reward; use --rescore") !=
        std::string::npos);
  CHECK(problem(rows(row(1, parts + ",\"abstained\":{\"format\":\"why\"}"))).empty());
  CHECK(problem(rows(row(1, "\"response_ids\":[99],\"reward\":1.0")))
            .find("group 0 of step 1: token id 99 is outside the model's vocabulary, 0 to ") !=
        std::string::npos);
  CHECK(problem(rows(row(1, good + ",\"logprobs_kind\":\"plain\""))).find("rows.jsonl:1: ") !=
        std::string::npos);
  const std::string bare =
      "{\"group\":0,\"prompt_ids\":[1],\"response_ids\":[2],\"logprobs\":[],\"reward\":1.0}\n";
  CHECK(problem(rows(bare)).find("rows.jsonl:1: has no logprobs") != std::string::npos);
  options.rollouts = {file};
  CHECK(usage_error([&] { job.again("run", options); }).find("already holds a run") !=
        std::string::npos);
  // A call that fails before its first step leaves the folder to the next one.
  options.rollouts = {job.path("nowhere.jsonl").string()};
  CHECK(!usage_error([&] { job.again("again", options); }).empty());
  options.rollouts = {rows(row(1, good))};
  job.again("again", options);
}

}  // namespace
}  // namespace vernier
