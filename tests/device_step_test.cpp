// Whole steps on a GPU against the decoder on the CPU. Without a GPU they say that they were not
// run.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/kernels/device.h"
#include "core/kernels/device_runtime.h"
#include "core/model/model.h"
#include "rollout/device_steps.h"
#include "rollout/engine.h"
#include "tests/device_arrays.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using kernels::WeightFormat;
using testing::as_floats;
using testing::as_type;
using testing::Bf16;
using testing::exact_in;
using testing::have_gpu;
using testing::normal;
using testing::OnDevice;
using testing::worst;

using Floats = std::vector<float>;

template <class T, class Y>
void check_linear(double tolerance) {
  kernels::device::Linear linear;
  for (const int64_t inner : {8, 72, 520})
    for (const int64_t columns : {8, 33, 264}) {
      const Floats w = exact_in<T>(normal(columns * inner, 1)),
                   bias = exact_in<Y>(normal(columns, 2));
      OnDevice<T> gw(as_type<T>(w));
      OnDevice<Y> gbias(as_type<Y>(bias));
      Floats first;  // the first row, of the smallest product
      for (const int64_t rows : {1, 3, 64, 65, 257})
        for (const bool adds : {false, true}) {
          if (adds && !std::is_same_v<T, Y>) continue;
          CAPTURE(inner);
          CAPTURE(columns);
          CAPTURE(rows);
          const Floats x = exact_in<T>(normal(rows * inner, 3));
          Floats want(static_cast<size_t>(rows * columns));
          kernels::ref::matmul(x.data(), false, w.data(), true, want.data(), rows, inner, columns,
                               false);
          if (adds) kernels::ref::add_bias(want.data(), bias.data(), rows, columns);
          OnDevice<T> gx(as_type<T>(x));
          OnDevice<Y> y(rows * columns);
          linear(gx.data(), gw.data(), adds ? gbias.data() : nullptr, y.data(), rows, inner,
                 columns, nullptr);
          const Floats found = as_floats(y.host());
          CHECK(worst(found, want, std::sqrt(static_cast<double>(inner))) < tolerance);
          if (adds) continue;
          const Floats row(found.begin(), found.begin() + columns);
          if (rows == 1) first = row;
          if (rows <= 64) WARN(row == first);  // a class of rows; NVIDIA does not promise it
        }
    }
}

TEST_CASE("products on a GPU match their reference" * doctest::skip(!have_gpu())) {
  check_linear<float, float>(1e-5);
  check_linear<Bf16, Bf16>(4e-3);
  check_linear<Bf16, float>(1e-5);
}

TEST_CASE("words are written on a GPU as by the reference" * doctest::skip(!have_gpu())) {
  using kernels::device::WordCopy;
  using kernels::device::WordWrite;
  std::vector<int32_t> want(5000);
  for (size_t i = 0; i < want.size(); ++i) want[i] = static_cast<int32_t>(i);
  std::vector<WordCopy> copies;
  std::vector<WordWrite> writes;
  for (int32_t i = 0; i < 1500; ++i) {
    copies.push_back({.to = i, .from = 2000 + i});
    writes.push_back({.to = 1000 + i, .value = -i});  // some of what was copied, and its source
  }
  OnDevice<int32_t> words(want);
  OnDevice<WordCopy> gcopies(copies);
  OnDevice<WordWrite> gwrites(writes);
  kernels::device::write_words(words.data(), gcopies.data(), 1500, gwrites.data(), 1500, nullptr);
  kernels::ref::write_words(want.data(), copies.data(), 1500, writes.data(), 1500);
  CHECK(words.host() == want);
}

// Sizes that fill no tile, and what the families differ by.
std::vector<ModelSpec> specs() {
  ModelSpec plain;
  plain.hidden_size = 104;
  plain.intermediate_size = 136;
  plain.num_hidden_layers = 2;
  plain.num_attention_heads = 3;
  plain.num_key_value_heads = 1;
  plain.head_dim = 64;
  plain.max_position_embeddings = 512;
  ModelSpec biased = plain;
  biased.head_dim = 80;
  biased.qkv_bias = biased.output_bias = biased.mlp_bias = true;
  biased.qk_norm = kernels::QkNorm::head;
  biased.layers = {{.rope = false, .window = 0}, {.rope = true, .window = 40}};
  ModelSpec after = plain;
  after.head_dim = 96;
  after.num_attention_heads = 4;
  after.num_key_value_heads = 2;
  after.rotary_size = 48;
  after.norm_after = true;
  after.qk_norm = kernels::QkNorm::all;
  after.tie_word_embeddings = true;
  return {plain, biased, after};
}

