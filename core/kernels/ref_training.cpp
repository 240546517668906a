// Plain references of the kernels that training on a GPU has and the CPU has not.
#include <cmath>

#include "core/kernels/device_training.h"

namespace vernier::kernels::ref {

void sum_rows(const float* in, const device::RowSums& sums, float* out, int64_t out_row,
              int64_t width, bool add) {
  for (int64_t i = 0; i < sums.count; ++i) {
    float* to = out + (sums.targets == nullptr ? i : sums.targets[i]) * out_row;
    for (int64_t e = 0; e < width; ++e) {
      double sum = add ? to[e] : 0.0;
      for (int32_t k = sums.starts[i]; k < sums.starts[i + 1]; ++k)
        sum += in[sums.rows[k] * width + e];
      to[e] = static_cast<float>(sum);
    }
  }
}

void sum_logits(const float* logits, const int32_t* targets, double scale, int64_t first,
                device::LogitSums* sums, int64_t rows, int64_t words) {
  for (int64_t t = 0; t < rows; ++t) {
    const float* row = logits + t * words;
    const bool begins = first == 0;
    double top = begins ? -INFINITY : sums[t].top, sum = 0, product = 0, squares = 0;
    for (int64_t i = 0; i < words; ++i) top = std::fmax(top, row[i] * scale);
    for (int64_t i = 0; i < words; ++i) {
      const double z = row[i] * scale - top;
      sum += std::exp(z);
      product += std::exp(z) * z;
      squares += std::exp(2 * z);
    }
    if (!begins) {
      const double moved = sums[t].top - top, keep = std::exp(moved);
      sum += keep * sums[t].sum;
      product += keep * (sums[t].product + sums[t].sum * moved);
      squares += keep * keep * sums[t].squares;
    }
    const int64_t target = targets[t] - first;
    const bool here = target >= 0 && target < words;
    sums[t] = {.top = static_cast<float>(top),
               .sum = static_cast<float>(sum),
               .product = static_cast<float>(product),
               .squares = static_cast<float>(squares),
               .target = here     ? static_cast<float>(row[target] * scale)
                         : begins ? 0.0f
                                  : sums[t].target};
  }
}

void finish_logits(const device::LogitSums* sums, float* log_sum, float* logprob, float* entropy,
                   float* square_mass, int64_t rows) {
  for (int64_t t = 0; t < rows; ++t) {
    const device::LogitSums& row = sums[t];
    const double sum = row.sum, log_total = std::log(sum);
    log_sum[t] = static_cast<float>(row.top + log_total);
    logprob[t] = static_cast<float>(row.target - row.top - log_total);
    entropy[t] = static_cast<float>(log_total - row.product / sum);
    if (square_mass != nullptr) square_mass[t] = static_cast<float>(row.squares / (sum * sum));
  }
}

}  // namespace vernier::kernels::ref
