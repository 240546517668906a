// The head in training at a large vocabulary: its time, and the memory that it takes for itself.
#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/kernels/head.h"
#include "tools/bench_parts.h"

namespace vernier {

Json bench_head(const HeadBench& options) {
  using Floats = std::vector<float>;
  const auto rows = static_cast<size_t>(options.tokens);
  const auto width = static_cast<size_t>(options.width);
  const auto words = static_cast<size_t>(options.vocabulary);
  // Written to, so that they are in memory before the head is.
  const Floats hidden(rows * width, 0.01f), weight(words * width, 0.01f), ones(rows, 1.0f);
  Floats d_hidden(rows * width, 1.0f), d_weight(words * width, 1.0f);
  Floats log_sum(rows, 1.0f), logprob(rows, 1.0f), entropy(rows, 1.0f);
  const std::vector<int32_t> targets(rows, 1);
  const kernels::HeadRows in{.hidden = hidden.data(),
                             .targets = targets.data(),
                             .rows = options.tokens,
                             .width = options.width,
                             .vocabulary = options.vocabulary,
                             .temperature = 1,
                             .precision = options.precision == "bf16" ? kernels::Precision::bf16
                                                                      : kernels::Precision::fp32};
  if (!reset_peak_memory()) fail("bench: this system does not forget a process's peak");
  const int64_t before = resident_memory();
  kernels::HeadScratch scratch;
  const Clock forward;
  kernels::head_forward(in, weight.data(), nullptr, log_sum.data(), logprob.data(), entropy.data(),
                        nullptr, scratch);
  const double forward_s = forward.seconds();
  const Clock backward;
  kernels::head_backward(in, weight.data(), log_sum.data(), entropy.data(), ones.data(),
                         ones.data(), d_hidden.data(), d_weight.data(), scratch);
  const double backward_s = backward.seconds();
  const auto extra = static_cast<double>(peak_memory() - before);
  const auto told =
      static_cast<double>(kernels::head_scratch_bytes(in, true) + kernels::head_product_bytes(in));
  return {{"tokens", options.tokens},
          {"width", options.width},
          {"vocabulary", options.vocabulary},
          {"precision", options.precision},
          {"instruction_set", kernels::instruction_set()},
          {"forward_s", forward_s},
          {"backward_s", backward_s},
          {"extra_mb", extra / 1e6},
          {"planned_mb", told / 1e6}};
}

}  // namespace vernier
