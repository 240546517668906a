// The head of ops_device.h: the loops over chunks of the logits.
#include <ATen/ATen.h>

#include <algorithm>

#include "core/base/errors.h"
#include "core/kernels/autograd_parts.h"
#include "core/kernels/device_training.h"
#include "core/kernels/ops_device.h"

namespace vernier::ops::device {
namespace {

// Of one product. Rows enough for the product to be bound by arithmetic; a row of words stays in a
// first-level cache between the passes of a kernel, the chunk mostly in the second-level one.
constexpr int64_t kRows = 2048, kWords = 8192;

struct HeadCall {
  Parameter* head;
  double scale;  // 1 / temperature
  kernels::Precision precision;
  at::Tensor targets;                        // [T]
  at::Tensor hidden;                         // [T, D], numbers
  at::Tensor log_sum;                        // [T]
  at::Tensor logprob, entropy, square_mass;  // [T]; the last one may be undefined

  at::Tensor weight() const { return operand(*head, precision); }
  int64_t rows() const { return hidden.size(0); }

  // Calls body(first, count) for parts of `size` of `all`.
  template <class Body>
  static void by_parts(int64_t all, int64_t size, const Body& body) {
    for (int64_t first = 0; first < all; first += size) body(first, std::min(size, all - first));
  }

  void forward() const {
    head->bring();
    const at::Tensor w = weight(), sums = make_logit_sums(rows(), hidden.device());
    by_parts(rows(), kRows, [&](int64_t row, int64_t count) {
      const at::Tensor in = hidden.narrow(0, row, count);
      by_parts(w.size(0), kWords, [&](int64_t word, int64_t words) {
        sum_logits(wide_linear(in, w.narrow(0, word, words)), targets.narrow(0, row, count), scale,
                   word, sums.narrow(0, row, count));
      });
    });
    finish_logits(sums, log_sum, logprob, entropy, square_mass);
  }

  // The vocabulary outside, so that a part of the weight's gradient is written to while it is near.
  at::Tensor backward(const at::Tensor& d_logprob, const at::Tensor& d_entropy,
                      const at::Tensor& entropies) const {
    head->bring();
    head->bring_gradient();
    const at::Tensor w = weight();
    const LogitGradients all{targets, log_sum, entropies, d_logprob, d_entropy};
    const at::Tensor d_hidden = at::zeros(hidden.sizes(), hidden.options().dtype(at::kFloat));
    by_parts(w.size(0), kWords, [&](int64_t word, int64_t words) {
      const at::Tensor part = w.narrow(0, word, words);
      by_parts(rows(), kRows, [&](int64_t row, int64_t count) {
        const at::Tensor in = hidden.narrow(0, row, count);
        const at::Tensor d =
            logits_backward(wide_linear(in, part), all.narrow(row, count), scale, word, precision);
        add_product(d_hidden.narrow(0, row, count), d, part);
        if (head->grad.defined())
          add_product(head->grad.detach().narrow(0, word, words), d.t(), in);
      });
    });
    head->gradient_done();
    return d_hidden;
  }
};

struct HeadFunction : Function<HeadFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor&, const at::Tensor&,
                               const at::Tensor& keeper, int64_t call) {
    ctx->saved_data["call"] = call;
    auto& head = at_address<HeadCall>(ctx, "call");
    head.forward();
    // An output that the call held would hold the call: their memory would never come back.
    const at::Tensor logprob = std::exchange(head.logprob, {});
    const at::Tensor entropy = std::exchange(head.entropy, {});
    ctx->save_for_backward({entropy, keeper});
    return {logprob, entropy};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& head = at_address<HeadCall>(ctx, "call");
    const auto whole = [&](const at::Tensor& grad) {
      return grad.defined() ? grad.contiguous() : at::zeros_like(saved[0]);
    };
    return {head.backward(whole(grads[0]), whole(grads[1]), saved[0]), at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

int64_t head_bytes(int64_t rows, int64_t width, int64_t vocabulary, kernels::Precision precision,
                   bool backward) {
  constexpr int64_t kSums = sizeof(kernels::device::LogitSums);
  const bool rounds = precision == kernels::Precision::bf16;
  const int64_t chunk = std::min(rows, kRows) * std::min(vocabulary, kWords);
  // Targets, log_sum, logprob, entropy; the sums of the forward pass.
  int64_t bytes = 4 * chunk + (4 * 4 + kSums) * rows + (rounds ? 2 * rows * width : 0);
  // The gradient of a chunk, of log-probabilities and entropies, and of the hidden states.
  if (backward) bytes += (rounds ? 2 * chunk : 0) + 2 * 4 * rows + 4 * rows * width;
  return bytes;
}

TokenLogprobs token_logprobs(const at::Tensor& hidden, Parameter& head,
                             const std::vector<int32_t>& targets, double temperature,
                             kernels::Precision precision, bool square_mass) {
  ensure(hidden.is_contiguous() && hidden.size(0) == static_cast<int64_t>(targets.size()),
         "a target for every row");
  for (const int32_t id : targets) ensure(id >= 0 && id < head.value.size(0), "a known target id");
  const at::TensorOptions options = hidden.options().requires_grad(false);
  const auto each = [&] { return at::empty({hidden.size(0)}, options); };
  const auto type = precision == kernels::Precision::bf16 ? at::kBFloat16 : at::kFloat;
  const auto call =
      std::make_shared<HeadCall>(HeadCall{.head = &head,
                                          .scale = 1.0 / temperature,
                                          .precision = precision,
                                          .targets = placed(targets, hidden.device()),
                                          .hidden = hidden.detach().to(type),
                                          .log_sum = each(),
                                          .logprob = each(),
                                          .entropy = each(),
                                          .square_mass = square_mass ? each() : at::Tensor()});
  const auto both =
      HeadFunction::apply(hidden, root_of(head.value), keeper_of(call), address(call.get()));
  return {both[0], both[1], call->square_mass};
}

}  // namespace vernier::ops::device
