// Training as LibTorch's products between kernels: on the CPU, where the kernels are their
// references, against the reference of a layer and of the head; on a GPU against the same, and
// every kernel against its reference. Without a GPU the latter say that they were not run.
#include "core/kernels/device_training.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "core/kernels/head.h"
#include "core/kernels/ops_device.h"
#include "core/model/decoder.h"
#include "tests/device_arrays.h"
#include "tests/layer_case.h"
#include "tests/testing.h"
#include "tools/bench_parts.h"
#include "trainer/adamw.h"

namespace vernier {
namespace {

namespace gpu = ops::device;
using kernels::AttentionShape;
using kernels::LayerShape;
using kernels::Precision;
using kernels::QkNorm;
using testing::for_parts;
using testing::have_gpu;
using testing::layer_shapes;
using testing::LayerCase;
using testing::LayerResult;
using testing::normal;
using testing::worst;
using Floats = std::vector<float>;

at::Tensor tensor_of(const Floats& values, at::IntArrayRef sizes, const at::Device& device) {
  return at::tensor(values).view(sizes).to(device);
}

Floats floats_of(const at::Tensor& x) {
  const at::Tensor dense = x.detach().to(at::kCPU).to(at::kFloat).contiguous();
  return {dense.const_data_ptr<float>(), dense.const_data_ptr<float>() + dense.numel()};
}

// A weight whose gradient begins with ones.
Parameter parameter_of(const Floats& values, at::IntArrayRef sizes, const at::Device& device) {
  Parameter out;
  out.value = tensor_of(values, sizes, device);
  out.grad = at::ones_like(out.value);
  out.bf16 = out.value.to(at::kBFloat16);
  return out;
}

// ---- A layer ------------------------------------------------------------------------------------

struct Way {
  at::Device device;
  Precision precision;
  bool recompute;
};

LayerResult<float> by_tensors(const LayerCase<float>& c, const Way& way) {
  const int64_t rows = c.starts.back(), half = c.shape.attention.rotary_size / 2;
  kernels::LayerParts<Parameter, Parameter> parts;
  LayerParameters weights;
  for_parts(
      [&](const char*, const Floats& from, Parameter& to, Parameter*& place) {
        if (from.empty()) return;
        to = parameter_of(from, {std::ssize(from)}, way.device);
        place = &to;
      },
      c.weights, parts, weights);
  const auto matrix = [](Parameter& one, int64_t columns) {
    for (at::Tensor* x : {&one.value, &one.grad, &one.bf16}) *x = x->view({-1, columns});
  };
  matrix(parts.qkv, c.shape.width);
  matrix(parts.output, c.shape.attention.heads * c.shape.attention.head_size);
  matrix(parts.gate_up, c.shape.width);
  matrix(parts.down, c.shape.inner);

  auto pass = std::make_shared<LayerPass>();
  pass->tokens.ids.resize(static_cast<size_t>(rows));
  pass->tokens.positions = c.positions;
  pass->tokens.starts = c.starts;
  pass->tokens.prefix = c.prefix;
  pass->cosine = tensor_of(c.cosine, {rows, half}, at::kCPU);
  pass->sine = tensor_of(c.sine, {rows, half}, at::kCPU);
  pass->precision = way.precision;
  pass->recompute = way.recompute;
  const auto placed = gpu::place(pass, way.device);

  const at::Tensor x = tensor_of(c.x, {rows, c.shape.width}, way.device).requires_grad_(true);
  const at::Tensor y = gpu::layer(x, weights, c.shape, placed);
  {
    const at::NoGradGuard no_grad;
    CHECK(at::equal(gpu::layer(x, weights, c.shape, placed), y));
  }
  y.backward(tensor_of(c.d, {rows, c.shape.width}, way.device));
  LayerResult<float> out{.y = floats_of(y), .dx = floats_of(x.grad()), .gradients = {}};
  for_parts(
      [](const char*, Floats& to, const Parameter& from) {
        if (from.grad.defined()) to = floats_of(from.grad);
      },
      out.gradients, parts);
  return out;
}

void check_layer(const LayerShape& shape, const Way& way, double tolerance) {
  CAPTURE(shape.width);
  for (const bool biases : {false, true}) {
    CAPTURE(biases);
    const LayerCase<float> c(shape, biases, testing::kStarts, testing::kPrefix);
    const LayerResult<float> want = by_reference(c), found = by_tensors(c, way);
    CHECK(worst(found.y, want.y) < tolerance);
    CHECK(worst(found.dx, want.dx) < 1.5 * tolerance);
    for_parts(
        [&](const char* name, const Floats& one, const Floats& other) {
          CAPTURE(name);
          // One number: no averaging.
          CHECK(worst(one, other, 1) < (shape.width == 1 ? 8 : 1.5) * tolerance);
        },
        found.gradients, want.gradients);
  }
}

TEST_CASE("a layer of tensors equals its reference, forward and backward") {
  for (const LayerShape& shape : layer_shapes()) {
    check_layer(shape, {at::kCPU, Precision::fp32, false}, 2e-5);
    check_layer(shape, {at::kCPU, Precision::bf16, false}, 0.02);
  }
}

TEST_CASE("a layer of tensors that is computed again has the same bits") {
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    for (const size_t i : {2, 3}) {
      const LayerCase<float> c(layer_shapes()[i], true, testing::kStarts, testing::kPrefix);
      const LayerResult<float> kept = by_tensors(c, {at::kCPU, precision, false});
      const LayerResult<float> again = by_tensors(c, {at::kCPU, precision, true});
      CHECK(kept.y == again.y);
      CHECK(kept.dx == again.dx);
      for_parts([](const char*, auto& a, auto& b) { CHECK(a == b); }, kept.gradients,
                again.gradients);
    }
}

TEST_CASE("a layer on a GPU equals its reference" * doctest::skip(!have_gpu())) {
  for (const bool recompute : {false, true}) {
    for (const LayerShape& shape : layer_shapes()) {
      check_layer(shape, {at::kCUDA, Precision::fp32, recompute}, 2e-5);
      if (shape.attention.head_size % 8 == 0)
        check_layer(shape, {at::kCUDA, Precision::bf16, recompute}, 0.02);
    }
    // Head sizes that models have, a window, and queries that share keys.
    for (const int64_t size : {64, 80, 96, 128, 256})
      check_layer(
          testing::shape_of(160, 96, {4, 2, size, size, size == 96 ? 40 : 0}, QkNorm::head, false),
          {at::kCUDA, Precision::bf16, recompute}, 0.02);
  }
}

// ---- The head -----------------------------------------------------------------------------------

struct HeadCase {
  int64_t rows, width, vocabulary;
  double temperature;
  Floats hidden = normal(rows * width, 1), weight = normal(vocabulary * width, 2, 0, 0.3);
  Floats d_logprob = normal(rows, 3), d_entropy = normal(rows, 4);
  std::vector<int32_t> targets = {};

