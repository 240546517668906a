#include "core/model/flops.h"

#include <algorithm>
#include <utility>

#include "core/kernels/device_runtime.h"
#include "core/kernels/machine.h"

namespace vernier {

void TrainingWork::add(const PackedTokens& packed, int64_t head) {
  tokens += packed.size();
  head_tokens += head;
  for (const int32_t position : packed.positions) seen += position + 1;
}

double training_flop(const ModelSpec& spec, const TrainingWork& work, int64_t adapters) {
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  const int64_t attended = spec.num_attention_heads * spec.head_dim;
  const int64_t row = attended + 2 * spec.num_key_value_heads * spec.head_dim;
  const int64_t layer = spec.hidden_size * (row + attended + 3 * spec.intermediate_size);
  const double each = adapters > 0 ? 4 : 6;  // operations a weight
  return each * number(spec.num_hidden_layers) * number(layer) * number(work.tokens) +
         each * number(spec.hidden_size) * number(spec.vocab_size) * number(work.head_tokens) +
         12 * number(spec.num_hidden_layers) * number(attended) * work.seen +
         4 * number(adapters) * number(work.tokens);
}

double dense_peak_gflops(const std::string& device) {
  // The first name that the device's holds.
  static constexpr std::pair<const char*, double> kPeaks[] = {
      {"H100 PCIe", 756e3}, {"H100 NVL", 835e3}, {"H100", 989e3}, {"H200", 989e3},
      {"H800 PCIe", 756e3}, {"H800", 989e3},     {"H20", 148e3},  {"A100", 312e3},
      {"A800", 312e3},      {"L40S", 362e3}};
  const auto* found = std::find_if(std::begin(kPeaks), std::end(kPeaks), [&](const auto& peak) {
    return device.find(peak.first) != std::string::npos;
  });
  return found == std::end(kPeaks) ? 0 : found->second;
}

double training_peak_gflops(const at::Device& device, kernels::Precision precision) {
  const bool rounds = precision == kernels::Precision::bf16;
  if (device.is_cuda()) return rounds ? dense_peak_gflops(kernels::device::device_name()) : 0;
  static const double fp32 = kernels::peak_gflops(kernels::WeightFormat::fp32);
  if (!rounds) return fp32;
  static const double bf16 = kernels::peak_gflops(kernels::bf16_format());
  return bf16;
}

}  // namespace vernier
