// doctor: what this machine can run, and what was recognised of a model.
#include <ATen/ATen.h>
#include <sys/resource.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <thread>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/kernels/device.h"
#include "core/model/source.h"
#include "core/text/chat_format.h"
#include "rollout/parquet_rows.h"
#include "tools/commands.h"

namespace vernier {
namespace {

Json machine() {
  const auto memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  return {{"version", VERNIER_VERSION},
          {"kernels", kernels::instruction_set()},
          {"cores", std::max(1U, std::thread::hardware_concurrency())},
          {"memory_bytes", memory},
          {"libtorch", TORCH_VERSION},
          {"cuda_build", kernels::device::built()},
          {"gpu", kernels::device::built() && at::globalContext().hasCUDA()},
          {"parquet", reads_parquet()},
          {"open_files", files.rlim_cur}};
}

// Layers for which `holds`, as "all", "none" or a list.
template <class Holds>
Json layers_where(const ModelSpec& spec, const Holds& holds) {
  Json list = Json::array();
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i)
    if (holds(spec.layer(i))) list.push_back(i);
  if (list.empty()) return "none";
  return list.size() == static_cast<size_t>(spec.num_hidden_layers) ? Json("all") : list;
}

Json rope_json(const ModelSpec& spec) {
  const RopeSpec& rope = spec.rope;
  Json out = {{"kind", rope.kind}, {"theta", rope.theta}};
  if (rope.kind != "default") out["factor"] = rope.factor;
  if (rope.original_max_position_embeddings > 0)
    out["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  if (rope.kind == "longrope")
    out["factors"] = spec.longest() > rope.original_max_position_embeddings ? "long" : "short";
  if (spec.rotary() != spec.head_dim) out["rotary_size"] = spec.rotary();
  if (const Json without = layers_where(spec, [](const LayerSpec& l) { return !l.rope; });
      without != "none")
    out["layers_without"] = without;
  return out;
}

Json attention_json(const ModelSpec& spec) {
  static const std::map<kernels::QkNorm, const char*> kNorms = {
      {kernels::QkNorm::none, "none"},
      {kernels::QkNorm::head, "each head"},
      {kernels::QkNorm::all, "all heads together"}};
  Json out = {{"heads", spec.num_attention_heads},
              {"key_value_heads", spec.num_key_value_heads},
              {"head_dim", spec.head_dim},
              {"qk_norm", kNorms.at(spec.qk_norm)}};
  if (spec.window() > 0) {
    out["window"] = spec.window();
    out["layers_with_window"] = layers_where(spec, [](const LayerSpec& l) { return l.window > 0; });
  }
  return out;
}

Json biases_json(const ModelSpec& spec) {
  Json out = Json::array();
  if (spec.qkv_bias) out.push_back("queries, keys, values");
  if (spec.output_bias) out.push_back("attention output");
  if (spec.mlp_bias) out.push_back("MLP");
  return out;
}

Json token_json(const Tokenizer& tokenizer, int32_t id) {
  return {{"id", id}, {"text", tokenizer.decode(std::vector<int32_t>{id})}};
}

// Whether a plain sentence comes back, or why the tokenizer cannot say it.
Json round_trip(const Tokenizer& tokenizer) {
  const std::string text = "The quick brown fox, 123.";
  try {
    return tokenizer.decode(tokenizer.encode(text)) == text;
  } catch (const UsageError& problem) {
    return problem.what();
  }
}

Json tokenizer_json(const Tokenizer& tokenizer) {
  Json out = {{"kind", tokenizer.kind()}, {"size", tokenizer.size()}};
  if (tokenizer.kind() != "characters") out["round_trip"] = round_trip(tokenizer);
  if (tokenizer.bos_id()) out["bos"] = token_json(tokenizer, *tokenizer.bos_id());
  out["eos"] = Json::array();
  for (const int32_t id : tokenizer.eos_ids()) out["eos"].push_back(token_json(tokenizer, id));
  if (tokenizer.pad_id()) out["pad"] = token_json(tokenizer, *tokenizer.pad_id());
  return out;
}

std::string chat_format_text(const Tokenizer& tokenizer) {
  if (tokenizer.chat_template().empty()) return "none: the model has no template";
  if (const auto known = recognised_chat_format(tokenizer.chat_template())) return *known;
  return cat("not recognised: set chat_format to one of ", join(chat_formats()));
}

Json model_json(const std::string& path) {
  const ModelSource source(path);
  const Tokenizer tokenizer = source.tokenizer();
  const ModelSpec& spec = source.spec();
  Decoder names(spec, false, at::kFloat, at::kMeta);
  source.check(names.slices());
  Json types = Json::object();
  for (const NamedSlice& slice : names.slices()) {
    const char* type = name_of(source.dtype(slice));
    types[type] = types.value(type, 0) + 1;
  }
  return {{"path", path},
          {"family", spec.model_type},
          {"parameters", names.num_parameters()},
          {"layers", spec.num_hidden_layers},
          {"hidden_size", spec.hidden_size},
          {"intermediate_size", spec.intermediate_size},
          {"vocab_size", spec.vocab_size},
          {"attention", attention_json(spec)},
          {"rope", rope_json(spec)},
          {"biases", biases_json(spec)},
          {"norms", spec.norm_after ? "after each block" : "before each block"},
          {"tied_head", spec.tie_word_embeddings},
          {"longest_sequence", spec.longest()},
          {"tensors_by_type", types},
          {"tokenizer", tokenizer_json(tokenizer)},
          {"chat_format", chat_format_text(tokenizer)},
          {"config_keys_not_used", spec.unused_keys},
          // weights, gradients and two moments in fp32, and the packed forms of the kernels
          {"training_bytes", names.num_parameters() * 4 * 6}};
}

void print(const std::string& key, const Json& value, const std::string& indent) {
  if (value.is_object()) {
    std::printf("%s%s\n", indent.c_str(), key.c_str());
    for (const auto& [inner, what] : value.items()) print(inner, what, indent + "  ");
    return;
  }
  std::string text = value.is_string() ? value.get<std::string>() : dump_json(value);
  if (key.ends_with("_bytes")) text = human_bytes(value.get<double>());
  std::printf("%s%-*s %s\n", indent.c_str(), static_cast<int>(24 - indent.size()), key.c_str(),
              text.c_str());
}

}  // namespace

void doctor_command(const std::optional<std::string>& model, bool json) {
  Json found = machine();
  if (model) found["model"] = model_json(*model);
  if (json) {
    std::printf("%s\n", dump_json(found).c_str());
    return;
  }
  for (const auto& [key, value] : found.items()) print(key, value, "");
}

}  // namespace vernier