  HeadCase& spread() {
    for (int64_t t = 0; t < rows; ++t)
      targets.push_back(static_cast<int32_t>(t * 7919 % vocabulary));
    return *this;
  }
};

struct HeadResult {
  Floats logprob, entropy, square_mass, d_hidden, d_weight;
};

HeadResult head_by_reference(const HeadCase& c) {
  const auto rows = static_cast<size_t>(c.rows);
  Floats log_sum(rows);
  HeadResult out{Floats(rows), Floats(rows), Floats(rows), Floats(c.hidden.size()),
                 Floats(c.weight.size(), 1.0f)};
  kernels::ref::head_forward(c.hidden.data(), c.weight.data(), c.targets.data(), c.temperature,
                             log_sum.data(), out.logprob.data(), out.entropy.data(),
                             out.square_mass.data(), c.rows, c.width, c.vocabulary);
  kernels::ref::head_backward(c.hidden.data(), c.weight.data(), c.targets.data(), c.temperature,
                              log_sum.data(), out.entropy.data(), c.d_logprob.data(),
                              c.d_entropy.data(), out.d_hidden.data(), out.d_weight.data(), c.rows,
                              c.width, c.vocabulary);
  return out;
}

HeadResult head_by_tensors(const HeadCase& c, const at::Device& device, Precision precision) {
  Parameter head = parameter_of(c.weight, {c.vocabulary, c.width}, device);
  const at::Tensor hidden = tensor_of(c.hidden, {c.rows, c.width}, device).requires_grad_(true);
  const auto found =
      gpu::token_logprobs(hidden, head, c.targets, c.temperature, precision, /*square_mass=*/true);
  const at::Tensor loss = (found.logprob * tensor_of(c.d_logprob, {c.rows}, device)).sum() +
                          (found.entropy * tensor_of(c.d_entropy, {c.rows}, device)).sum();
  loss.backward();
  return {floats_of(found.logprob), floats_of(found.entropy), floats_of(found.square_mass),
          floats_of(hidden.grad()), floats_of(head.grad)};
}

// Some have more rows or words than a chunk.
std::vector<HeadCase> head_cases() {
  std::vector<HeadCase> all = {{1, 1, 1, 1.0},
                               {31, 33, 31, 0.6},
                               {33, 31, 257, 1.7},
                               {33, 16, 17000, 1.0},
                               {2100, 8, 33, 1.0}};
  for (HeadCase& one : all) one.spread();
  return all;
}

void check_head(const at::Device& device) {
  for (const HeadCase& c : head_cases()) {
    CAPTURE(c.vocabulary);
    const HeadResult want = head_by_reference(c);
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      const bool rounds = precision == Precision::bf16;
      CAPTURE(rounds);
      const HeadResult found = head_by_tensors(c, device, precision);
      CHECK(worst(found.logprob, want.logprob, 1) < (rounds ? 0.01 : 1e-5));
      CHECK(worst(found.entropy, want.entropy, 1) < (rounds ? 0.02 : 1e-4));
      CHECK(worst(found.square_mass, want.square_mass, 1) < (rounds ? 0.01 : 1e-5));
      CHECK(worst(found.d_hidden, want.d_hidden, 1) < (rounds ? 0.02 : 2e-5));
      CHECK(worst(found.d_weight, want.d_weight, 1) < (rounds ? 0.02 : 2e-5));
    }
  }
}

void check_nan(const at::Device& device) {
  HeadCase c = HeadCase{3, 5, 40, 1.0}.spread();
  c.hidden[7] = std::numeric_limits<float>::quiet_NaN();
  const HeadResult found = head_by_tensors(c, device, Precision::fp32);
  CHECK(std::isnan(found.logprob[1]));
  CHECK(std::isnan(found.entropy[1]));
  CHECK(std::isfinite(found.logprob[2]));
  CHECK(std::isnan(found.d_weight[0]));
}

TEST_CASE("the head of tensors equals its reference, a chunk at a time") {
  check_head(at::kCPU);
  check_nan(at::kCPU);
}

TEST_CASE("the head on a GPU equals its reference" * doctest::skip(!have_gpu())) {
  check_head(at::kCUDA);
  check_nan(at::kCUDA);
}

// ---- The ends -----------------------------------------------------------------------------------

void check_ends(const at::Device& device) {
  constexpr int64_t kVocabulary = 7, kWidth = 33;
  const std::vector<int32_t> ids = {6, 0, 3, 3, 6, 3};
  const Floats table = normal(kVocabulary * kWidth, 1), d = normal(std::ssize(ids) * kWidth, 2);
  Floats want(table.size(), 1.0f);
  for (size_t t = 0; t < ids.size(); ++t)
    for (size_t i = 0; i < kWidth; ++i)
      want[static_cast<size_t>(ids[t]) * kWidth + i] += d[t * kWidth + i];
  Parameter weight = parameter_of(table, {kVocabulary, kWidth}, device);
  weight.value.requires_grad_(true);
  const at::Tensor rows = gpu::embedding(ids, weight, Precision::fp32);
  CHECK(floats_of(rows[0]) == Floats(table.end() - kWidth, table.end()));
  rows.backward(tensor_of(d, rows.sizes(), device));
  CHECK(worst(floats_of(weight.grad), want, 1) < 1e-6);

  Parameter norm = parameter_of(normal(kWidth, 3), {kWidth}, device);
  const Floats x = normal(5 * kWidth, 4);
  Floats y(x.size()), dx(x.size()), dw(kWidth, 1.0f), inverse(5);
  const Floats w = floats_of(norm.value);
  kernels::ref::rms_norm(x.data(), w.data(), y.data(), inverse.data(), 5, kWidth, 1e-5);
  kernels::ref::rms_norm_backward(d.data(), x.data(), w.data(), inverse.data(), dx.data(),
                                  dw.data(), 5, kWidth);
  const at::Tensor in = tensor_of(x, {5, kWidth}, device).requires_grad_(true);
  const at::Tensor out = gpu::rms_norm(in, norm, 1e-5, Precision::fp32);
  out.backward(tensor_of(Floats(d.begin(), d.begin() + 5 * kWidth), out.sizes(), device));
  CHECK(worst(floats_of(out), y, 1) < 1e-5);
  CHECK(worst(floats_of(in.grad()), dx, 1) < 1e-5);
  CHECK(worst(floats_of(norm.grad), dw, 1) < 1e-5);
}

TEST_CASE("embedding and last norm of tensors equal their references") { check_ends(at::kCPU); }

TEST_CASE("embedding and last norm on a GPU equal their references" * doctest::skip(!have_gpu())) {
  check_ends(at::kCUDA);
}

// ---- Kernel by kernel ---------------------------------------------------------------------------

using Results = std::vector<at::Tensor>;

// Numbers of `type` that are the same wherever they lie.
struct Inputs {
  at::Device device;
  at::ScalarType type;

