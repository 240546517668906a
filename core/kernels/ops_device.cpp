#include "core/kernels/ops_device.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/base/errors.h"
#include "core/base/pulse.h"
#include "core/kernels/autograd_parts.h"

namespace vernier::ops::device {
namespace {

using kernels::Precision;
using kernels::QkNorm;

at::Tensor as_numbers(const at::Tensor& x, Precision precision) {
  return x.to(precision == Precision::bf16 ? at::kBFloat16 : at::kFloat);
}

at::Tensor gradient_of(const Parameter* weight) {
  return weight == nullptr ? at::Tensor() : weight->grad;
}

// A function of one tensor: `Call` computes it both ways and keeps what it needs in between.
template <class Call>
struct Through : Function<Through<Call>> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& keeper,
                            int64_t call) {
    pulse::beat();
    ctx->saved_data["call"] = call;
    ctx->save_for_backward({keeper});
    return at_address<Call>(ctx, "call").forward(x.detach(), /*keep=*/true);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    pulse::beat();
    const auto keeper = ctx->get_saved_variables();
    auto& call = at_address<Call>(ctx, "call");
    return {call.backward(grads[0].contiguous()), at::Tensor(), at::Tensor()};
  }
};

template <class Call>
at::Tensor through(const std::shared_ptr<Call>& call, const at::Tensor& x) {
  if (!at::GradMode::is_enabled() || !x.requires_grad())
    return call->forward(x.detach(), /*keep=*/false);
  return Through<Call>::apply(x, keeper_of(call), address(call.get()));
}

// For each id that is there, the rows that have it, in order.
RowGroups rows_of_ids(const std::vector<int32_t>& ids, const at::Device& device) {
  std::vector<int32_t> rows(ids.size()), starts, targets;
  std::iota(rows.begin(), rows.end(), 0);
  const auto id_of = [&](int32_t row) { return ids[static_cast<size_t>(row)]; };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](int32_t a, int32_t b) { return id_of(a) < id_of(b); });
  for (int32_t i = 0; i < static_cast<int32_t>(rows.size()); ++i) {
    const int32_t id = id_of(rows[static_cast<size_t>(i)]);
    if (!targets.empty() && targets.back() == id) continue;
    targets.push_back(id);
    starts.push_back(i);
  }
  starts.push_back(static_cast<int32_t>(rows.size()));
  return {placed(starts, device), placed(rows, device), placed(targets, device)};
}

struct EmbeddingCall {
  std::vector<int32_t> ids;
  Parameter* table;
  Precision precision;

  at::Tensor forward(const at::Tensor&, bool) const {
    table->bring();
    const at::Tensor rows = placed(ids, table->value.device());
    return operand(*table, precision).index_select(0, rows).to(at::kFloat);
  }
  at::Tensor backward(const at::Tensor& dy) const {
    if (!table->grad.defined()) return {};
    table->bring_gradient();
    sum_rows(dy, rows_of_ids(ids, dy.device()), table->grad, /*add=*/true);
    table->gradient_done();
    return {};
  }
};

struct NormCall {
  Parameter* weight;
  double eps;
  Precision precision;
  at::Tensor kept;  // its input

  at::Tensor forward(const at::Tensor& x, bool keep) {
    if (keep) kept = x;
    weight->bring();
    return rms_norm_rows(x, operand(*weight, precision), eps).to(at::kFloat);
  }
  at::Tensor backward(const at::Tensor& dy) const {
    weight->bring();
    weight->bring_gradient();
    at::Tensor d = at::zeros_like(kept);
    rms_norm_rows_backward(as_numbers(dy, precision), kept, operand(*weight, precision), eps, d,
                           weight->grad);
    return d;
  }
};

// What the backward pass of a layer reads. Without `norm_after` the last two are not kept.
struct LayerKept {
  at::Tensor x, middle;  // fp32
  at::Tensor qkv;        // as the product gave it where queries and keys are normed, else rotated
  Attended attended;
  at::Tensor gate_up, attention_out, mlp_out;
};

struct LayerCall {
  const LayerParameters* weights;
  const kernels::LayerShape* shape;
  std::shared_ptr<const DevicePass> pass;
  LayerKept kept;

  Precision precision() const { return pass->pass->precision; }
  bool after() const { return shape->norm_after; }
  bool norms_heads() const { return shape->qk_norm != QkNorm::none; }
  at::Tensor value(Parameter* weight) const {
    return weight == nullptr ? at::Tensor() : operand(*weight, precision());
  }
  at::Tensor product(const at::Tensor& x, Parameter* weight, Parameter* bias) const {
    return linear(x, value(weight), value(bias));
  }

