#include "core/kernels/tensor_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"

namespace vernier::ops::device {
namespace {

using kernels::AttentionShape;

// Queries [T, H, E] of a pass, and keys and values [keys, G, E]. Views where no prefix is shared.
struct Heads {
  at::Tensor q, k, v;

  Heads(const at::Tensor& qkv, const AttentionShape& shape, const DevicePass& pass) {
    const at::Tensor all =
        qkv.view({qkv.size(0), shape.heads + 2 * shape.kv_heads, shape.head_size});
    q = all.narrow(1, 0, shape.heads);
    at::Tensor both = all.narrow(1, shape.heads, 2 * shape.kv_heads);
    if (pass.key_rows.defined()) both = both.index_select(0, pass.key_rows);
    k = both.narrow(1, 0, shape.kv_heads);
    v = both.narrow(1, shape.kv_heads, shape.kv_heads);
  }
};

bool by_flash(const at::Tensor& qkv, const AttentionShape& shape) {
  if (!qkv.is_cuda() || qkv.scalar_type() != at::kBFloat16) return false;
  if (shape.head_size % 8 != 0 || shape.head_size > 256)
    fail("attention heads of ", shape.head_size,
         " dimensions do not train in bf16 on a GPU; multiples of 8 up to 256 do");
  return true;
}

// As flash attention counts: tokens before the last one that is seen.
std::optional<int64_t> window_left(const AttentionShape& shape) {
  if (shape.window == 0) return std::nullopt;
  return shape.window - 1;
}
std::optional<int64_t> window_right(const AttentionShape& shape) {
  if (shape.window == 0) return std::nullopt;
  return 0;
}

Attended flash(const Heads& heads, const AttentionShape& shape, const DevicePass& pass) {
  // Where a segment has more keys than queries its last query sees the last key: causal masks are
  // aligned to the lower right.
  auto [out, log_sum, random, extra, unused] = at::_flash_attention_forward(
      heads.q, heads.k, heads.v, pass.starts, pass.key_starts, pass.longest, pass.longest_keys,
      /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false, /*scale=*/std::nullopt,
      window_left(shape), window_right(shape));
  return {out.reshape({out.size(0), -1}), log_sum, random, extra};
}

struct HeadGradients {
  at::Tensor q, k, v;  // like Heads
};

HeadGradients flash_backward(const at::Tensor& d_out, const Heads& heads, const Attended& attended,
                             const AttentionShape& shape, const DevicePass& pass) {
  const auto [q, k, v] = at::_flash_attention_backward(
      d_out.view(heads.q.sizes()), heads.q, heads.k, heads.v, attended.out.view(heads.q.sizes()),
      attended.log_sum, pass.starts, pass.key_starts, pass.longest, pass.longest_keys,
      /*dropout_p=*/0.0, /*is_causal=*/true, attended.random, attended.extra,
      /*scale=*/std::nullopt, window_left(shape), window_right(shape));
  return {q, k, v};
}

// Which keys each query of a segment does not see: [queries, keys].
at::Tensor unseen(int64_t queries, int64_t keys, int64_t window, const at::Device& device) {
  const at::Tensor all = at::ones({queries, keys}, at::TensorOptions(at::kBool).device(device));
  const int64_t before = keys - queries;
  const at::Tensor later = all.triu(before + 1);
  return window == 0 ? later : later.logical_or(all.tril(before - window));
}

// A segment in fp32, heads first, with a key and a value for every head of the queries.
struct Segment {
  int64_t first, count;  // queries
  int64_t first_key, count_keys;
  at::Tensor q, k, v;  // [H, count, E], [H, count_keys, E]

  Segment(const Heads& heads, const AttentionShape& shape, const DevicePass& pass, int64_t index) {
    const auto at = static_cast<size_t>(index);
    const auto& starts = pass.pass->tokens.starts;
    first = starts[at];
    count = starts[at + 1] - first;
    first_key = pass.key_starts_here[at];
    count_keys = pass.key_starts_here[at + 1] - first_key;
    q = heads.q.narrow(0, first, count).transpose(0, 1).to(at::kFloat);
    const auto keys = [&](const at::Tensor& all) {
      return all.narrow(0, first_key, count_keys)
          .transpose(0, 1)
          .to(at::kFloat)
          .repeat_interleave(shape.group(), 0);
    };
    k = keys(heads.k);
    v = keys(heads.v);
  }

