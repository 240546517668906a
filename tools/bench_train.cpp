// Full training of a shape on random tokens: forward, backward and AdamW of the trainer's own step.
#include <ATen/ATen.h>

#include <map>

#include "core/base/clock.h"
#include "core/kernels/device_runtime.h"
#include "core/model/flops.h"
#include "tools/bench_parts.h"
#include "trainer/step.h"

namespace vernier {

ModelSpec shape_named(const std::string& name) {
  struct Sizes {
    int64_t width, inner, layers, heads, kv_heads, head_size, vocabulary;
    bool tied;
  };
  static const std::map<std::string, Sizes> kShapes = {
      {"tiny", {64, 96, 2, 4, 2, 16, 256, true}},
      {"135M", {576, 1536, 30, 9, 3, 64, 49152, true}},
      {"0.5B", {896, 4864, 24, 14, 2, 64, 151936, true}},
      {"1.5B", {1536, 8960, 28, 12, 2, 128, 151936, true}},
      {"7B", {3584, 18944, 28, 28, 4, 128, 152064, false}}};
  const auto found = kShapes.find(name);
  if (found == kShapes.end())
    fail("--shape: '", name, "' is unknown; known: tiny, 135M, 0.5B, 1.5B, 7B");
  const Sizes& sizes = found->second;
  ModelSpec spec;
  spec.model_type = "qwen2";
  spec.hidden_size = sizes.width;
  spec.intermediate_size = sizes.inner;
  spec.num_hidden_layers = sizes.layers;
  spec.num_attention_heads = sizes.heads;
  spec.num_key_value_heads = sizes.kv_heads;
  spec.head_dim = sizes.head_size;
  spec.vocab_size = sizes.vocabulary;
  spec.max_position_embeddings = 32768;
  spec.rope.theta = 1e6;
  spec.rms_norm_eps = 1e-6;
  spec.tie_word_embeddings = sizes.tied;
  spec.qkv_bias = true;
  return spec;
}

namespace {

constexpr int64_t kWarmUp = 2;  // steps that choose algorithms and take memory

// Where the model computes: random numbers of a model's own kind would take the host minutes.
void fill(Decoder& decoder) {
  const at::NoGradGuard no_grad;
  at::manual_seed(1);
  for (Parameter& parameter : decoder.parameters()) {
    at::Tensor value = parameter.value.detach();
    if (value.dim() == 2)
      value.normal_(0.0, 0.02);
    else
      value.fill_(parameter.name.ends_with("bias") ? 0.0 : 1.0);
  }
  decoder.weights_changed();
}

// Sequences of which `length` tokens run: a prompt of one, and a response whose last token does
// not.
std::vector<Example> random_examples(int64_t count, int64_t length, int64_t vocabulary,
                                     int64_t step) {
  std::vector<Example> examples;
  for (Prompt& prompt : random_prompts(count, length + 1, vocabulary, step))
    examples.push_back(
        {.prompt = {prompt.ids.front()},
         .response = std::vector<int32_t>(prompt.ids.begin() + 1, prompt.ids.end())});
  return examples;
}

}  // namespace

Json bench_train(const TrainBench& options) {
  if (options.tokens % options.length != 0)
    fail("--tokens: ", options.tokens, " is not a multiple of --length = ", options.length);
  const at::Device device(options.device);
  Decoder decoder(shape_named(options.shape), true, at::kFloat, device);
  fill(decoder);
  decoder.training = {.precision = options.precision == "bf16" ? kernels::Precision::bf16
                                                               : kernels::Precision::fp32,
                      .recompute = options.checkpointing};
  const ModelSpec& spec = decoder.spec();
  OptimizerState state(decoder);
  const OptimizerConfig optimizer;
  const int64_t together = options.tokens / options.length;
  const int64_t sequences = together * options.microbatches;
  std::vector<double> seconds;
  double nll = 0;
  for (int64_t step = 0; step < kWarmUp + options.steps; ++step) {
    const std::vector<Example> examples =
        random_examples(sequences, options.length, spec.vocab_size, step);
    const Clock clock;
    Metrics metrics;
    sft_step(decoder, state, examples, static_cast<double>(sequences * options.length),
             together * (options.length + 1), optimizer, optimizer.learning_rate, metrics);
    if (device.is_cuda()) kernels::device::wait_for_device();
    if (step >= kWarmUp) seconds.push_back(clock.seconds());
    nll = metrics.get("nll");
  }
  const auto tokens = static_cast<double>(sequences * options.length);
  const TrainingWork work = {.tokens = sequences * options.length,
                             .head_tokens = sequences * options.length,
                             .seen = tokens * static_cast<double>(options.length + 1) / 2};
  const double gflop = training_flop(spec, work) / 1e9, each = median(seconds);
  const double peak = training_peak_gflops(device, decoder.training.precision);
  return {{"tokens_per_s", tokens / each},
          {"mfu", peak > 0 ? Json(gflop / each / peak) : Json()},
          {"step_s", each},
          {"gflop", gflop},
          {"peak_gflops", peak > 0 ? Json(peak) : Json()},
          {"device", device.is_cuda() ? kernels::device::device_name() : "CPU"},
          {"parameters", decoder.num_parameters()},
          {"nll", nll},
          {"peak_rss_mb", peak_rss_mb()}};
}

}  // namespace vernier
