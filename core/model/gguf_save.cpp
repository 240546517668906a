// The metadata of a model's GGUF file.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"
#include "core/model/family.h"
#include "core/model/gguf_model.h"
#include "core/model/model.h"
#include "core/model/rope.h"
#include "core/text/tokenizer_spec.h"

namespace vernier {
namespace {

// What llama.cpp does with the parts that have no key of their own.
void check_sayable(const ModelSpec& spec, const std::string& where) {
  const auto refuse = [&](const auto&... parts) {
    fail(where, ": GGUF cannot say ", parts...,
         ", so that another program would read another model");
  };
  const auto& kind = spec.rope.kind;
  if (kind == "dynamic" || kind == "longrope") refuse("RoPE kind \"", kind, "\"");
  if (kind == "yarn" &&
      (spec.rope.beta_fast != 32 || spec.rope.beta_slow != 1 || spec.rope.attention_factor != 0 ||
       spec.rope.mscale != 0 || spec.rope.mscale_all_dim != 0 || !spec.rope.truncate))
    refuse("yarn with values other than the usual ones");
  if (spec.mlp_bias && spec.model_type != "llama")
    refuse("biases in the MLP of a ", spec.model_type, " model");
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i) {
    const LayerSpec layer = spec.layer(i);
    if (layer.window != spec.layer(0).window || (layer.window > 0 && spec.model_type != "mistral"))
      refuse("a window in layer ", layer.window > 0 ? i : 0, " of a ", spec.model_type, " model");
    if (layer.rope != (spec.model_type != "smollm3" || (i + 1) % 4 != 0))
      refuse("that layer ", i, layer.rope ? " has" : " has no", " RoPE");
  }
}

void add_rope(const ModelSpec& spec, const std::string& prefix, GgufMetadata& out) {
  const RopeSpec& rope = spec.rope;
  out.emplace_back(prefix + "rope.freq_base", rope.theta);
  out.emplace_back(prefix + "rope.dimension_count", spec.rotary());
  if (rope.kind != "linear" && rope.kind != "yarn") return;
  out.emplace_back(prefix + "rope.scaling.type", rope.kind);
  out.emplace_back(prefix + "rope.scaling.factor", rope.factor);
  if (rope.kind == "yarn")
    out.emplace_back(prefix + "rope.scaling.original_context_length",
                     rope.original_max_position_embeddings);
}

}  // namespace

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

GgufMetadata gguf_metadata(const ModelSpec& spec, const std::string& where) {
  check_sayable(spec, where);
  const Family& family = family_of(spec.model_type, where);
  const std::string prefix = family.gguf + ".";
  GgufMetadata out = {{"general.architecture", family.gguf}};
  const auto size = [&](const char* key, int64_t value) { out.emplace_back(prefix + key, value); };
  size("context_length", spec.max_position_embeddings);
  size("embedding_length", spec.hidden_size);
  size("block_count", spec.num_hidden_layers);
  size("feed_forward_length", spec.intermediate_size);
  size("attention.head_count", spec.num_attention_heads);
  size("attention.head_count_kv", spec.num_key_value_heads);
  size("attention.key_length", spec.head_dim);
  size("attention.value_length", spec.head_dim);
  size("vocab_size", spec.vocab_size);
  out.emplace_back(prefix + "attention.layer_norm_rms_epsilon", spec.rms_norm_eps);
  if (spec.layer(0).window > 0) size("attention.sliding_window", spec.layer(0).window);
  add_rope(spec, prefix, out);
  if (!spec.config_json.empty()) out.emplace_back(gguf_file_key("config.json"), spec.config_json);
  if (!spec.generation_config_json.empty())
    out.emplace_back(gguf_file_key(kGenerationConfig), spec.generation_config_json);
  return out;
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
