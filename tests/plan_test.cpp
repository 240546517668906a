// What a plan says of memory against what is allocated, and what it makes of it.
#include "trainer/plan.h"

#include <doctest/doctest.h>

#include "core/kernels/head.h"
#include "rollout/engine.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"
#include "trainer/adamw.h"
#include "trainer/step_time.h"

namespace vernier {
namespace {

using kernels::Precision;
using testing::tiny_model;
using testing::usage_error;

Decoder header_of(const Model& model) {
  return {model.decoder->spec(), true, at::kFloat, at::kMeta};
}

void draw(const Model& model, WeightFormat weights) {
  RolloutConfig config;
  config.num_generations = 2;
  config.max_completion_length = 4;
  config.weights = weights;
  Prompt prompt;
  prompt.ids = {1, 2, 3};
  Engine(*model.decoder, *model.tokenizer)
      .generate({prompt}, config, {.seed = 1, .step = 1}, 0, nullptr, [](Group&&) {});
}

void train(const Model& model, int64_t tokens) {
  PackedTokens packed;
  packed.add(std::vector<int32_t>(static_cast<size_t>(tokens), 1));
  const at::Tensor hidden = model.decoder->hidden(packed);
  model.decoder->logprobs(hidden, packed.ids, 1.0).logprob.sum().backward();
}

TEST_CASE("arrays of training are as large as a plan says") {
  constexpr int64_t kTokens = 50;
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    for (const bool recompute : {false, true}) {
      CAPTURE(recompute);
      const Model model = tiny_model(true);
      Decoder& decoder = *model.decoder;
      decoder.training = {.precision = precision, .recompute = recompute};
      train(model, kTokens);
      train(model, kTokens);
      const PassMemory plan = training_pass(header_of(model), {kTokens, kTokens}, decoder.training,
                                            /*threads=*/0);
      CHECK(decoder.training_memory() == plan.kept);
      const bool rounded = precision == Precision::bf16;
      const int64_t products = rounded ? kernels::gemm_tn_bytes(kTokens, 48) : 0;
      CHECK(decoder.training_arrays().layer.bytes() + products == plan.scratch);
      const kernels::HeadRows head{.hidden = nullptr,
                                   .targets = nullptr,
                                   .rows = kTokens,
                                   .width = 32,
                                   .vocabulary = decoder.spec().vocab_size,
                                   .temperature = 1,
                                   .precision = precision};
      CHECK(decoder.training_arrays().head.bytes() == kernels::head_scratch_bytes(head, true));
      CHECK(plan.head ==
            kernels::head_scratch_bytes(head, true) + kernels::head_product_bytes(head));
      int64_t packed = 0;
      for (const auto& one : decoder.training_arrays().plain)
        packed += static_cast<int64_t>(one.data.size());
      CHECK(packed == backward_packed_bytes(header_of(model), precision));
    }
}

TEST_CASE("packed weights are as large as a plan says") {
  const WeightFormat bf16 = kernels::bf16_format();
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    for (const WeightFormat weights : {WeightFormat::fp32, bf16, WeightFormat::int8}) {
      if (precision == Precision::bf16 && weights == WeightFormat::int8) continue;  // by turns
      CAPTURE(static_cast<int>(weights));
      const Model model = tiny_model(true);
      model.decoder->training.precision = precision;
      draw(model, weights);
      train(model, 5);
      int64_t found = 0;
      for (const Parameter& one : model.decoder->parameters())
        for (const kernels::PackedMatrix* form : {&one.forward, &one.rounded})
          found += static_cast<int64_t>(form->data.size() + 4 * form->scales.size());
      const bool apart = precision == Precision::bf16 && weights == WeightFormat::bf16 &&
                         bf16 != WeightFormat::bf16_pairs;  // two forms in one place
      if (!apart) CHECK(found == packed_bytes(header_of(model), weights, precision));
    }
}

TEST_CASE("moments and the cache are as large as a plan says") {
  const Model model = tiny_model(true);
  for (const bool in_bytes : {false, true}) {
    const OptimizerState state(*model.decoder, in_bytes);
    int64_t found = static_cast<int64_t>(state.moment1.nbytes() + state.moment2.nbytes());
    if (in_bytes) found += static_cast<int64_t>(state.scales1.nbytes() + state.scales2.nbytes());
    CHECK(found == OptimizerState::bytes(model.decoder->weights().numel(), in_bytes));
  }
  RolloutConfig config;
  config.num_generations = 3;
  config.max_completion_length = 50;
  config.ignore_eos = true;
  Engine engine(*model.decoder, *model.tokenizer);
  std::vector<Prompt> prompts(2);
  for (Prompt& prompt : prompts) prompt.ids.assign(10, 1);
  engine.generate(prompts, config, {.seed = 1, .step = 1}, 0, nullptr, [](Group&&) {});
  CHECK(engine.pages() == Engine::pages_wanted(config, 6, 10));
  CHECK(Engine::pages_written(config, 6, 10, 50) >= engine.stats().scheduler.peak_pages);
}

// 12 responses to 4 prompts; 30 tokens each.
const char* const kJob = R"(
[run]
seed = 5
steps = 2
[model.new]
characters = "0123456789abcdefgh+=#.?~"
end_token = "."
hidden_size = 64
intermediate_size = 160
num_hidden_layers = 3
num_attention_heads = 4
num_key_value_heads = 2
[data]
task = "chain_sum"
[rollout]
num_generations = 3
prompts_per_step = 4
max_completion_length = 30
[[reward]]
type = "accuracy"
)";

std::unique_ptr<RunConfig> config_of(const std::string& keys = "") {
  ConfigFile file = ConfigFile::parse(kJob + keys, "c.toml");
  return RunConfig::load(file);
}

constexpr int64_t kBase = 1 << 20, kMuch = int64_t{1} << 40;

TEST_CASE("a plan has the phases of its job, and every kind in each of them") {
  const auto config = config_of();
  const PlannedJob job(*config, 0);
  const MemoryPlan plan = plan_memory(job, PlanSettings(*config), kBase, kMuch);
  CHECK(plan.has == std::array<bool, 4>{true, false, true, true});
  CHECK(plan.of(kWarmStart) == 0);
  CHECK(plan.of(kLoading) < plan.of(kSampling));
  CHECK(plan.of(kSampling) < plan.of(kLearning));
  CHECK(plan.peak() == plan.of(kLearning));
  CHECK_FALSE(plan.releases_activations);
  // Prompts of several tokens and 12 responses; the last token of each does not run.
  const BatchSize all = job.largest(1 << 20);
  CHECK(all.head_rows == 12 * 30);
  CHECK(all.rows == job.update_tokens() - 12);
  CHECK(job.largest(100).rows < 100);
  CHECK(job.largest(100).rows > 80);

  const auto warm = config_of("[sft]\nsteps = 3\nbatch_sequences = 4\n");
  const PlannedJob warm_job(*warm, 0);
  CHECK(plan_memory(warm_job, PlanSettings(*warm), kBase, kMuch).of(kWarmStart) > 0);
  const auto reference = config_of("[algo]\ntype = \"grpo\"\nbeta = 0.1\n");
  const PlannedJob reference_job(*reference, 0);
  CHECK(plan_memory(reference_job, PlanSettings(*reference), kBase, kMuch).peak() >
        plan.peak() + 4 * job.model().num_parameters());
  CHECK(usage_error([&] { PlannedJob(*config, 31); }).find("--mean-length: 31") == 0);
}

TEST_CASE("a plan holds the start policy that rewards ask, and what goes on from a thought") {
  const auto plain_config = config_of();
  const PlannedJob plain(*plain_config, 0);
  const MemoryPlan before = plan_memory(plain, PlanSettings(*plain_config), kBase, kMuch);
  const auto bytes = [](const MemoryPlan& plan, const std::string& name, Phase phase) -> int64_t {
    for (const MemoryKind& kind : plan.kinds)
      if (kind.name == name) return kind.bytes[phase];
    return 0;
  };
  CHECK(bytes(before, "reference policy", kSampling) == 0);
  const auto pruner_config =
      config_of("[[reward]]\ntype = \"o1_pruner\"\nreference_generations = 5\n");
  const PlannedJob pruner(*pruner_config, 0);
  const MemoryPlan held = plan_memory(pruner, PlanSettings(*pruner_config), kBase, kMuch);
  for (const Phase phase : {kSampling, kLearning}) {
    CHECK(bytes(held, "reference policy", phase) > 4 * plain.model().num_parameters());
    CHECK(bytes(held, "sampling of the reference", phase) > 0);
  }
  CHECK(pruner.reference()->sequences == 4 * 5);
  CHECK(pruner.rollout()->sequences == 4 * 3);

  // 3 thoughts, 2 budgets, 2 answers at each: 12 responses to each of 4 prompts.
  const std::string branches = "exit_text = \"#\"\nexit_tokens = 5\n";
  const std::string tags = "think_end = \"#\"\n";
  std::string job = kJob;
  job.insert(job.find("[[reward]]"), tags);
  const auto planned = [&](const std::string& keys) {
    ConfigFile file = ConfigFile::parse(job + keys, "c.toml");
    return RunConfig::load(file);
  };
  const auto brpo_config =
      planned(cat("[[reward]]\ntype = \"brpo\"\nbudgets = [10, 20]\nsiblings = 2\n", branches,
                  "[algo]\ntype = \"grpo\"\nadvantage = \"naive\"\n"));
  const PlannedJob brpo(*brpo_config, 0);
  CHECK(brpo.rollout()->sequences == 4 * 12);
  CHECK(brpo.rollout()->mean_length == doctest::Approx((10 + 20) / 2.0 + 1 + 5));
  CHECK(brpo.rollout()->mean_drawn == doctest::Approx((3 * 20 + 12 * 5) / 12.0));
  CHECK(brpo.largest(1 << 20).head_rows == 4 * 12 * 21);
  CHECK(plan_memory(brpo, PlanSettings(*brpo_config), kBase, kMuch).of(kLearning) >
        before.of(kLearning));
  CHECK(brpo.updates() == 1);
  // The full response, and two exits at 10 and 20 of its 30 tokens.
  const auto exits_config = planned(cat("[[reward]]\ntype = \"s_grpo\"\n", branches));
  const PlannedJob exits(*exits_config, 0);
  CHECK(exits.rollout()->sequences == 4 * 3);
  CHECK(exits.largest(1 << 20).head_rows == 4 * (30 + 16 + 26));
}

TEST_CASE(
    "a plan takes the rows that a run takes, and asks the start policy what it would be asked") {
  const testing::TemporaryFolder folder;
  const std::string path = (folder.path() / "rows.jsonl").string();
  const auto planned = [&](const std::string& rows, const std::string& reward,
                           const std::vector<std::string>& overrides = {}) {
    write_file(path, rows);
    std::string job = kJob;
    job.replace(job.find("task = \"chain_sum\""), std::string("task = \"chain_sum\"").size(),
                cat("train = \"", path, "\"\nshuffle = false"));
    ConfigFile file = ConfigFile::parse(cat(job, "[[reward]]\n", reward), "c.toml", overrides);
    return RunConfig::load(file);
  };
  const std::string pruner = "type = \"o1_pruner\"\nreference_generations = 5\n";
  const std::string bare = "{\"prompt\":\"1+1=\",\"answer\":\"2\"}\n";
  const std::string known =
      "{\"prompt\":\"1+2=\",\"answer\":\"3\",\"reference_length\":4,\"reference_accuracy\":1}\n";
  const auto some = planned(known + known + bare, pruner);  // 4 prompts of the first step
  CHECK(PlannedJob(*some, 0).reference()->sequences == 5);
  const auto none = planned(known + known, pruner);
  CHECK(!PlannedJob(*none, 0).reference());

  const std::string bad = "{\"prompt\":\"1+3=\",\"answer\":\"4\",\"target_length\":\"long\"}\n";
  const std::string interval = "type = \"l1_exact\"\ntarget = 9\n";
  const auto strict = planned(bare + bad, interval);
  CHECK(usage_error([&] { PlannedJob(*strict, 0); }).find("rows.jsonl:2: prompt 1: ") !=
        std::string::npos);
  const auto lenient = planned(bare + bad, interval, {"data.on_bad_row=skip"});
  CHECK(PlannedJob(*lenient, 0).rollout()->sequences == 4 * 3);
}

TEST_CASE("the largest micro-batch fits, and a larger one does not") {
  const auto config = config_of();
  const PlannedJob job(*config, 0);
  const PlanSettings settings(*config);
  CHECK(largest_microbatch(job, settings, kBase, kMuch) == job.update_tokens());
  PlanSettings small = settings;
  small.max_tokens = 150;
  const int64_t budget = plan_memory(job, small, kBase, kMuch).peak();
  const auto found = largest_microbatch(job, settings, kBase, budget);
  REQUIRE(found.has_value());
  CHECK(*found >= 150 - 64);
  small.max_tokens = *found;
  CHECK(plan_memory(job, small, kBase, budget).peak() <= budget);
  small.max_tokens = *found + 128;
  CHECK(plan_memory(job, small, kBase, budget).peak() > budget);
  CHECK_FALSE(largest_microbatch(job, settings, kBase, kBase).has_value());
}

TEST_CASE("activations are given back where the rollouts would lack their memory") {
  const auto config = config_of();
  const PlannedJob job(*config, 0);
  const PlanSettings settings(*config);
  const int64_t needed = plan_memory(job, settings, kBase, kMuch).peak();
  const MemoryPlan tight = plan_memory(job, settings, kBase, needed);
  CHECK(tight.releases_activations);
  CHECK(tight.of(kSampling) + job.largest(1 << 20).rows * 64 * 4 * 3 < tight.of(kLearning));
}

TEST_CASE("what is offered to a job that does not fit takes less, and exists once") {
  const auto config = config_of("[algo]\ntype = \"grpo\"\n");
  const PlannedJob job(*config, 0);
  const PlanSettings settings(*config);
  const int64_t peak = plan_memory(job, settings, kBase, kMuch).peak();
  std::vector<std::string> keys;
  for (const PlanChange& change : smaller_settings(job, settings, kBase, kBase)) {
    CAPTURE(change.keys);
    CHECK(plan_memory(job, change.settings, kBase, kMuch).peak() < peak);
    keys.push_back(change.keys.substr(0, change.keys.find('=')));
    // What it names is what a configuration takes.
    std::vector<std::string> overrides;
    for (size_t at = 0; at < change.keys.size();) {
      const size_t end = std::min(change.keys.find(' ', at), change.keys.size());
      overrides.push_back(change.keys.substr(at, end - at));
      at = end + 1;
    }
    ConfigFile file = ConfigFile::parse(kJob, "c.toml", overrides);
    const auto changed = RunConfig::load(file);
    CHECK(plan_memory(job, PlanSettings(*changed), kBase, kMuch).peak() ==
          plan_memory(job, change.settings, kBase, kMuch).peak());
  }
  CHECK(keys == std::vector<std::string>{
                    "trainer.precision", "trainer.optimizer", "trainer.activation_checkpointing",
                    "trainer.max_tokens_per_microbatch", "rollout.max_running"});
}

TEST_CASE("the time of a step is added up from its parts") {
  const auto config = config_of("[trainer]\nsamples_per_update = 6\n");
  const PlannedJob job(*config, 20);
  StepRates rates;
  rates.draw.few = 3;
  rates.draw.many = 12;
  rates.draw.few_rows = {1, 1, 1};
  rates.draw.many_rows = {4, 4, 4};
  rates.train.backward_batch = {0, 2, 3};
  rates.train.forward_head = {0.5, 1, 2};
  const StepTime time = step_time(job, PlanSettings(*config), rates, 1);
  // Two updates of one micro-batch each; old log-probabilities need a pass of their own.
  CHECK(time.microbatches == 1);
  CHECK(time.backward.middle == doctest::Approx(2 * 2));
  CHECK(time.forward.high == doctest::Approx(2 * 2 * 6 * 20 * 2.0));
  // 12 responses of 20 tokens: 20 passes of 12 rows at least; 30 passes of 8 rows with a tail.
  CHECK(time.passes == 30);
  CHECK(time.decoding.low == doctest::Approx(20 * 4.0));
  CHECK(time.decoding.middle == doctest::Approx(30 * (1 + 3 * 5.0 / 9)));
  CHECK(time.all().middle == doctest::Approx(time.decoding.middle + time.forward.middle + 4));
  // A cache for 6 of them: twice the passes, and half the rows.
  const StepTime small = step_time(job, PlanSettings(*config), rates, 0.5);
  CHECK(small.decoding.low == doctest::Approx(40 * (1 + 3 * 3.0 / 9)));
  CHECK(step_time(job, PlanSettings(*config), rates, 0.001).passes == 12 * 20 + 10);

  CHECK(time.reference.high == 0);

  // 20 responses of the start policy are drawn first: 20 passes of 20 rows at least.
  const auto pruner = config_of(
      "[[reward]]\ntype = \"o1_pruner\"\nreference_generations = 5\n"
      "[trainer]\nsamples_per_update = 6\n");
  const StepTime asked = step_time(PlannedJob(*pruner, 20), PlanSettings(*pruner), rates, 1);
  CHECK(asked.reference.low == doctest::Approx(20 * (1 + 3 * 17.0 / 9)));
  CHECK(asked.decoding.middle == doctest::Approx(time.decoding.middle));
  CHECK(asked.all().middle == doctest::Approx(time.all().middle + asked.reference.middle));

  MemoryPlan memory;
  memory.cache_pages = 30;
  memory.cache_pages_wanted = 100;
  memory.cache_pages_in_use = 30;
  CHECK(memory.cache_room() == 1);
  memory.cache_pages_in_use = 40;
  CHECK(memory.cache_room() == doctest::Approx(0.75));
}

}  // namespace
}  // namespace vernier
