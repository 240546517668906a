#include "core/kernels/ops.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"
#include "core/kernels/ops_device.h"

namespace vernier {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool is_double(const at::Tensor& x) { return x.scalar_type() == at::kDouble; }

// Parameters and layouts travel through the autograd context as addresses: both outlive the graph.
int64_t address(const void* object) { return reinterpret_cast<int64_t>(object); }
template <class T>
T& at_address(const AutogradContext* ctx, const char* key) {
  return *reinterpret_cast<T*>(ctx->saved_data.at(key).toInt());
}

at::Tensor to_tensor(const std::vector<int32_t>& values) {
  return at::tensor(at::IntArrayRef(std::vector<int64_t>(values.begin(), values.end())), at::kInt);
}

const kernels::PackedMatrix& forward_pack(Parameter& weight) {
  if (!weight.forward_packed)
    kernels::pack_transposed(weight.value.const_data_ptr<float>(), weight.value.size(0),
                             weight.value.size(1), weight.forward);
  weight.forward_packed = true;
  return weight.forward;
}

const kernels::PackedMatrix& backward_pack(Parameter& weight) {
  if (!weight.backward_packed)
    kernels::pack_plain(weight.value.const_data_ptr<float>(), weight.value.size(0),
                        weight.value.size(1), weight.backward);
  weight.backward_packed = true;
  return weight.backward;
}

// y = x W^T, plus the bias where there is one, for raw rows.
template <class T>
void apply_linear(const T* x, Parameter& weight, T* y, int64_t rows, const T* bias = nullptr) {
  if constexpr (std::is_same_v<T, float>) {
    kernels::gemm(x, forward_pack(weight), y, rows, bias);
  } else {
    kernels::ref::matmul(x, false, weight.value.const_data_ptr<T>(), true, y, rows,
                         weight.value.size(1), weight.value.size(0), false);
    if (bias != nullptr) kernels::ref::add_bias(y, bias, rows, weight.value.size(0));
  }
}

// dx = dy W where dx is not null; grad += dy^T x.
template <class T>
void apply_linear_backward(const T* dy, const T* x, Parameter& weight, T* dx, int64_t rows) {
  const int64_t out = weight.value.size(0), in = weight.value.size(1);
  if constexpr (std::is_same_v<T, float>) {
    if (dx != nullptr) kernels::gemm(dy, backward_pack(weight), dx, rows);
    if (weight.grad.defined())
      kernels::gemm_tn(dy, x, weight.grad.data_ptr<float>(), rows, out, in);
  } else {
    if (dx != nullptr)
      kernels::ref::matmul(dy, false, weight.value.const_data_ptr<T>(), false, dx, rows, out, in,
                           false);
    if (weight.grad.defined())
      kernels::ref::matmul(dy, true, x, false, weight.grad.data_ptr<T>(), out, rows, in, true);
  }
}

// Runs `body` with T{} of the tensor's type; the one dispatch over types.
template <class Body>
void by_type(const at::Tensor& x, const Body& body) {
  if (is_double(x)) return body(double{});
  ensure(x.scalar_type() == at::kFloat, "an fp32 or fp64 tensor");
  body(float{});
}

struct Embedding : Function<Embedding> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& value, const at::Tensor& ids,
                            int64_t table) {
    ctx->saved_data["table"] = table;
    ctx->save_for_backward({ids});
    return value.detach().index_select(0, ids);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto& table = at_address<Parameter>(ctx, "table");
    const at::Tensor ids = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    if (table.grad.defined()) {
      by_type(dy, [&](auto zero) {
        using T = decltype(zero);
        const int64_t width = dy.size(1);
        const auto* row = ids.const_data_ptr<int32_t>();
        const T* from = dy.const_data_ptr<T>();
        T* to = table.grad.data_ptr<T>();
        for (int64_t t = 0; t < dy.size(0); ++t)
          for (int64_t i = 0; i < width; ++i) to[row[t] * width + i] += from[t * width + i];
      });
    }
    return {at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct Linear : Function<Linear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& value,
                            int64_t weight, int64_t bias) {
    ctx->saved_data["weight"] = weight;
    ctx->saved_data["bias"] = bias;  // 0: there is none
    ctx->save_for_backward({x});
    at::Tensor y = at::empty({x.size(0), value.size(0)}, x.options());
    by_type(x, [&](auto zero) {
      using T = decltype(zero);
      const T* row = nullptr;
      if (bias != 0) row = at_address<Parameter>(ctx, "bias").value.template const_data_ptr<T>();
      apply_linear(x.const_data_ptr<T>(), at_address<Parameter>(ctx, "weight"), y.data_ptr<T>(),
                   x.size(0), row);
    });
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor x = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    at::Tensor dx = at::empty_like(x);
    by_type(x, [&](auto zero) {
      using T = decltype(zero);
      apply_linear_backward(dy.const_data_ptr<T>(), x.const_data_ptr<T>(),
                            at_address<Parameter>(ctx, "weight"), dx.data_ptr<T>(), x.size(0));
      if (ctx->saved_data.at("bias").toInt() == 0) return;
      const at::Tensor& grad = at_address<Parameter>(ctx, "bias").grad;
      if (!grad.defined()) return;
      if constexpr (std::is_same_v<T, float>)
        kernels::add_bias_backward(dy.const_data_ptr<T>(), grad.data_ptr<T>(), dy.size(0),
                                   dy.size(1));
      else
        kernels::ref::add_bias_backward(dy.const_data_ptr<T>(), grad.data_ptr<T>(), dy.size(0),
                                        dy.size(1));
    });
    return {dx, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct RmsNorm : Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& value,
                            int64_t weight, double eps) {
    at::Tensor y = at::empty_like(x), inverse = at::empty({x.size(0)}, x.options());
    by_type(x, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_same_v<T, float>)
        kernels::rms_norm(x.const_data_ptr<T>(), value.const_data_ptr<T>(), y.data_ptr<T>(),
                          inverse.data_ptr<T>(), x.size(0), x.size(1), static_cast<float>(eps));
      else
        kernels::ref::rms_norm(x.const_data_ptr<T>(), value.const_data_ptr<T>(), y.data_ptr<T>(),
                               inverse.data_ptr<T>(), x.size(0), x.size(1), eps);
    });
    ctx->saved_data["weight"] = weight;
    ctx->save_for_backward({x, inverse});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor dy = grads[0].contiguous();
    auto& weight = at_address<Parameter>(ctx, "weight");
    at::Tensor dx = at::empty_like(x);
    at::Tensor dw = weight.grad.defined() ? weight.grad : at::zeros_like(weight.value);
    by_type(x, [&](auto zero) {
      using T = decltype(zero);
      const auto run = [&](auto kernel) {
        kernel(dy.const_data_ptr<T>(), x.const_data_ptr<T>(), weight.value.const_data_ptr<T>(),
               saved[1].const_data_ptr<T>(), dx.data_ptr<T>(), dw.data_ptr<T>(), x.size(0),
               x.size(1));
      };
      if constexpr (std::is_same_v<T, float>)
        run(kernels::rms_norm_backward);
      else
        run(kernels::ref::rms_norm_backward<T>);
    });
    return {dx, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// An AttentionShape as the autograd context keeps it, and back.
std::vector<int64_t> sizes_of(const kernels::AttentionShape& shape) {
  return {shape.heads, shape.kv_heads, shape.head_size, shape.rotary_size, shape.window};
}
kernels::AttentionShape shape_of(const std::vector<int64_t>& sizes) {
  return {.heads = sizes[0],
          .kv_heads = sizes[1],
          .head_size = sizes[2],
          .rotary_size = sizes[3],
          .window = sizes[4]};
}

struct QkNormed : Function<QkNormed> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv, int64_t q_weight,
                            int64_t k_weight, std::vector<int64_t> sizes, int64_t kind,
                            double eps) {
    const kernels::AttentionShape shape = shape_of(sizes);
    const auto how = static_cast<kernels::QkNorm>(kind);
    ctx->saved_data["q_weight"] = q_weight;
    ctx->saved_data["k_weight"] = k_weight;
    ctx->saved_data["sizes"] = sizes;
    ctx->saved_data["kind"] = kind;
    const at::Tensor &q = at_address<Parameter>(ctx, "q_weight").value,
                     &k = at_address<Parameter>(ctx, "k_weight").value;
    at::Tensor out = at::empty_like(qkv);
    at::Tensor inverse = at::empty({qkv.size(0), kernels::qk_norms(shape, how)}, qkv.options());
    by_type(qkv, [&](auto zero) {
      using T = decltype(zero);
      const auto run = [&](auto kernel) {
        kernel(qkv.const_data_ptr<T>(), q.const_data_ptr<T>(), k.const_data_ptr<T>(),
               out.data_ptr<T>(), inverse.data_ptr<T>(), shape, how, qkv.size(0),
               static_cast<T>(eps));
      };
      if constexpr (std::is_same_v<T, float>)
        run(kernels::qk_norm);
      else
        run(kernels::ref::qk_norm<T>);
    });
    ctx->save_for_backward({qkv, inverse});
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& qkv = saved[0];
    const at::Tensor d_out = grads[0].contiguous();
    auto &q = at_address<Parameter>(ctx, "q_weight"), &k = at_address<Parameter>(ctx, "k_weight");
    at::Tensor d_qkv = at::empty_like(qkv);
    at::Tensor dq = q.grad.defined() ? q.grad : at::zeros_like(q.value);
    at::Tensor dk = k.grad.defined() ? k.grad : at::zeros_like(k.value);
    by_type(qkv, [&](auto zero) {
      using T = decltype(zero);
      const auto run = [&](auto kernel) {
        kernel(d_out.const_data_ptr<T>(), qkv.const_data_ptr<T>(), q.value.const_data_ptr<T>(),
               k.value.const_data_ptr<T>(), saved[1].const_data_ptr<T>(), d_qkv.data_ptr<T>(),
               dq.data_ptr<T>(), dk.data_ptr<T>(),
               shape_of(ctx->saved_data.at("sizes").toIntVector()),
               static_cast<kernels::QkNorm>(ctx->saved_data.at("kind").toInt()), qkv.size(0));
      };
      if constexpr (std::is_same_v<T, float>)
        run(kernels::qk_norm_backward);
      else
        run(kernels::ref::qk_norm_backward<T>);
    });
    return {d_qkv, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct RopeAttention : Function<RopeAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv, const at::Tensor& starts,
                            const at::Tensor& positions, const at::Tensor& cosine,
                            const at::Tensor& sine, std::vector<int64_t> sizes) {
    const kernels::AttentionShape shape = shape_of(sizes);
    at::Tensor out = at::empty({qkv.size(0), shape.heads * shape.head_size}, qkv.options());
    at::Tensor log_sum = at::empty({qkv.size(0), shape.heads}, qkv.options());
    at::Tensor rotated = qkv.detach();
    const auto* first = starts.const_data_ptr<int32_t>();
    const auto* position = positions.const_data_ptr<int32_t>();
    by_type(qkv, [&](auto zero) {
      using T = decltype(zero);
      const auto run = [&](auto rotate, auto attend) {
        rotate(rotated.data_ptr<T>(), position, cosine.const_data_ptr<float>(),
               sine.const_data_ptr<float>(), shape, qkv.size(0), false);
        attend(rotated.const_data_ptr<T>(), first, starts.numel() - 1, out.data_ptr<T>(),
               log_sum.data_ptr<T>(), shape);
      };
      if constexpr (std::is_same_v<T, float>)
        run(kernels::rope, kernels::attention);
      else
        run(kernels::ref::rope<T>, kernels::ref::attention<T>);
    });
    ctx->saved_data["sizes"] = sizes;
    ctx->save_for_backward({rotated, out, log_sum, starts, positions, cosine, sine});
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const kernels::AttentionShape shape = shape_of(ctx->saved_data.at("sizes").toIntVector());
    const at::Tensor &qkv = saved[0], &starts = saved[3];
    const at::Tensor d_out = grads[0].contiguous();
    at::Tensor d_qkv = at::empty_like(qkv);
    by_type(qkv, [&](auto zero) {
      using T = decltype(zero);
      const auto run = [&](auto attend_backward, auto rotate) {
        attend_backward(d_out.const_data_ptr<T>(), qkv.const_data_ptr<T>(),
                        saved[1].const_data_ptr<T>(), saved[2].const_data_ptr<T>(),
                        starts.const_data_ptr<int32_t>(), starts.numel() - 1, d_qkv.data_ptr<T>(),
                        shape);
        rotate(d_qkv.data_ptr<T>(), saved[4].const_data_ptr<int32_t>(),
               saved[5].const_data_ptr<float>(), saved[6].const_data_ptr<float>(), shape,
               qkv.size(0), true);
      };
      if constexpr (std::is_same_v<T, float>)
        run(kernels::attention_backward, kernels::rope);
      else
        run(kernels::ref::attention_backward<T>, kernels::ref::rope<T>);
    });
    return {d_qkv, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct SwiGlu : Function<SwiGlu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up) {
    const int64_t width = gate_up.size(1) / 2;
    at::Tensor y = at::empty({gate_up.size(0), width}, gate_up.options());
    by_type(gate_up, [&](auto zero) {
      using T = decltype(zero);
      const auto run = [&](auto kernel) {
        kernel(gate_up.const_data_ptr<T>(), y.data_ptr<T>(), gate_up.size(0), width);
      };
      if constexpr (std::is_same_v<T, float>)
        run(kernels::swiglu);
      else
        run(kernels::ref::swiglu<T>);
    });
    ctx->save_for_backward({gate_up});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    at::Tensor d_gate_up = at::empty_like(gate_up);
    by_type(gate_up, [&](auto zero) {
      using T = decltype(zero);
      const auto run = [&](auto kernel) {
        kernel(dy.const_data_ptr<T>(), gate_up.const_data_ptr<T>(), d_gate_up.data_ptr<T>(),
               gate_up.size(0), gate_up.size(1) / 2);
      };
      if constexpr (std::is_same_v<T, float>)
        run(kernels::swiglu_backward);
      else
        run(kernels::ref::swiglu_backward<T>);
    });
    return {d_gate_up};
  }
};

// Rows of logits that are held at a time: 32 MiB of fp32, whatever the vocabulary.
int64_t head_chunk(int64_t vocabulary) {
  return std::clamp<int64_t>((int64_t{8} << 20) / vocabulary, 16, 4096);
}

struct Head : Function<Head> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden,
                               const at::Tensor& value, const at::Tensor& targets, int64_t head,
                               double temperature, int64_t square_mass) {
    const int64_t rows = hidden.size(0), vocabulary = value.size(0), width = value.size(1);
    at::Tensor logprob = at::empty({rows}, hidden.options()), entropy = at::empty_like(logprob);
    at::Tensor log_sum = at::empty_like(logprob);
    const int64_t chunk = std::min(rows, head_chunk(vocabulary));
    at::Tensor logits = at::empty({chunk, vocabulary}, hidden.options());
    by_type(hidden, [&](auto zero) {
      using T = decltype(zero);
      for (int64_t t = 0; t < rows; t += chunk) {
        const int64_t count = std::min(chunk, rows - t);
        apply_linear(hidden.const_data_ptr<T>() + t * width, *reinterpret_cast<Parameter*>(head),
                     logits.data_ptr<T>(), count);
        const auto run = [&](auto kernel, auto scale) {
          kernel(logits.const_data_ptr<T>(), targets.const_data_ptr<int32_t>() + t, scale,
                 log_sum.data_ptr<T>() + t, logprob.data_ptr<T>() + t, entropy.data_ptr<T>() + t,
                 count, vocabulary,
                 square_mass == 0 ? nullptr : reinterpret_cast<T*>(square_mass) + t);
        };
        if constexpr (std::is_same_v<T, float>)
          run(kernels::log_softmax, static_cast<float>(1.0 / temperature));
        else
          run(kernels::ref::log_softmax<T>, 1.0 / temperature);
      }
    });
    ctx->saved_data["head"] = head;
    ctx->saved_data["temperature"] = temperature;
    ctx->save_for_backward({hidden, targets, log_sum, entropy});
    return {logprob, entropy};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    auto& head = at_address<Parameter>(ctx, "head");
    const double temperature = ctx->saved_data.at("temperature").toDouble();
    const at::Tensor &hidden = saved[0], &targets = saved[1];
    const int64_t rows = hidden.size(0), vocabulary = head.value.size(0);
    const int64_t width = head.value.size(1), chunk = std::min(rows, head_chunk(vocabulary));
    const auto whole = [&](const at::Tensor& grad) {
      return grad.defined() ? grad.contiguous() : at::zeros({rows}, hidden.options());
    };
    const at::Tensor d_logprob = whole(grads[0]), d_entropy = whole(grads[1]);
    at::Tensor d_hidden = at::empty_like(hidden);
    at::Tensor logits = at::empty({chunk, vocabulary}, hidden.options());
    by_type(hidden, [&](auto zero) {
      using T = decltype(zero);
      for (int64_t t = 0; t < rows; t += chunk) {
        const int64_t count = std::min(chunk, rows - t);
        const T* h = hidden.const_data_ptr<T>() + t * width;
        apply_linear(h, head, logits.data_ptr<T>(), count);
        const auto run = [&](auto kernel, auto scale) {
          kernel(logits.data_ptr<T>(), targets.const_data_ptr<int32_t>() + t, scale,
                 saved[2].const_data_ptr<T>() + t, saved[3].const_data_ptr<T>() + t,
                 d_logprob.const_data_ptr<T>() + t, d_entropy.const_data_ptr<T>() + t, count,
                 vocabulary);
        };
        if constexpr (std::is_same_v<T, float>)
          run(kernels::log_softmax_backward, static_cast<float>(1.0 / temperature));
        else
          run(kernels::ref::log_softmax_backward<T>, 1.0 / temperature);
        apply_linear_backward(logits.const_data_ptr<T>(), h, head,
                              d_hidden.data_ptr<T>() + t * width, count);
      }
    });
    return {d_hidden, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void RopeTable::reserve(int64_t count) {
  const int64_t held = cosine.defined() ? cosine.size(0) : 0;
  if (count <= held) return;
  const at::NoGradGuard no_grad;
  const at::Tensor positions = at::arange(std::max(count, 2 * held), at::kFloat);
  const at::Tensor angles = positions.unsqueeze(1) * inverse_frequency;
  cosine = at::cos(angles) * scale;
  sine = at::sin(angles) * scale;
}

void PackedTokens::add(const std::vector<int32_t>& sequence) {
  ids.insert(ids.end(), sequence.begin(), sequence.end());
  for (size_t i = 0; i < sequence.size(); ++i) positions.push_back(static_cast<int32_t>(i));
  starts.push_back(static_cast<int32_t>(ids.size()));
}

namespace ops {

const kernels::PackedMatrix& packed(Parameter& weight, kernels::WeightFormat format) {
  if (format == kernels::WeightFormat::fp32) return forward_pack(weight);
  if (!weight.rounded_packed || weight.rounded.format != format)
    kernels::pack_transposed(weight.value.const_data_ptr<float>(), weight.value.size(0),
                             weight.value.size(1), weight.rounded, format);
  weight.rounded_packed = true;
  return weight.rounded;
}

void check_ids(const std::vector<int32_t>& ids, const Parameter& table) {
  const int64_t rows = table.value.size(0);
  for (const int32_t id : ids)
    if (id < 0 || id >= rows) fail("token id ", id, " is outside the model's vocabulary of ", rows);
}

at::Tensor embedding(const std::vector<int32_t>& ids, Parameter& table) {
  check_ids(ids, table);
  if (table.value.is_cuda()) return device::embedding(ids, table);
  return Embedding::apply(table.value, to_tensor(ids), address(&table));
}

at::Tensor linear(const at::Tensor& x, Parameter& weight, Parameter* bias) {
  ensure(x.is_contiguous() && x.size(1) == weight.value.size(1), "a dense [T, in] input");
  ensure(bias == nullptr || bias->value.size(0) == weight.value.size(0), "a bias [out]");
  if (x.is_cuda()) return device::linear(x, weight, bias);
  return Linear::apply(x, weight.value, address(&weight), bias == nullptr ? 0 : address(bias));
}

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps) {
  ensure(x.is_contiguous() && x.size(1) == weight.value.size(0), "a dense [T, D] input");
  if (x.is_cuda()) return device::rms_norm(x, weight, eps);
  return RmsNorm::apply(x, weight.value, address(&weight), eps);
}

at::Tensor qk_norm(const at::Tensor& qkv, Parameter& q_weight, Parameter& k_weight,
                   const kernels::AttentionShape& shape, kernels::QkNorm kind, double eps) {
  ensure(qkv.is_contiguous() && qkv.size(1) == shape.row() && kind != kernels::QkNorm::none,
         "a dense [T, row] input");
  if (qkv.is_cuda()) return device::qk_norm(qkv, q_weight, k_weight, shape, kind, eps);
  return QkNormed::apply(qkv, address(&q_weight), address(&k_weight), sizes_of(shape),
                         static_cast<int64_t>(kind), eps);
}

at::Tensor rope_attention(const at::Tensor& qkv, const PackedTokens& tokens, const RopeTable& table,
                          const kernels::AttentionShape& shape) {
  ensure(qkv.is_contiguous() && qkv.size(1) == shape.row() && qkv.size(0) == tokens.size(),
         "a dense [T, row] input");
  if (qkv.is_cuda()) return device::rope_attention(qkv, tokens, table, shape);
  return RopeAttention::apply(qkv, to_tensor(tokens.starts), to_tensor(tokens.positions),
                              table.cosine, table.sine, sizes_of(shape));
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  ensure(gate_up.is_contiguous() && gate_up.size(1) % 2 == 0, "a dense [T, 2F] input");
  if (gate_up.is_cuda()) return device::swiglu(gate_up);
  return SwiGlu::apply(gate_up);
}

TokenLogprobs token_logprobs(const at::Tensor& hidden, Parameter& head,
                             const std::vector<int32_t>& targets, double temperature,
                             bool square_mass) {
  ensure(hidden.is_contiguous() && hidden.size(0) == static_cast<int64_t>(targets.size()),
         "a target for every row");
  for (const int32_t id : targets) ensure(id >= 0 && id < head.value.size(0), "a known target id");
  ensure(!square_mass || !hidden.is_cuda(), "square mass where the CPU computes");
  if (hidden.is_cuda()) return device::token_logprobs(hidden, head, targets, temperature);
  at::Tensor squares;
  if (square_mass) squares = at::empty({hidden.size(0)}, hidden.options());
  const auto both = Head::apply(hidden, head.value, to_tensor(targets), address(&head), temperature,
                                square_mass ? address(squares.data_ptr()) : 0);
  return {both[0], both[1], squares};
}

}  // namespace ops
}  // namespace vernier