  // The stream as a block reads it.
  at::Tensor input(const at::Tensor& x, Parameter* norm) const {
    return after() ? as_numbers(x, precision()) : rms_norm_rows(x, value(norm), shape->eps);
  }
  // The stream with what a block gives.
  at::Tensor sum(const at::Tensor& x, const at::Tensor& block, Parameter* norm) const {
    return after() ? add_normed(x, block, value(norm), shape->eps) : x + block;
  }
  at::Tensor rotated(const at::Tensor& qkv) const {
    at::Tensor out = norms_heads() ? qkv.clone() : qkv;
    if (norms_heads())
      qk_norm(out, value(weights->q_norm), value(weights->k_norm), shape->attention, shape->qk_norm,
              shape->eps);
    rope(out, pass->positions, pass->cosine, pass->sine, shape->attention, /*inverse=*/false);
    return out;
  }

  at::Tensor compute(const at::Tensor& x, LayerKept& to) const {
    to.x = x;
    to.qkv = product(input(x, weights->attention_norm), weights->qkv, weights->qkv_bias);
    to.attended = attention(rotated(to.qkv), shape->attention, *pass);
    to.attention_out = product(to.attended.out, weights->output, weights->output_bias);
    to.middle = sum(x, to.attention_out, weights->attention_norm);
    to.gate_up =
        product(input(to.middle, weights->mlp_norm), weights->gate_up, weights->gate_up_bias);
    to.mlp_out = product(swiglu(to.gate_up), weights->down, weights->down_bias);
    const at::Tensor y = sum(to.middle, to.mlp_out, weights->mlp_norm);
    if (!after()) to.attention_out = to.mlp_out = at::Tensor();
    return y;
  }

  at::Tensor forward(const at::Tensor& x, bool keep) {
    weights->qkv->bring();
    LayerKept all;
    const at::Tensor y = compute(x, all);
    if (!keep) return y;
    if (pass->pass->recompute)
      kept.x = x;
    else
      kept = std::move(all);
    return y;
  }

  at::Tensor backward(const at::Tensor& dy) {
    LayerKept all = std::exchange(kept, {});
    ensure(all.x.defined(), "one backward pass");
    weights->qkv->bring();
    weights->qkv->bring_gradient();
    if (pass->pass->recompute) {
      const at::Tensor x = all.x;
      compute(x, all);
    }
    at::Tensor d = dy.clone();
    mlp_backward(all, d);
    attention_block_backward(all, d);
    weights->qkv->gradient_done();
    return d;
  }

  // The gradient of what a block gives, from that of the stream behind it.
  at::Tensor block_gradient(const at::Tensor& d, const at::Tensor& block, Parameter* norm) const {
    return after() ? add_normed_backward(d, block, value(norm), shape->eps, gradient_of(norm))
                   : as_numbers(d, precision());
  }
  // d += what comes through the block's input.
  void input_backward(at::Tensor d, const at::Tensor& d_in, const at::Tensor& x,
                      Parameter* norm) const {
    if (after())
      d.add_(d_in);
    else
      rms_norm_rows_backward(d_in, x, value(norm), shape->eps, d, gradient_of(norm));
  }
  // Of a product y = x W^T + b: what W and b get is added to their gradients.
  void add_gradients(const at::Tensor& dy, const at::Tensor& x, const Parameter* weight,
                     const Parameter* bias) const {
    if (weight->grad.defined()) add_product(weight->grad.detach(), dy.t(), x);
    if (const at::Tensor grad = gradient_of(bias); grad.defined())
      grad.detach().add_(at::sum(dy, 0, /*keepdim=*/false, at::kFloat));
  }

  void mlp_backward(const LayerKept& all, at::Tensor d) const {
    const at::Tensor d_out = block_gradient(d, all.mlp_out, weights->mlp_norm);
    const auto [d_gate_up, inner] =
        swiglu_backward(at::mm(d_out, value(weights->down)), all.gate_up);
    add_gradients(d_out, inner, weights->down, weights->down_bias);
    add_gradients(d_gate_up, input(all.middle, weights->mlp_norm), weights->gate_up,
                  weights->gate_up_bias);
    input_backward(d, at::mm(d_gate_up, value(weights->gate_up)), all.middle, weights->mlp_norm);
  }