  at::Tensor numbers(at::IntArrayRef sizes, uint64_t seed) const {
    return wide(sizes, seed).to(type);
  }
  at::Tensor wide(at::IntArrayRef sizes, uint64_t seed) const {
    return tensor_of(normal(c10::multiply_integers(sizes), seed), sizes, device);
  }
  at::Tensor places(int64_t count, int64_t below) const {
    std::vector<int32_t> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(static_cast<int32_t>(i * 5 % below));
    return gpu::placed(out, device);
  }
};

Results rows_of(const Inputs& in, int64_t rows, int64_t width) {
  const at::Tensor x = in.wide({rows, width}, 1), w = in.numbers({width}, 2),
                   dy = in.numbers({rows, width}, 3), block = in.numbers({rows, width}, 4);
  const at::Tensor d = in.wide({rows, width}, 5), grad = in.wide({width}, 6), other = grad.clone();
  gpu::rms_norm_rows_backward(dy, x, w, 1e-5, d, grad);
  const at::Tensor sum = gpu::add_normed(x, block, w, 1e-5);
  const at::Tensor pair = in.numbers({rows, 2 * width}, 7);
  const auto [d_pair, inner] = gpu::swiglu_backward(dy, pair);
  return {gpu::rms_norm_rows(x, w, 1e-5),
          d,
          grad,
          sum,
          gpu::add_normed_backward(x, block, w, 1e-5, other),
          other,
          gpu::swiglu(pair),
          d_pair,
          inner};
}

Results heads_of(const Inputs& in, int64_t rows, int64_t size, QkNorm kind) {
  const AttentionShape shape{.heads = 6, .kv_heads = 2, .head_size = size, .rotary_size = size};
  const bool all = kind == QkNorm::all;
  const at::Tensor q = in.numbers({size * (all ? 6 : 1)}, 1),
                   k = in.numbers({size * (all ? 2 : 1)}, 2),
                   raw = in.numbers({rows, shape.row()}, 3), d = in.numbers({rows, shape.row()}, 4);
  const at::Tensor q_grad = in.wide(q.sizes(), 5), k_grad = in.wide(k.sizes(), 6);
  const at::Tensor normed = raw.clone(), turned = raw.clone(), back = raw.clone();
  gpu::qk_norm(normed, q, k, shape, kind, 1e-6);
  gpu::qk_norm_backward(d, raw, q, k, shape, kind, 1e-6, q_grad, k_grad);
  const at::Tensor positions = in.places(rows, 40), cosine = in.wide({40, size / 2}, 7),
                   sine = in.wide({40, size / 2}, 8);
  gpu::rope(turned, positions, cosine, sine, shape, false);
  gpu::rope(back, positions, cosine, sine, shape, true);
  return {normed, d, q_grad, k_grad, turned, back};
}

Results sums_of(const Inputs& in, int64_t rows, int64_t width) {
  const gpu::RowGroups sums{gpu::placed({0, 3, 3, 5}, in.device), in.places(5, rows),
                            gpu::placed({2, 0, 1}, in.device)};
  const at::Tensor from = in.numbers({rows, width}, 1), out = in.numbers({3, 2 * width}, 2);
  gpu::sum_rows(from, sums, out.narrow(1, width, width), /*add=*/false);
  gpu::sum_rows(from, sums, out.narrow(1, 0, width), /*add=*/true);
  return {out};
}

void check_kernels(const std::function<Results(const Inputs&)>& run) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    CAPTURE(type == at::kFloat);
    const Results want = run({at::kCPU, type}), found = run({at::kCUDA, type});
    for (size_t i = 0; i < want.size(); ++i) {
      CAPTURE(i);
      CHECK(worst(floats_of(found[i]), floats_of(want[i]), 1) < (type == at::kFloat ? 2e-5 : 4e-3));
    }
  }
}

