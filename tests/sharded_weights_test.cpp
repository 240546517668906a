// A decoder whose weights come a unit at a time computes what one does that has them all. What
// several ranks make of it is in ranks_test.cpp.
#include "trainer/sharded_weights.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>

#include "core/kernels/ops_device.h"
#include "core/model/rope.h"
#include "tests/device_arrays.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using kernels::Precision;
using testing::have_gpu;

ModelSpec spec_of(bool tied, bool norm_after) {
  ModelSpec spec;
  spec.vocab_size = 61;
  spec.hidden_size = 32;
  spec.intermediate_size = 48;
  spec.num_hidden_layers = 3;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 8;
  spec.max_position_embeddings = 64;
  spec.qkv_bias = true;
  spec.tie_word_embeddings = tied;
  spec.norm_after = norm_after;
  return spec;
}

PackedTokens some_tokens() {
  PackedTokens tokens;
  tokens.add({3, 7, 60, 0, 12});
  tokens.add({5, 5, 1}, 0);
  return tokens;
}

// The functions of a GPU, wherever the tensors lie.
ops::TokenLogprobs by_tensors(Decoder& decoder, const PackedTokens& tokens,
                              const std::vector<int32_t>& targets) {
  namespace gpu = ops::device;
  const ModelSpec& spec = decoder.spec();
  RopeTable rope = make_rope_table(spec.rope, spec.rotary(), spec.longest());
  rope.reserve(tokens.size());
  const auto pass =
      std::make_shared<const LayerPass>(LayerPass{.tokens = tokens,
                                                  .cosine = rope.cosine,
                                                  .sine = rope.sine,
                                                  .precision = decoder.training.precision,
                                                  .recompute = decoder.training.recompute});
  const auto placed = gpu::place(pass, decoder.device());
  const Precision precision = pass->precision;
  if (precision == Precision::bf16 && decoder.store() == nullptr) decoder.bf16_weights();
  at::Tensor x = gpu::embedding(tokens.ids, decoder.parameters().front(), precision);
  for (size_t i = 0; i < decoder.layers().size(); ++i)
    x = gpu::layer(x, decoder.layers()[i], decoder.layer_shapes()[i], placed);
  const auto norm = std::ranges::find(decoder.parameters(), "final_norm", &Parameter::name);
  x = gpu::rms_norm(x, *norm, spec.rms_norm_eps, precision);
  return gpu::token_logprobs(x, decoder.head(), targets, 0.9, precision, false);
}

ops::TokenLogprobs by_decoder(Decoder& decoder, const PackedTokens& tokens,
                              const std::vector<int32_t>& targets) {
  return decoder.logprobs(decoder.hidden(tokens), targets, 0.9);
}

using Compute = decltype(&by_decoder);

bool has_no_values(const Parameter& parameter) {
  return parameter.value.is_meta() && (!parameter.grad.defined() || parameter.grad.is_meta());
}

using Memory = c10::weak_intrusive_ptr<c10::StorageImpl>;
Memory memory_of(const at::Tensor& x) { return x.storage().getWeakStorageImpl(); }

// The flat gradient, put together from those that come out of the store.
at::Tensor gradient_of(Decoder& decoder, UnitStore& store, const at::Tensor& loss) {
  struct Left final : Pending {
    void finish() override {}
  };
  const at::Tensor flat = at::zeros({decoder.weights().numel()},
                                    at::TensorOptions(at::kFloat).device(decoder.device()));
  std::vector<Memory> left;
  store.on_gradient = [&](int64_t first, const at::Tensor& gradient) {
    flat.narrow(0, first, gradient.numel()).add_(gradient);
    left.push_back(memory_of(gradient));
    return std::make_unique<Left>();
  };
  loss.backward();
  store.finish_gradients();
  store.on_gradient = {};
  CHECK(left.size() == decoder.units().size());
  CHECK(std::ranges::all_of(left, &Memory::expired));
  return flat;
}

void check(bool tied, bool norm_after, at::Device device, const TrainingOptions& training,
           Compute compute, double tolerance) {
  CAPTURE(tied);
  CAPTURE(norm_after);
  CAPTURE(training.recompute);
  const ModelSpec spec = spec_of(tied, norm_after);
  Decoder whole(spec, true, at::kFloat, device), cut(spec, true, at::kFloat, at::kMeta);
  whole.training = cut.training = training;
  whole.randomize(7, 0.5, 1.0);
  Ranks alone;
  ShardedWeights store(cut, alone, device, [&](int64_t unit) {
    cut.unit_weights(unit).copy_(whole.unit_weights(unit));
  });
  const PackedTokens tokens = some_tokens();
  const std::vector<int32_t> targets = {7, 60, 0, 12, 1, 5, 1, 0};
  for (int step = 0; step < 2; ++step) {
    const ops::TokenLogprobs expected = compute(whole, tokens, targets);
    const Memory embeddings = memory_of(cut.unit_weights(0));
    const ops::TokenLogprobs found = compute(cut, tokens, targets);
    // The graph of a pass holds on to no unit.
    CHECK(embeddings.expired());
    const Memory head = memory_of(cut.head().value);
    store.release();
    CHECK(head.expired());
    CHECK(at::allclose(found.logprob, expected.logprob, tolerance, tolerance));
    (expected.logprob * 2 + expected.entropy).sum().backward();
    const at::Tensor gradient = gradient_of(cut, store, (found.logprob * 2 + found.entropy).sum());
    CHECK(at::allclose(gradient, whole.gradients(), tolerance, tolerance));
    CHECK(gradient.abs().max().item<float>() > 0.1);
    store.release();
    for (const Parameter& parameter : cut.parameters()) {
      CAPTURE(parameter.name);
      CHECK(has_no_values(parameter));
    }
    whole.gradients().zero_();
    whole.weights().mul_(1.01);
    whole.weights_changed();
    cut.trained_weights().mul_(1.01);
    cut.trained_weights_changed();
  }
  // A pass that was given up leaves nothing to the next one.
  const ops::TokenLogprobs found = compute(cut, tokens, targets);
  store.on_gradient = [](int64_t, const at::Tensor&) -> std::unique_ptr<Pending> {
    throw RunError("the others are gone");
  };
  CHECK_THROWS(found.logprob.sum().backward());
  store.on_gradient = {};
  store.drop_gradients();
  store.release();
  CHECK(std::ranges::all_of(cut.parameters(), has_no_values));
}

void check_all(at::Device device, const TrainingOptions& training, Compute compute,
               double tolerance) {
  for (const bool tied : {true, false})
    for (const bool norm_after : {false, true})
      for (const bool recompute : {false, true})
        check(tied, norm_after, device, {training.precision, recompute}, compute, tolerance);
}

TEST_CASE("weights that come a unit at a time: the same bits as whole ones") {
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    check_all(at::kCPU, {.precision = precision}, by_decoder, 0);
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    check_all(at::kCPU, {.precision = precision}, by_tensors, 0);
}

TEST_CASE("weights that come a unit at a time on a GPU" * doctest::skip(!have_gpu())) {
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    check_all(at::kCUDA, {.precision = precision}, by_decoder,
              precision == Precision::fp32 ? 1e-5 : 2e-2);
}

}  // namespace
}  // namespace vernier
