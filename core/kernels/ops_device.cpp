#include "core/kernels/ops_device.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "core/base/errors.h"
#include "core/kernels/device.h"

namespace vernier::ops::device {
namespace {

// Our kernels run on the legacy default stream, which is also torch's current one here.
constexpr CUstream_st* kStream = nullptr;

at::Tensor on(const at::Tensor& like, const std::vector<int32_t>& values) {
  return at::tensor(at::IntArrayRef(std::vector<int64_t>(values.begin(), values.end())), at::kInt)
      .to(like.device());
}

void check(const at::Tensor& x) {
  if (at::GradMode::is_enabled() && x.requires_grad())
    fail("training on a GPU is not built; run it on the CPU");
  ensure(x.scalar_type() == at::kFloat && x.is_contiguous(), "a dense fp32 tensor");
}

// Rotates the first R dimensions of heads [T, heads, E] by tables [T, 1, R/2].
at::Tensor rotated(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const int64_t half = cosine.size(-1), rest = x.size(-1) - 2 * half;
  const at::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  return at::cat({a * cosine - b * sine, b * cosine + a * sine, x.narrow(-1, 2 * half, rest)}, -1);
}

// What each token of a sequence sees: [T, T], true where it does; undefined where it sees all
// before it.
at::Tensor window_mask(int64_t tokens, int64_t window, const at::Device& device) {
  if (window == 0 || tokens <= window) return {};
  const at::Tensor ones = at::ones({tokens, tokens}, at::TensorOptions(at::kBool).device(device));
  return ones.tril() & ones.triu(1 - window);
}

void rms_norm_rows(const at::Tensor& x, const Parameter& weight, double eps, at::Tensor& y) {
  kernels::device::rms_norm(x.const_data_ptr<float>(), weight.value.const_data_ptr<float>(),
                            y.data_ptr<float>(), x.numel() / weight.value.numel(),
                            weight.value.numel(), static_cast<float>(eps), kStream);
}

}  // namespace

at::Tensor embedding(const std::vector<int32_t>& ids, Parameter& table) {
  return table.value.detach().index_select(0, on(table.value, ids));
}

at::Tensor linear(const at::Tensor& x, Parameter& weight, Parameter* bias) {
  check(x);
  const at::Tensor columns = weight.value.detach().t();
  return bias == nullptr ? at::mm(x, columns) : at::addmm(bias->value.detach(), x, columns);
}

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps) {
  check(x);
  at::Tensor y = at::empty_like(x);
  rms_norm_rows(x, weight, eps, y);
  return y;
}

at::Tensor qk_norm(const at::Tensor& qkv, Parameter& q_weight, Parameter& k_weight,
                   const kernels::AttentionShape& shape, kernels::QkNorm, double eps) {
  check(qkv);
  // The width of a weight says whether it spans a head or all of them.
  const int64_t queries = shape.heads * shape.head_size, keys = shape.kv_heads * shape.head_size;
  at::Tensor q = qkv.narrow(1, 0, queries).contiguous();
  at::Tensor k = qkv.narrow(1, queries, keys).contiguous();
  rms_norm_rows(q, q_weight, eps, q);
  rms_norm_rows(k, k_weight, eps, k);
  return at::cat({q, k, qkv.narrow(1, queries + keys, keys)}, 1);
}

at::Tensor rope_attention(const at::Tensor& qkv, const PackedTokens& tokens, const RopeTable& table,
                          const kernels::AttentionShape& shape) {
  check(qkv);
  for (const int32_t before : tokens.prefix)
    ensure(before < 0, "sequences without a common prefix");
  const int64_t rows = qkv.size(0), size = shape.head_size;
  const at::Tensor positions = on(qkv, tokens.positions);
  const auto angles = [&](const at::Tensor& values) {  // [T, 1, R/2]
    return values.to(qkv.device()).index_select(0, positions).unsqueeze(1);
  };
  const at::Tensor cosine = angles(table.cosine), sine = angles(table.sine);
  const at::Tensor heads = qkv.view({rows, shape.heads + 2 * shape.kv_heads, size});
  const bool rotates = shape.rotary_size > 0;
  const at::Tensor plain_q = heads.narrow(1, 0, shape.heads);
  const at::Tensor plain_k = heads.narrow(1, shape.heads, shape.kv_heads);
  const at::Tensor q = rotates ? rotated(plain_q, cosine, sine) : plain_q;
  const at::Tensor k = rotates ? rotated(plain_k, cosine, sine) : plain_k;
  const at::Tensor v = heads.narrow(1, shape.heads + shape.kv_heads, shape.kv_heads);
  at::Tensor out = at::empty({rows, shape.heads * size}, qkv.options());
  for (int64_t s = 0; s < tokens.segments(); ++s) {
    const int64_t first = tokens.starts[static_cast<size_t>(s)];
    const int64_t count = tokens.starts[static_cast<size_t>(s) + 1] - first;
    const auto own = [&](const at::Tensor& x) {
      const at::Tensor part =
          x.narrow(0, first, count).transpose(0, 1).unsqueeze(0);  // [1, h, T, E]
      return part.size(1) == shape.heads ? part : part.repeat_interleave(shape.group(), 1);
    };
    const at::Tensor mask = window_mask(count, shape.window, qkv.device());
    const at::Tensor attended = at::scaled_dot_product_attention(
        own(q), own(k), own(v), mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt,
        /*dropout_p=*/0.0, /*is_causal=*/!mask.defined());
    out.narrow(0, first, count)
        .copy_(attended.squeeze(0).transpose(0, 1).reshape({count, shape.heads * size}));
  }
  return out;
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  check(gate_up);
  at::Tensor y = at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
  kernels::device::swiglu(gate_up.const_data_ptr<float>(), y.data_ptr<float>(), y.size(0),
                          y.size(1), kStream);
  return y;
}

TokenLogprobs token_logprobs(const at::Tensor& hidden, Parameter& head,
                             const std::vector<int32_t>& targets, double temperature) {
  check(hidden);
  constexpr int64_t kChunk = 1024;  // rows of logits held at a time
  const int64_t rows = hidden.size(0), vocabulary = head.value.size(0);
  const at::Tensor ids = on(hidden, targets);
  TokenLogprobs out{at::empty({rows}, hidden.options()), at::empty({rows}, hidden.options()), {}};
  for (int64_t t = 0; t < rows; t += kChunk) {
    const int64_t count = std::min(kChunk, rows - t);
    const at::Tensor logits = linear(hidden.narrow(0, t, count), head, nullptr);
    kernels::device::log_softmax(logits.const_data_ptr<float>(), ids.const_data_ptr<int32_t>() + t,
                                 static_cast<float>(1.0 / temperature),
                                 out.logprob.data_ptr<float>() + t,
                                 out.entropy.data_ptr<float>() + t, count, vocabulary, kStream);
  }
  return out;
}

}  // namespace vernier::ops::device