TEST_CASE("kernels of training on a GPU match their references" * doctest::skip(!have_gpu())) {
  for (const int64_t rows : {1, 31, 33, 600}) {  // 600: several to a block
    CAPTURE(rows);
    for (const int64_t width : {1, 31, 33, 257, 5000}) {
      CAPTURE(width);
      check_kernels([&](const Inputs& in) { return rows_of(in, rows, width); });
      check_kernels([&](const Inputs& in) { return sums_of(in, rows, width); });
    }
    for (const int64_t size : {2, 30, 64, 128})
      for (const QkNorm kind : {QkNorm::head, QkNorm::all}) {
        CAPTURE(size);
        check_kernels([&](const Inputs& in) { return heads_of(in, rows, size, kind); });
      }
  }
}

// ---- The whole ----------------------------------------------------------------------------------

std::unique_ptr<Decoder> small_decoder(const at::Device& device) {
  ModelSpec spec;
  spec.vocab_size = 300;
  spec.hidden_size = 96;
  spec.intermediate_size = 160;
  spec.num_hidden_layers = 2;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 64;
  spec.max_position_embeddings = 256;
  spec.tie_word_embeddings = true;
  spec.qkv_bias = true;
  auto out = std::make_unique<Decoder>(spec, true, at::kFloat, device);
  out->randomize(3, 0.5, 0.5);
  return out;
}