  void attention_block_backward(const LayerKept& all, at::Tensor d) const {
    const at::Tensor d_out = block_gradient(d, all.attention_out, weights->attention_norm);
    add_gradients(d_out, all.attended.out, weights->output, weights->output_bias);
    at::Tensor d_qkv = attention_backward(at::mm(d_out, value(weights->output)),
                                          norms_heads() ? rotated(all.qkv) : all.qkv, all.attended,
                                          shape->attention, *pass);
    rope(d_qkv, pass->positions, pass->cosine, pass->sine, shape->attention, /*inverse=*/true);
    if (norms_heads())
      qk_norm_backward(d_qkv, all.qkv, value(weights->q_norm), value(weights->k_norm),
                       shape->attention, shape->qk_norm, shape->eps, gradient_of(weights->q_norm),
                       gradient_of(weights->k_norm));
    add_gradients(d_qkv, input(all.x, weights->attention_norm), weights->qkv, weights->qkv_bias);
    input_backward(d, at::mm(d_qkv, value(weights->qkv)), all.x, weights->attention_norm);
  }
};

int64_t number_bytes(Precision precision) { return precision == Precision::bf16 ? 2 : 4; }

// Of the attention between qkv and its output, beside both: forward, and with the gradient of the
// output and of qkv on the way back.
struct AttentionBytes {
  int64_t forward = 0, backward = 0;
};
AttentionBytes attention_bytes(const kernels::AttentionShape& shape, const LayerTokens& tokens,
                               Precision precision) {
  const int64_t number = number_bytes(precision), size = shape.head_size;
  const int64_t queries = number * tokens.rows * shape.heads * size;
  const int64_t both = number * tokens.keys * 2 * shape.kv_heads * size;  // keys and values
  const int64_t copies = tokens.keys > tokens.rows ? both : 0;
  AttentionBytes out{.forward = copies, .backward = copies + queries + both};
  if (precision == Precision::bf16) {                            // flash attention
    out.backward += 4 * tokens.rows * shape.heads * (size + 1);  // sums of the queries, in fp32
    if (shape.kv_heads < shape.heads)                            // one for each head of the queries
      out.backward += number * tokens.keys * 2 * shape.heads * size;
  } else {  // by_segments(), as many [H, tokens, tokens] as live at once
    const int64_t scores = 4 * shape.heads * tokens.longest * tokens.longest;
    out.forward += 3 * scores;
    out.backward += 5 * scores;
  }
  return out;
}

}  // namespace

// LayerCall's arrays, by the lines above that make them.
LayerBytes layer_bytes(const kernels::LayerShape& shape, const LayerTokens& tokens,
                       Precision precision) {
  const kernels::AttentionShape& heads = shape.attention;
  const int64_t number = number_bytes(precision), rows = tokens.rows;
  const int64_t stream = 4 * rows * shape.width, block = number * rows * shape.width;
  const int64_t qkv = number * rows * heads.row(), inner = number * rows * shape.inner;
  const int64_t attended = number * rows * heads.heads * heads.head_size;
  const int64_t rotated = shape.qk_norm == QkNorm::none ? 0 : qkv;
  const AttentionBytes attention = attention_bytes(heads, tokens, precision);
  LayerBytes out{.input = stream};
  out.kept = stream + qkv + attended + 4 * rows * heads.heads + 2 * inner +
             (shape.norm_after ? 2 * block : 0);
  // The outputs of both blocks are there to the end; y is not the next layer's yet.
  out.forward = std::max({rotated + attention.forward, 2 * block + inner, 2 * block + stream});
  const int64_t mlp = block + 4 * inner, mlp_input = 2 * block + 3 * inner;
  const int64_t of_attention = block + attended + rotated + attention.backward + qkv;
  out.backward = 2 * stream + std::max({mlp, mlp_input, of_attention});
  return out;
}

at::Tensor embedding(const std::vector<int32_t>& ids, Parameter& table, Precision precision) {
  return through(std::make_shared<EmbeddingCall>(EmbeddingCall{ids, &table, precision}),
                 root_of(table.value));
}

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps, Precision precision) {
  return through(std::make_shared<NormCall>(NormCall{&weight, eps, precision, {}}), x);
}

at::Tensor layer(const at::Tensor& x, const LayerParameters& weights,
                 const kernels::LayerShape& shape, const std::shared_ptr<const DevicePass>& pass) {
  ensure(x.is_contiguous() && x.size(0) == pass->pass->tokens.size() && x.size(1) == shape.width,
         "a dense [T, D] input");
  return through(std::make_shared<LayerCall>(LayerCall{&weights, &shape, pass, {}}), x);
}

}  // namespace vernier::ops::device
