// Whole RL steps with responses of one length: what a job's step costs, without its data.
#include "core/base/clock.h"
#include "core/model/adapters.h"
#include "core/model/model.h"
#include "rollout/engine.h"
#include "tools/bench_parts.h"
#include "trainer/credit.h"
#include "trainer/step.h"

namespace vernier {
namespace {

constexpr int64_t kWarmUp = 2;  // steps that pack weights and write memory for the first time

// Four layers of width 128 with a vocabulary of one character a token: 0.8 M parameters.
NewModel tiny_llama() {
  NewModel model;
  for (char c = '!'; c <= '~'; ++c) model.characters += c;
  model.end_token = "~";
  model.spec.hidden_size = 128;
  model.spec.intermediate_size = 344;
  model.spec.num_hidden_layers = 4;
  model.spec.num_attention_heads = 4;
  model.spec.num_key_value_heads = 4;
  model.spec.head_dim = 32;
  model.spec.max_position_embeddings = 4096;
  return model;
}

Model open_model(const StepBench& options) {
  const bool whole = options.lora_rank == 0;
  Model model = options.model == "tiny-llama-128x4" ? new_model(tiny_llama(), 1, whole)
                                                    : load_model(options.model, {.trained = whole});
  if (!options.save.empty()) {
    fs::create_directories(options.save);
    save_model(*model.decoder, *model.tokenizer, options.save);
  }
  model.decoder->training = {.precision = options.precision == "bf16" ? kernels::Precision::bf16
                                                                      : kernels::Precision::fp32,
                             .recompute = options.checkpointing};
  if (!whole) model.decoder->adapt({.rank = options.lora_rank}, options.model, 1);
  return model;
}

std::unique_ptr<Algorithm> make_algorithm(const StepBench& options) {
  std::unique_ptr<Algorithm> out;
  ConfigFile file = ConfigFile::parse("", "bench");
  file.bind([&](Binder& root) {
    out = AlgorithmRegistry::all().at(options.algorithm).make(root, {options.n, options.tokens});
  });
  return out;
}

// A verdict that differs within a group: the step has something to learn from.
void judge(Group& group) {
  for (Response& response : group.responses) {
    response.correct = (response.ids.front() + response.sample) % 2 == 0;
    response.reward = *response.correct ? 1.0 : 0.0;
    response.rewards = {{"accuracy", *response.reward, 1, ""}};
  }
}

}  // namespace

Json bench_step(const StepBench& options) {
  const Model model = open_model(options);
  const std::unique_ptr<Algorithm> algorithm = make_algorithm(options);
  std::unique_ptr<Decoder> reference;
  if (algorithm->reference_kl() > 0) reference = model.decoder->frozen_copy();
  OptimizerState state(*model.decoder);
  OptimizerConfig optimizer;
  RolloutConfig drawing;
  drawing.num_generations = options.n;
  drawing.max_completion_length = options.tokens;
  drawing.max_running = options.prompts * options.n;
  drawing.max_step_tokens = std::max<int64_t>(512, drawing.max_running);
  drawing.ignore_eos = true;
  drawing.weights = format_of(options.weights);
  Engine engine(*model.decoder, *model.tokenizer);
  std::vector<double> whole, rollout, train, rate, share;
  double gap = 0;
  for (int64_t step = 0; step < kWarmUp + options.steps; ++step) {
    const Clock clock;
    std::vector<Group> groups;
    engine.generate(random_prompts(options.prompts, options.prompt_tokens,
                                   model.decoder->spec().vocab_size, step),
                    drawing, {.seed = 1, .step = static_cast<uint64_t>(step)}, step, nullptr,
                    [&](Group&& group) {
                      judge(group);
                      groups.push_back(std::move(group));
                    });
    const double drawn = clock.seconds();
    Metrics metrics;
    assign_credit(*algorithm, groups,
                  {.policy = model.decoder.get(),
                   .reference = reference.get(),
                   .temperature = 1.0,
                   .max_tokens = options.max_tokens},
                  metrics);
    Update update = make_update(groups, 0, groups.size(), options.tokens);
    if (algorithm->loss_reads_reference())
      fill_logprobs(*reference, update, 1.0, options.max_tokens, true);
    optimizer_step(*model.decoder, state, *algorithm, update, 1.0, options.max_tokens, optimizer,
                   optimizer.learning_rate, nullptr, metrics);
    if (step < kWarmUp) continue;
    whole.push_back(clock.seconds());
    rollout.push_back(drawn);
    train.push_back(clock.seconds() - drawn);
    rate.push_back(metrics.get("perf/train_tokens_per_s"));
    share.push_back(metrics.get("perf/train_mfu"));
    gap = metrics.get("sampling/sampling_logp_difference/max");
  }
  const auto sampled = static_cast<double>(options.prompts * options.n * options.tokens);
  return {{"step_s", median(whole)},
          {"rollout_s", median(rollout)},
          {"train_s", median(train)},
          {"tokens_per_s", sampled / median(whole)},
          {"peak_rss_mb", peak_rss_mb()},
          {"train_tokens_per_s", median(rate)},
          {"train_mfu", median(share)},
          {"parameters", model.decoder->num_parameters()},
          {"trained", model.decoder->trained_weights().numel()},
          {"logprob_gap", gap}};
}

}  // namespace vernier