// A prompt with three responses and a sequence of its own go forward and back, twice; then AdamW.
void train_twice(Decoder& decoder, OptimizerState& state, std::vector<double>& norms) {
  const auto ids = [](int32_t count, int32_t seed) {
    std::vector<int32_t> out;
    for (int32_t i = 0; i < count; ++i) out.push_back((i * i * 7 + seed) % 300);
    return out;
  };
  PackedTokens tokens;
  tokens.add(ids(33, 1));
  for (const int32_t length : {5, 31, 70}) tokens.add(ids(length, length), 0);
  tokens.add(ids(65, 2));
  const auto rows = static_cast<int32_t>(tokens.size());
  OptimizerConfig config;
  for (int64_t update = 0; update < 2; ++update) {
    const auto found = decoder.logprobs(decoder.hidden(tokens), ids(rows, 9), 0.8);
    (-found.logprob.mean() - 0.1 * found.entropy.mean()).backward();
    norms.push_back(apply_update(decoder, state, config, 1e-3).grad_norm);
  }
}

TEST_CASE("a model on a GPU learns as one on the CPU" * doctest::skip(!have_gpu())) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const bool rounds = precision == Precision::bf16;
    CAPTURE(rounds);
    std::vector<double> norms[2];
    at::Tensor moments[2], weights[2];
    for (const bool on_gpu : {false, true}) {
      const auto decoder = small_decoder(on_gpu ? at::kCUDA : at::kCPU);
      decoder->training = {.precision = on_gpu ? precision : Precision::fp32, .recompute = on_gpu};
      OptimizerState state(*decoder);
      train_twice(*decoder, state, norms[on_gpu]);
      moments[on_gpu] = state.moment1.cpu();
      weights[on_gpu] = decoder->weights().detach().cpu();
    }
    CHECK(testing::worst(norms[1], norms[0]) < (rounds ? 0.03 : 1e-4));
    CHECK(worst(floats_of(moments[1]), floats_of(moments[0])) < (rounds ? 0.05 : 1e-4));
    // AdamW's first steps are the signs of the gradient where eps does not count.
    CHECK((weights[1] - weights[0]).abs().mean().item<double>() < (rounds ? 3e-4 : 1e-5));
  }
}