  at::Tensor scores(const AttentionShape& shape) const {
    const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
    return (at::bmm(q, k.transpose(1, 2)) * scale)
        .masked_fill(unseen(count, count_keys, shape.window, q.device()), -INFINITY);
  }
};

Attended by_segments(const Heads& heads, const AttentionShape& shape, const DevicePass& pass) {
  const int64_t rows = heads.q.size(0);
  Attended done{.out = at::empty({rows, shape.heads, shape.head_size}, heads.q.options()),
                .log_sum = at::empty({shape.heads, rows}, heads.q.options().dtype(at::kFloat)),
                .random = {},
                .extra = {}};
  for (int64_t s = 0; s < pass.pass->tokens.segments(); ++s) {
    const Segment segment(heads, shape, pass, s);
    const at::Tensor scores = segment.scores(shape), total = scores.logsumexp(-1);
    done.log_sum.narrow(1, segment.first, segment.count).copy_(total);
    done.out.narrow(0, segment.first, segment.count)
        .copy_(at::bmm((scores - total.unsqueeze(-1)).exp(), segment.v).transpose(0, 1));
  }
  done.out = done.out.view({rows, -1});
  return done;
}

HeadGradients by_segments_backward(const at::Tensor& d_out, const Heads& heads,
                                   const Attended& attended, const AttentionShape& shape,
                                   const DevicePass& pass) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
  HeadGradients d{at::empty(heads.q.sizes(), heads.q.options()),
                  at::empty(heads.k.sizes(), heads.k.options()),
                  at::empty(heads.v.sizes(), heads.v.options())};
  for (int64_t s = 0; s < pass.pass->tokens.segments(); ++s) {
    const Segment segment(heads, shape, pass, s);
    const auto own = [&](const at::Tensor& rows) {  // [H, count, E]
      return rows.view(heads.q.sizes())
          .narrow(0, segment.first, segment.count)
          .transpose(0, 1)
          .to(at::kFloat);
    };
    const auto of_keys = [&](const at::Tensor& to, const at::Tensor& each) {  // each: a query head
      to.narrow(0, segment.first_key, segment.count_keys)
          .copy_(each.view({shape.kv_heads, shape.group(), segment.count_keys, shape.head_size})
                     .sum(1)
                     .transpose(0, 1));
    };
    const at::Tensor total = attended.log_sum.narrow(1, segment.first, segment.count);
    const at::Tensor p = (segment.scores(shape) - total.unsqueeze(-1)).exp();
    const at::Tensor d_rows = own(d_out), shared = (d_rows * own(attended.out)).sum(-1, true);
    const at::Tensor d_scores = p * (at::bmm(d_rows, segment.v.transpose(1, 2)) - shared) * scale;
    d.q.narrow(0, segment.first, segment.count).copy_(at::bmm(d_scores, segment.k).transpose(0, 1));
    of_keys(d.k, at::bmm(d_scores.transpose(1, 2), segment.q));
    of_keys(d.v, at::bmm(p.transpose(1, 2), d_rows));
  }
  return d;
}

// Fills key_rows and `shared`: rows of the pass in the order in which the segments see them.
void repeat_prefixes(DevicePass& out, const at::Device& device) {
  const PackedTokens& tokens = out.pass->tokens;
  std::vector<int32_t> keys;
  const auto append = [&](int64_t s) {
    for (int32_t t = tokens.starts[static_cast<size_t>(s)];
         t < tokens.starts[static_cast<size_t>(s) + 1]; ++t)
      keys.push_back(t);
  };
  for (int64_t s = 0; s < tokens.segments(); ++s) {
    const int32_t before = tokens.prefix[static_cast<size_t>(s)];
    if (before >= 0) append(before);
    append(s);
  }
  std::vector<int32_t> starts(static_cast<size_t>(tokens.size()) + 1), copies(keys.size());
  for (const int32_t row : keys) ++starts[static_cast<size_t>(row) + 1];
  for (size_t t = 1; t < starts.size(); ++t) starts[t] += starts[t - 1];
  std::vector<int32_t> next(starts.begin(), starts.end() - 1);
  for (size_t i = 0; i < keys.size(); ++i)
    copies[static_cast<size_t>(next[static_cast<size_t>(keys[i])]++)] = static_cast<int32_t>(i);
  out.key_rows = placed(keys, device);
  out.shared = {placed(starts, device), placed(copies, device), {}};
}

}  // namespace

std::shared_ptr<const DevicePass> place(std::shared_ptr<const LayerPass> pass,
                                        const at::Device& device) {
  const PackedTokens& tokens = pass->tokens;
  auto out = std::make_shared<DevicePass>();
  out->pass = pass;
  out->positions = placed(tokens.positions, device);
  out->cosine = pass->cosine.to(device);
  out->sine = pass->sine.to(device);
  out->key_starts_here = {0};
  for (int64_t s = 0; s < tokens.segments(); ++s) {
    const auto at = static_cast<size_t>(s);
    const int64_t keys = tokens.tokens(s);
    out->key_starts_here.push_back(out->key_starts_here.back() + static_cast<int32_t>(keys));
    out->longest = std::max<int64_t>(out->longest, tokens.starts[at + 1] - tokens.starts[at]);
    out->longest_keys = std::max(out->longest_keys, keys);
  }
  out->starts = placed(tokens.starts, device);
  out->key_starts = placed(out->key_starts_here, device);
  if (out->key_starts_here.back() > tokens.size()) repeat_prefixes(*out, device);
  return out;
}

Attended attention(const at::Tensor& qkv, const AttentionShape& shape, const DevicePass& pass) {
  const Heads heads(qkv, shape, pass);
  return by_flash(qkv, shape) ? flash(heads, shape, pass) : by_segments(heads, shape, pass);
}

at::Tensor attention_backward(const at::Tensor& d_out, const at::Tensor& qkv,
                              const Attended& attended, const AttentionShape& shape,
                              const DevicePass& pass) {
  const Heads heads(qkv, shape, pass);
  const HeadGradients d = (by_flash(qkv, shape) ? flash_backward : by_segments_backward)(
      d_out, heads, attended, shape, pass);
  at::Tensor d_qkv = at::empty_like(qkv);
  const int64_t size = shape.head_size, queries = shape.heads * size, keys = shape.kv_heads * size;
  const auto flat = [](const at::Tensor& x) { return x.reshape({x.size(0), -1}); };
  d_qkv.narrow(1, 0, queries).copy_(flat(d.q));
  int64_t column = queries;
  for (const at::Tensor& part : {d.k, d.v}) {
    at::Tensor to = d_qkv.narrow(1, column, keys);
    if (pass.key_rows.defined())
      sum_rows(flat(part).contiguous(), pass.shared, to, /*add=*/false);
    else
      to.copy_(flat(part));
    column += keys;
  }
  return d_qkv;
}

}  // namespace vernier::ops::device
