// Writes a model's GGUF file.
#include <ATen/ATen.h>

#include "core/model/gguf_model.h"
#include "core/model/model.h"
#include "core/model/rope.h"
#include "core/text/tokenizer_spec.h"

namespace vernier {

std::vector<float> gguf_rope_factors(const ModelSpec& spec) {
  if (spec.rope.kind != "llama3") return {};
  RopeSpec plain;
  plain.theta = spec.rope.theta;
  const auto frequencies = [&](const RopeSpec& rope) {
    return make_rope_table(rope, spec.rotary(), spec.longest()).inverse_frequency.to(at::kDouble);
  };
  const at::Tensor factors = (frequencies(plain) / frequencies(spec.rope)).to(at::kFloat);
  return {factors.const_data_ptr<float>(), factors.const_data_ptr<float>() + factors.numel()};
}

void save_gguf(const ModelSpec& spec, const std::vector<NamedSlice>& slices,
               const Tokenizer& tokenizer, const SliceValues& values, const fs::path& path,
               const SliceType& dtype_of) {
  GgufMetadata metadata = gguf_metadata(spec, path.string());
  for (auto& pair : gguf_metadata(tokenizer.spec(), spec.vocab_size))
    metadata.push_back(std::move(pair));
  std::vector<GgufWriter::Planned> plan;
  for (const NamedSlice& slice : slices)  // llama.cpp reads vectors in fp32 alone
    plan.push_back({gguf_name(slice.name, spec), slice.shape,
                    slice.shape.size() > 1 ? dtype_of(slice) : DType::f32});
  const std::vector<float> factors = gguf_rope_factors(spec);
  if (!factors.empty())
    plan.push_back({kRopeFactors, {static_cast<int64_t>(factors.size())}, DType::f32});
  GgufWriter writer(path, metadata, std::move(plan));
  std::vector<float> paired;
  for (const NamedSlice& slice : slices) {
    const float* from = values(slice);
    if (const auto pairs = gguf_pairs(slice.name, spec)) {
      paired.assign(from, from + slice.numel());
      join_pairs(paired.data(), *pairs);
      from = paired.data();
    }
    writer.write(from);
  }
  if (!factors.empty()) writer.write(factors.data());
  writer.commit();
}

}  // namespace vernier
