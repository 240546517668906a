#include "core/kernels/tensor_kernels.h"

#include <ATen/ATen.h>

#include "core/base/errors.h"
#include "core/kernels/device_training.h"

namespace vernier::ops::device {
namespace {

namespace gpu = kernels::device;
namespace ref = kernels::ref;
using gpu::Bf16;

// Our kernels run on the legacy default stream, which is also torch's current one here.
constexpr CUstream_st* kStream = nullptr;

bool is_bf16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

// Runs `body` with a value of the type of x's numbers; the one dispatch over types.
template <class Body>
void by_number(const at::Tensor& x, const Body& body) {
  if (is_bf16(x)) return body(Bf16{});
  ensure(x.scalar_type() == at::kFloat, "a tensor of fp32 or bf16");
  body(float{});
}

template <class T>
T* data(const at::Tensor& x) {
  return x.defined() ? static_cast<T*>(x.data_ptr()) : nullptr;
}

// A tensor as the references take it: in fp32, written back where it was of another type.
class Wide {
 public:
  explicit Wide(const at::Tensor& x)
      : narrow_(x), wide_(x.defined() ? x.to(at::kFloat).contiguous() : x) {}

  float* data() const { return device::data<float>(wide_); }
  void write_back() {
    if (!wide_.is_same(narrow_)) narrow_.copy_(wide_);
  }