// Log-probabilities of a response as the CPU computes them.
Floats judged(Decoder& decoder, const Prompt& prompt, const Response& response,
              double temperature) {
  const at::NoGradGuard no_grad;
  std::vector<int32_t> ids = prompt.ids;
  ids.insert(ids.end(), response.ids.begin(), response.ids.end());
  PackedTokens tokens;
  tokens.add(ids);
  const auto first = std::ssize(prompt.ids) - 1, count = std::ssize(response.ids);
  const at::Tensor hidden = decoder.hidden(tokens).narrow(0, first, count).contiguous();
  const at::Tensor logprob =
      ops::token_logprobs(hidden, decoder.head(), response.ids, temperature).logprob;
  const auto* values = logprob.const_data_ptr<float>();
  return {values, values + count};
}

void check_responses(const ModelSpec& spec, const RolloutConfig& config, double tolerance) {
  NewModel made;
  made.characters = "0123456789abcdefgh+=#.?~";
  made.end_token = ".";
  made.spec = spec;
  Model model = new_model(made, 3, false);
  if (config.weights == WeightFormat::bf16)  // so that only activations differ
    model.decoder->weights().copy_(model.decoder->weights().to(at::kBFloat16));
  model.decoder->weights_changed();
  Decoder gpu(model.decoder->spec(), false, at::kFloat, at::kCUDA);
  gpu.weights().copy_(model.decoder->weights());
  gpu.weights_changed();
  std::vector<Prompt> prompts(7);
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompts[i].index = static_cast<int64_t>(i);
    prompts[i].id = cat(i);
    for (size_t t = 0; t < 1 + i * 43; ++t)
      prompts[i].ids.push_back(static_cast<int32_t>((t * t + i) % 20));
  }
  Engine engine(gpu, *model.tokenizer);
  int64_t responses = 0;
  engine.generate(prompts, config, {.seed = 5, .step = 2}, 7, nullptr, [&](Group&& group) {
    for (const Response& response : group.responses) {
      ++responses;
      CAPTURE(group.prompt.id);
      CAPTURE(response.sample);
      const double temperature = config.sampling.temperature == 0 ? 1 : config.sampling.temperature;
      CHECK(testing::worst_gap(response.logprobs, judged(*model.decoder, group.prompt, response,
                                                         temperature)) < tolerance);
      CHECK(testing::worst_gap(response.plain_logprobs,
                               judged(*model.decoder, group.prompt, response, 1.0)) < tolerance);
    }
  });
  CHECK(responses == std::ssize(prompts) * config.num_generations);
}

TEST_CASE("steps on a GPU draw with the log-probabilities that the CPU computes" *
          doctest::skip(!have_gpu())) {
  for (const ModelSpec& spec : specs())
    for (const auto weights : {WeightFormat::fp32, WeightFormat::bf16})
      for (const int64_t max_running : {1, 3, 28})
        for (const bool tight : {false, true}) {
          CAPTURE(spec.head_dim);
          CAPTURE(max_running);
          CAPTURE(tight);
          RolloutConfig config;
          config.num_generations = 4;
          config.max_completion_length = 150;
          config.max_running = max_running;
          config.max_step_tokens = max_running + 37;
          config.weights = weights;
          config.ignore_eos = true;
          config.record_logprobs = {"plain"};
          config.sampling.temperature = 0.8;
          config.sampling.top_p = 0.9;
          const int64_t size = weights == WeightFormat::fp32 ? 4 : 2;
          if (tight)  // preempted, and computed again
            config.kv_cache_gb =
                14.5e-9 * static_cast<double>(KvCache::page_bytes(spec) * size / 4);
          check_responses(spec, config, weights == WeightFormat::fp32 ? 2e-4 : 0.1);
        }
}

TEST_CASE("the most probable tokens on a GPU are those of the CPU" * doctest::skip(!have_gpu())) {
  RolloutConfig config;
  config.num_generations = 1;
  config.max_completion_length = 60;
  config.sampling.temperature = 0;
  config.record_logprobs = {"plain"};
  for (const ModelSpec& spec : specs()) check_responses(spec, config, 2e-4);
}

TEST_CASE("without CUDA a runner of steps says so" * doctest::skip(kernels::device::built())) {
  CHECK_THROWS_AS(kernels::device::Linear(), DeviceError);
  CHECK_THROWS_AS(kernels::device::free_memory(), DeviceError);
}

TEST_CASE("a runner refuses what its kernels do not have") {
  ModelSpec spec = specs()[0];
  spec.vocab_size = 30;
  spec.head_dim = 8;
  Decoder decoder(spec, false);
  CHECK(testing::usage_error([&] {
          make_device_steps(decoder, {.slots = 1});
        }).find("attention heads of 8 dimensions") != std::string::npos);
  CHECK(testing::usage_error([&] {
          make_device_steps(decoder, {.slots = 2000});
        }).find("2000 responses at a time") != std::string::npos);
}

}  // namespace
}  // namespace vernier
