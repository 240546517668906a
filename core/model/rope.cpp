#include "core/model/rope.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace vernier {
namespace {

// Formulas: `transformers`, modeling_rope_utils.py. Every step is taken in fp32 as there, because a
// frequency that is off by a rounding turns far positions by a visible angle.

at::Tensor exponents(int64_t rotary_size) {
  return at::arange(0, rotary_size, 2, at::kFloat) / static_cast<double>(rotary_size);
}

at::Tensor powers(double theta, int64_t rotary_size) {
  return at::pow(at::Scalar(theta), exponents(rotary_size));
}

at::Tensor plain(double theta, int64_t rotary_size) {
  return at::reciprocal(powers(theta, rotary_size));
}

// Su et al. (arXiv:2104.09864) stretched between two numbers of turns over the original length:
// YaRN, arXiv:2309.00071, section 3.2.
at::Tensor yarn(const RopeSpec& rope, int64_t rotary_size) {
  const auto dims = static_cast<double>(rotary_size);
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  const auto dimension = [&](double turns) {
    return dims * std::log(original / (turns * 2 * M_PI)) / (2 * std::log(rope.theta));
  };
  double low = dimension(rope.beta_fast), high = dimension(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;  // the ramp becomes a step
  const at::Tensor ramp =
      at::clamp((at::arange(rotary_size / 2, at::kFloat) - low) / (high - low), 0.0, 1.0);
  const at::Tensor keep = 1 - ramp, power = powers(rope.theta, rotary_size);
  return at::reciprocal(rope.factor * power) * (1 - keep) + at::reciprocal(power) * keep;
}

double yarn_scale(const RopeSpec& rope) {
  if (rope.attention_factor != 0) return rope.attention_factor;
  const auto of = [&](double mscale) {
    return rope.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1.0;
  };
  if (rope.mscale != 0 && rope.mscale_all_dim != 0)
    return of(rope.mscale) / of(rope.mscale_all_dim);
  return of(1.0);
}

at::Tensor llama3(const RopeSpec& rope, int64_t rotary_size) {
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  const double low = rope.low_freq_factor, high = rope.high_freq_factor;
  const at::Tensor frequency = plain(rope.theta, rotary_size);
  const at::Tensor length = 2 * M_PI * at::reciprocal(frequency);
  const at::Tensor is_long = length > original / low, is_short = length < original / high;
  const at::Tensor scaled = at::where(is_long, frequency / rope.factor, frequency);
  const at::Tensor smooth = (original * at::reciprocal(length) - low) / (high - low);
  const at::Tensor between = (1 - smooth) * scaled / rope.factor + smooth * scaled;
  return at::where(is_long.logical_or(is_short), scaled, between);
}

at::Tensor longrope(const RopeSpec& rope, int64_t rotary_size, bool is_long) {
  const std::vector<double>& factors = is_long ? rope.long_factor : rope.short_factor;
  return at::reciprocal(at::tensor(factors).to(at::kFloat) * powers(rope.theta, rotary_size));
}

double longrope_scale(const RopeSpec& rope) {
  if (rope.attention_factor != 0) return rope.attention_factor;
  if (rope.factor <= 1) return 1.0;
  return std::sqrt(1 + std::log(rope.factor) /
                           std::log(static_cast<double>(rope.original_max_position_embeddings)));
}

}  // namespace

RopeTable make_rope_table(const RopeSpec& rope, int64_t rotary_size, int64_t max_length) {
  const at::NoGradGuard no_grad;
  RopeTable table;
  table.inverse_frequency = plain(rope.theta, rotary_size);
  if (rope.kind == "linear") table.inverse_frequency /= rope.factor;
  if (rope.kind == "llama3") table.inverse_frequency = llama3(rope, rotary_size);
  if (rope.kind == "yarn") {
    table.inverse_frequency = yarn(rope, rotary_size);
    table.scale = yarn_scale(rope);
  }
  if (rope.kind == "longrope") {
    table.inverse_frequency =
        longrope(rope, rotary_size, max_length > rope.original_max_position_embeddings);
    table.scale = longrope_scale(rope);
  }
  return table;
}

at::Tensor sinusoids(const std::vector<int32_t>& positions, int64_t width) {
  at::Tensor out = at::empty({std::ssize(positions), width}, at::kFloat);
  auto* number = out.data_ptr<float>();
  for (const int32_t position : positions)
    for (int64_t i = 0; i < width; ++i) {
      const double angle =
          position / std::pow(10000.0, static_cast<double>(i / 2 * 2) / static_cast<double>(width));
      *number++ = static_cast<float>(i % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  return out;
}

}  // namespace vernier