TEST_CASE("AdamW on a GPU equals its reference" * doctest::skip(!have_gpu())) {
  for (const int64_t count : {1, 31, 33, 257, 5'000'000}) {
    Floats w = normal(count, 1), m = normal(count, 3), v = normal(count, 4);
    for (float& one : v) one = std::abs(one);
    const Floats g = normal(count, 2);
    testing::OnDevice<float> gw(w), gg(g), gm(m), gv(v);
    const kernels::AdamStep step{
        .learning_rate = 0.01, .weight_decay = 0.1, .grad_scale = 0.5, .step = 3};
    kernels::ref::adamw(w.data(), g.data(), m.data(), v.data(), count, step);
    kernels::device::adamw(gw.data(), gg.data(), gm.data(), gv.data(), count, step, nullptr);
    CHECK(worst(gw.host(), w, 1) < 1e-6);
    CHECK(worst(gm.host(), m, 1) < 1e-6);
    CHECK(worst(gv.host(), v, 1) < 1e-6);
  }
}

TEST_CASE("what a GPU does not train or draw with is refused by name, in the file") {
  const auto problem = [](const std::string& keys, const std::string& trainer = "") {
    return testing::usage_error([&] {
      ConfigFile file = ConfigFile::parse(
          cat("[model]\npath = \"m\"\n[data]\ntask = \"chain_sum\"\n[run]\nsteps = 1\ndevice = "
              "\"cuda\"\n[rollout]\n",
              keys, "[[reward]]\ntype = \"accuracy\"\n[trainer]\n", trainer),
          "c.toml");
      const auto config = RunConfig::load(file);
      CHECK(config->device().is_cuda());
    });
  };
  CHECK(problem("kv_cache_gb = 4\n").empty());
  CHECK(problem("").find("rollout.kv_cache_gb") != std::string::npos);
  CHECK(problem("kv_cache_gb = 4\nweights = \"int8\"\nrepetition_penalty = 1.5\n")
            .find("rollout.weights: \"int8\": a GPU does not draw with it") != std::string::npos);
  CHECK(problem("kv_cache_gb = 4\n", "optimizer = \"adamw_8bit\"\n").find("trainer.optimizer") !=
        std::string::npos);
}

TEST_CASE("tools/bench train counts what it trains") {
  const Json found = bench_train({.shape = "tiny",
                                  .precision = "fp32",
                                  .length = 32,
                                  .tokens = 64,
                                  .microbatches = 2,
                                  .steps = 1});
  const double seconds = found.at("step_s"), gflop = found.at("gflop");
  CHECK(found.at("tokens_per_s").get<double>() == doctest::Approx(128 / seconds));
  CHECK(found.at("mfu").get<double>() ==
        doctest::Approx(gflop / seconds / found.at("peak_gflops").get<double>()));
  // 6 weights a token: 2 layers of 64 (64 + 2 * 32 + 64 + 3 * 96), a head of 64 * 256; and
  // 12 * 2 * 64 * 16.5 for what each attends to.
  CHECK(gflop * 1e9 / 128 == doctest::Approx(6 * (2 * 64 * 480 + 64 * 256) + 12 * 2 * 64 * 16.5));
  CHECK(found.at("nll").get<double>() == doctest::Approx(std::log(256.0)).epsilon(0.1));
  CHECK(testing::usage_error([] { bench_train({.shape = "8B"}); }).find("7B") != std::string::npos);
  CHECK(testing::usage_error([] {
          bench_train({.shape = "tiny", .length = 10, .tokens = 64});
        }).find("--tokens") != std::string::npos);
}

}  // namespace
}  // namespace vernier