 private:
  at::Tensor narrow_, wide_;
};

at::Tensor zeros_of(const at::Tensor& like, int64_t numbers) {
  return at::zeros({numbers}, like.options().dtype(at::kFloat));
}

// The partial sums of a weight's gradient are in `partial` [P, D].
void add_partials(const at::Tensor& partial, const at::Tensor& grad) {
  if (grad.defined()) grad.detach().add_(partial.sum(0));
}

at::Tensor partials(const at::Tensor& like, int64_t rows, int64_t width) {
  return at::empty({rows, width}, like.options().dtype(at::kFloat));
}

// The references want an array for every gradient.
Wide gradient_or(const at::Tensor& grad, const at::Tensor& weight) {
  return Wide(grad.defined() ? grad.detach() : zeros_of(weight, weight.numel()));
}

}  // namespace

at::Tensor placed(const std::vector<int32_t>& values, const at::Device& device) {
  // from_blob wants a pointer it may write to; the copy reads it.
  return at::from_blob(const_cast<int32_t*>(values.data()), {std::ssize(values)}, at::kInt)
      .to(device, at::kInt, /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor operand(Parameter& weight, kernels::Precision precision) {
  if (precision == kernels::Precision::fp32) return weight.value.detach();
  if (weight.store != nullptr && !weight.bf16.defined())
    weight.bf16 = weight.value.detach().to(at::kBFloat16);
  ensure(weight.bf16.defined(), "weights that were rounded to bf16");
  return weight.bf16;
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return bias.defined() ? at::addmm(bias, x, weight.t()) : at::mm(x, weight.t());
}

at::Tensor wide_linear(const at::Tensor& x, const at::Tensor& weight) {
  if (!is_bf16(x)) return at::mm(x, weight.t());
  if (x.is_cuda()) return at::mm(x, weight.t(), at::kFloat);
  return at::mm(x.to(at::kFloat), weight.t().to(at::kFloat));
}

void add_product(at::Tensor sum, const at::Tensor& a, const at::Tensor& b) {
  if (is_bf16(a) && a.is_cuda())
    at::addmm_outf(sum, a, b, at::kFloat, 1, 1, sum);
  else
    sum.addmm_(a.to(at::kFloat), b.to(at::kFloat));
}

at::Tensor rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps) {
  at::Tensor y = at::empty(x.sizes(), weight.options());
  const int64_t rows = x.size(0), width = x.size(1);
  if (x.is_cuda()) {
    by_number(weight, [&](auto number) {
      using T = decltype(number);
      gpu::rms_norm(data<const float>(x), data<const T>(weight), data<T>(y), rows, width,
                    static_cast<float>(eps), kStream);
    });
    return y;
  }
  const at::Tensor inverse = zeros_of(x, rows);
  Wide wide(y);
  ref::rms_norm(data<const float>(x), Wide(weight).data(), wide.data(), data<float>(inverse), rows,
                width, eps);
  wide.write_back();
  return y;
}

void rms_norm_rows_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                            double eps, at::Tensor d, const at::Tensor& grad) {
  const int64_t rows = x.size(0), width = x.size(1);
  if (x.is_cuda()) {
    const at::Tensor partial = partials(x, gpu::norm_partials(rows), width);
    by_number(dy, [&](auto number) {
      using T = decltype(number);
      gpu::rms_norm_backward_add(data<const T>(dy), data<const float>(x), data<const T>(weight),
                                 data<float>(d), data<float>(partial), rows, width,
                                 static_cast<float>(eps), kStream);
    });
    return add_partials(partial, grad);
  }
  const Wide w(weight), to = gradient_or(grad, weight);
  const at::Tensor y = at::empty_like(x), dx = at::empty_like(x), inverse = zeros_of(x, rows);
  ref::rms_norm(data<const float>(x), w.data(), data<float>(y), data<float>(inverse), rows, width,
                eps);
  ref::rms_norm_backward(Wide(dy).data(), data<const float>(x), w.data(), data<float>(inverse),
                         data<float>(dx), to.data(), rows, width);
  d.add_(dx);
}

at::Tensor add_normed(const at::Tensor& x, const at::Tensor& block, const at::Tensor& weight,
                      double eps) {
  if (!x.is_cuda()) return x + rms_norm_rows(block.to(at::kFloat), weight.to(at::kFloat), eps);
  // The kernel is the engine's, which wants the sum as numbers too.
  at::Tensor sum = x.clone(), numbers = at::empty_like(block);
  by_number(block, [&](auto number) {
    using T = decltype(number);
    gpu::rms_norm_add(data<float>(sum), data<const T>(block), data<const T>(weight),
                      data<T>(numbers), x.size(0), x.size(1), static_cast<float>(eps), kStream);
  });
  return sum;
}

at::Tensor add_normed_backward(const at::Tensor& d, const at::Tensor& block,
                               const at::Tensor& weight, double eps, const at::Tensor& grad) {
  if (!d.is_cuda()) {
    at::Tensor dx = at::zeros_like(d);
    rms_norm_rows_backward(d, block.to(at::kFloat), weight.to(at::kFloat), eps, dx, grad);
    return dx.to(block.scalar_type());
  }
  at::Tensor dx = at::empty_like(block);
  const int64_t rows = d.size(0), width = d.size(1);
  const at::Tensor partial = partials(d, gpu::norm_partials(rows), width);
  by_number(block, [&](auto number) {
    using T = decltype(number);
    gpu::rms_norm_backward(data<const float>(d), data<const T>(block), data<const T>(weight),
                           data<T>(dx), data<float>(partial), rows, width, static_cast<float>(eps),
                           kStream);
  });
  add_partials(partial, grad);
  return dx;
}

void qk_norm(at::Tensor qkv, const at::Tensor& q_weight, const at::Tensor& k_weight,
             const kernels::AttentionShape& shape, kernels::QkNorm kind, double eps) {
  const int64_t rows = qkv.size(0);
  if (qkv.is_cuda())
    return by_number(qkv, [&](auto number) {
      using T = decltype(number);
      gpu::qk_norm(data<T>(qkv), data<const T>(q_weight), data<const T>(k_weight), shape, kind,
                   rows, static_cast<float>(eps), kStream);
    });
  const at::Tensor in = qkv.clone(), inverse = zeros_of(qkv, rows * kernels::qk_norms(shape, kind));
  Wide out(qkv);
  ref::qk_norm(Wide(in).data(), Wide(q_weight).data(), Wide(k_weight).data(), out.data(),
               data<float>(inverse), shape, kind, rows, eps);
  out.write_back();
}

void qk_norm_backward(at::Tensor d, const at::Tensor& qkv, const at::Tensor& q_weight,
                      const at::Tensor& k_weight, const kernels::AttentionShape& shape,
                      kernels::QkNorm kind, double eps, const at::Tensor& q_grad,
                      const at::Tensor& k_grad) {
  const int64_t rows = qkv.size(0), q_width = q_weight.numel(), k_width = k_weight.numel();
  if (qkv.is_cuda()) {
    const at::Tensor partial = partials(qkv, gpu::qk_norm_partials(rows), q_width + k_width);
    by_number(qkv, [&](auto number) {
      using T = decltype(number);
      gpu::qk_norm_backward(data<T>(d), data<const T>(qkv), data<const T>(q_weight),
                            data<const T>(k_weight), data<float>(partial), shape, kind, rows,
                            static_cast<float>(eps), kStream);
    });
    add_partials(partial.narrow(1, 0, q_width), q_grad);
    return add_partials(partial.narrow(1, q_width, k_width), k_grad);
  }
  const at::Tensor normed = at::empty(qkv.sizes(), qkv.options().dtype(at::kFloat)),
                   inverse = zeros_of(qkv, rows * kernels::qk_norms(shape, kind));
  const Wide in(qkv), q(q_weight), k(k_weight), dy(d.clone()), q_to = gradient_or(q_grad, q_weight),
                                                               k_to = gradient_or(k_grad, k_weight);
  ref::qk_norm(in.data(), q.data(), k.data(), data<float>(normed), data<float>(inverse), shape,
               kind, rows, eps);
  Wide out(d);
  ref::qk_norm_backward(dy.data(), in.data(), q.data(), k.data(), data<float>(inverse), out.data(),
                        q_to.data(), k_to.data(), shape, kind, rows);
  out.write_back();
}

void rope(at::Tensor qkv, const at::Tensor& positions, const at::Tensor& cosine,
          const at::Tensor& sine, const kernels::AttentionShape& shape, bool inverse) {
  const auto* at = data<const int32_t>(positions);
  const float *c = data<const float>(cosine), *s = data<const float>(sine);
  if (qkv.is_cuda())
    return by_number(qkv, [&](auto number) {
      using T = decltype(number);
      gpu::rope(data<T>(qkv), at, c, s, shape, qkv.size(0), inverse, kStream);
    });
  Wide wide(qkv);
  ref::rope(wide.data(), at, c, s, shape, qkv.size(0), inverse);
  wide.write_back();
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  at::Tensor y = at::empty({rows, width}, gate_up.options());
  if (gate_up.is_cuda()) {
    by_number(gate_up, [&](auto number) {
      using T = decltype(number);
      gpu::swiglu(data<const T>(gate_up), data<T>(y), rows, width, kStream);
    });
    return y;
  }
  Wide wide(y);
  ref::swiglu(Wide(gate_up).data(), wide.data(), rows, width);
  wide.write_back();
  return y;
}

std::pair<at::Tensor, at::Tensor> swiglu_backward(const at::Tensor& dy, const at::Tensor& gate_up) {
  const int64_t rows = dy.size(0), width = dy.size(1);
  at::Tensor d = at::empty_like(gate_up), inner = at::empty_like(dy);
  if (dy.is_cuda()) {
    by_number(dy, [&](auto number) {
      using T = decltype(number);
      gpu::swiglu_backward(data<const T>(dy), data<const T>(gate_up), data<T>(d), data<T>(inner),
                           rows, width, kStream);
    });
    return {d, inner};
  }
  Wide wide(d);
  ref::swiglu_backward(Wide(dy).data(), Wide(gate_up).data(), wide.data(), rows, width);
  wide.write_back();
  return {d, swiglu(gate_up)};
}

void sum_rows(const at::Tensor& in, const RowGroups& sums, at::Tensor out, bool add) {
  ensure(out.stride(1) == 1, "rows without gaps");
  const gpu::RowSums of = {.starts = data<const int32_t>(sums.starts),
                           .rows = data<const int32_t>(sums.rows),
                           .targets = data<const int32_t>(sums.targets),
                           .count = sums.starts.numel() - 1};
  if (in.is_cuda())
    return by_number(in, [&](auto number) {
      using T = decltype(number);
      gpu::sum_rows(data<const T>(in), of, data<T>(out), out.stride(0), in.size(1), add, kStream);
    });
  Wide wide(out);
  ref::sum_rows(Wide(in).data(), of, wide.data(), out.size(1), in.size(1), add);
  wide.write_back();
}

at::Tensor make_logit_sums(int64_t rows, const at::Device& device) {
  constexpr int64_t kNumbers = sizeof(gpu::LogitSums) / sizeof(float);
  return at::empty({rows, kNumbers}, at::TensorOptions(at::kFloat).device(device));
}

void sum_logits(const at::Tensor& logits, const at::Tensor& targets, double scale, int64_t first,
                at::Tensor sums) {
  const auto* in = data<const float>(logits);
  const auto* ids = data<const int32_t>(targets);
  auto* to = data<gpu::LogitSums>(sums);
  if (logits.is_cuda())
    gpu::sum_logits(in, ids, static_cast<float>(scale), first, to, logits.size(0), logits.size(1),
                    kStream);
  else
    ref::sum_logits(in, ids, scale, first, to, logits.size(0), logits.size(1));
}

void finish_logits(const at::Tensor& sums, at::Tensor log_sum, at::Tensor logprob,
                   at::Tensor entropy, at::Tensor square_mass) {
  const auto run = [&](auto kernel, auto... stream) {
    kernel(data<const gpu::LogitSums>(sums), data<float>(log_sum), data<float>(logprob),
           data<float>(entropy), data<float>(square_mass), sums.size(0), stream...);
  };
  sums.is_cuda() ? run(gpu::finish_logits, kStream) : run(ref::finish_logits);
}

LogitGradients LogitGradients::narrow(int64_t first, int64_t rows) const {
  const auto part = [&](const at::Tensor& all) { return all.narrow(0, first, rows); };
  return {part(targets), part(log_sum), part(entropy), part(d_logprob), part(d_entropy)};
}

at::Tensor logits_backward(const at::Tensor& logits, const LogitGradients& of, double scale,
                           int64_t first, kernels::Precision precision) {
  const bool rounds = precision == kernels::Precision::bf16;
  const int64_t rows = logits.size(0), words = logits.size(1);
  if (!logits.is_cuda()) {
    const at::Tensor targets = of.targets - first, d = logits.clone();
    ref::log_softmax_backward(data<float>(d), data<const int32_t>(targets), scale,
                              data<const float>(of.log_sum), data<const float>(of.entropy),
                              data<const float>(of.d_logprob), data<const float>(of.d_entropy),
                              rows, words);
    return rounds ? d.to(at::kBFloat16) : d;
  }
  const at::Tensor d = rounds ? at::empty_like(logits, at::kBFloat16) : logits;
  by_number(d, [&](auto number) {
    using T = decltype(number);
    gpu::logits_backward(data<const float>(logits), data<const int32_t>(of.targets),
                         static_cast<float>(scale), first, data<const float>(of.log_sum),
                         data<const float>(of.entropy), data<const float>(of.d_logprob),
                         data<const float>(of.d_entropy), data<T>(d), rows, words, kStream);
  });
  return d;
}

}  // namespace vernier::ops::device
