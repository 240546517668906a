#include "core/model/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/errors.h"
#include "core/model/family.h"
#include "core/text/tokenizer_spec.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

// Reads keys of the form "llama.rope.freq_base".
class Keys {
 public:
  Keys(const GgufFile& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  std::string key(const char* rest) const { return cat(architecture_, ".", rest); }
  bool has(const char* rest) const {
    asked_.insert(key(rest));
    return file_.has(key(rest));
  }
  /// Keys of the architecture that nobody asked for.
  std::vector<std::string> unasked() const {
    std::vector<std::string> out;
    for (const auto& [name, value] : file_.metadata())
      if (name.starts_with(architecture_ + ".") && !asked_.contains(name)) out.push_back(name);
    return out;
  }
  int64_t integer(const char* rest) const { return file_.integer(asked(rest)); }
  double real(const char* rest) const { return file_.real(asked(rest)); }
  const std::string& text(const char* rest) const { return file_.text(asked(rest)); }

 private:
  std::string asked(const char* rest) const { return *asked_.insert(key(rest)).first; }

  const GgufFile& file_;
  std::string architecture_;
  mutable std::set<std::string> asked_;
};

// Keys of llama.cpp that change what is computed, beyond what config.json's own can say here.
void refuse_other_arithmetic(const GgufFile& file, const Keys& keys) {
  const auto refuse = [&](const char* key) {
    fail(file.path(), ": ", keys.key(key), " is not supported; it changes what is computed");
  };
  for (const char* key :
       {"attn_logit_softcapping", "final_logit_softcapping", "attention.clamp_kqv",
        "attention.max_alibi_bias", "attention.scale", "attention.temperature_scale",
        "attention.layer_norm_epsilon", "logit_scale", "residual_scale", "embedding_scale",
        "pooling_type", "router_logit_softcapping"})
    if (keys.has(key)) refuse(key);
  for (const char* key : {"expert_count", "expert_used_count"})
    if (keys.has(key) && keys.integer(key) != 0) refuse(key);
  const auto flag = [&](const char* key, bool usual) {
    if (!keys.has(key)) return;
    const bool* value = std::get_if<bool>(&file.metadata().at(keys.key(key)));
    if (value == nullptr || *value != usual) refuse(key);
  };
  flag("attention.causal", true);
  flag("use_parallel_residual", false);
  if (keys.has("attention.value_length") && keys.has("attention.key_length") &&
      keys.integer("attention.value_length") != keys.integer("attention.key_length"))
    refuse("attention.value_length");
}

bool same_value(const GgufFile::Value& a, const GgufFile::Value& b) {
  const double *x = std::get_if<double>(&a), *y = std::get_if<double>(&b);
  if (x == nullptr || y == nullptr) return a == b;
  return static_cast<float>(*x) == static_cast<float>(*y);  // which is how the file has them
}

// A file with config.json inside says everything twice. Who changes one of the two would have
// llama.cpp and Vernier read different models.
void check_said_twice(const GgufFile& file, const ModelSpec& spec) {
  for (const auto& [key, value] : gguf_metadata(spec, file.path())) {
    if (key.starts_with("vernier.")) continue;
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end() || !same_value(found->second, value))
      fail(file.path(), ": ", key, " is not what ", gguf_file_key("config.json"),
           " in the same file says; leave one of them out");
  }
}

// Of the families that share an architecture, a window tells which it is.
const Family& family_of_gguf(const GgufFile& file, int64_t window) {
  const std::string& architecture = file.text("general.architecture");
  std::vector<std::string> known;
  for (const Family& family : families()) {
    if (family.gguf == architecture && family.gguf_window == (window > 0)) return family;
    if (std::find(known.begin(), known.end(), family.gguf) == known.end())
      known.push_back(family.gguf);
  }
  if (std::find(known.begin(), known.end(), architecture) == known.end())
    fail(file.path(), ": architecture '", architecture,
         "' is not supported; supported: ", join(known));
  fail(file.path(), ": ", architecture, ".attention.sliding_window = ", window,
       " is not supported for this architecture");
}

int64_t read_gguf_window(const GgufFile& file, const Keys& keys) {
  constexpr const char* kWindow = "attention.sliding_window";
  const int64_t window = keys.has(kWindow) ? keys.integer(kWindow) : 0;
  if (window < 0) fail(file.path(), ": ", keys.key(kWindow), " = ", window, " is below 0");
  return window;
}

// Frequencies by factors: exactly what longrope does when both its lists are the same.
void read_rope_factors(const GgufFile& file, ModelSpec& spec) {
  const TensorInfo* tensor = file.find(kRopeFactors);
  if (tensor == nullptr) return;
  if (tensor->shape != std::vector<int64_t>{spec.rotary() / 2})
    fail(file.path(), ": tensor '", kRopeFactors, "' does not have ", spec.rotary() / 2,
         " values, one a rotated pair");
  if (spec.rope.kind != "default")
    fail(file.path(), ": tensor '", kRopeFactors, "' and a RoPE scaling of kind \"", spec.rope.kind,
         "\" are not supported together");
  std::vector<float> factors(static_cast<size_t>(tensor->numel()));
  file.read(*tensor, factors.data());
  spec.rope.kind = "longrope";
  spec.rope.attention_factor = 1;
  spec.rope.original_max_position_embeddings = spec.max_position_embeddings;
  spec.rope.short_factor.assign(factors.begin(), factors.end());
  spec.rope.long_factor = spec.rope.short_factor;
}

// The stretch: llama.cpp takes it as linear where no type is given, knows an older key, and reads 0
// as none.
void read_gguf_scaling(const GgufFile& file, const Keys& keys, const char* factor_key,
                       RopeSpec& rope) {
  constexpr const char* kType = "rope.scaling.type";
  const std::string kind = keys.has(kType) ? keys.text(kType) : "linear";
  if (kind != "none" && kind != "linear" && kind != "yarn")
    fail(file.path(), ": ", keys.key(kType), " '", kind,
         "' is not supported; supported: none, linear, yarn");
  for (const char* key : {"rope.scaling.attn_factor", "rope.scaling.yarn_log_multiplier",
                          "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor",
                          "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"})
    if (keys.has(key)) fail(file.path(), ": ", keys.key(key), " is not supported");
  const double factor = keys.has(factor_key) ? keys.real(factor_key) : 0;
  if (kind == "none" || factor == 0) return;
  rope.kind = kind;
  rope.factor = factor;
  if (kind == "yarn")
    rope.original_max_position_embeddings = keys.integer("rope.scaling.original_context_length");
}

void read_gguf_rope(const GgufFile& file, const Keys& keys, ModelSpec& spec) {
  if (keys.has("rope.freq_base")) spec.rope.theta = keys.real("rope.freq_base");
  if (keys.has("rope.dimension_count")) spec.rotary_size = keys.integer("rope.dimension_count");
  if (spec.rotary_size < 0 || spec.rotary_size % 2 != 0 || spec.rotary_size > spec.head_dim)
    fail(file.path(), ": ", keys.key("rope.dimension_count"), " = ", spec.rotary_size,
         " is not an even number up to the head size ", spec.head_dim);
  const char* factor_key =
      keys.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  read_gguf_scaling(file, keys, factor_key, spec.rope);
  read_rope_factors(file, spec);
  check_rope(spec.rope, [&](std::string_view key, const std::string& what) {
    std::string name = cat("tensor '", kRopeFactors, "'");
    if (key == "rope_theta") name = keys.key("rope.freq_base");
    if (key == "factor") name = keys.key(factor_key);
    if (key == "original_max_position_embeddings")
      name = keys.key(spec.rope.kind == "yarn" ? "rope.scaling.original_context_length"
                                               : "context_length");
    fail(file.path(), ": ", name, ": ", what);
  });
}

// Biases are tensors here and keys in config.json. What the family's keys cannot say would become
// a folder that nobody can load.
void read_gguf_biases(const GgufFile& file, const Family& family, ModelSpec& spec) {
  struct Bias {
    const char* tensor;
    bool ModelSpec::*flag;
  };
  constexpr Bias kBiases[] = {{"blk.0.attn_q.bias", &ModelSpec::qkv_bias},
                              {"blk.0.attn_output.bias", &ModelSpec::output_bias},
                              {"blk.0.ffn_gate.bias", &ModelSpec::mlp_bias}};
  ModelSpec again = spec;
  for (const Bias& bias : kBiases) spec.*bias.flag = file.find(bias.tensor) != nullptr;
  Json config = Json::object();
  family.write(spec, config);
  const SortedJson written = parse_sorted_json(config.dump(), file.path());
  family.read(JsonField(written, file.path()), again);
  for (const Bias& bias : kBiases)
    if (again.*bias.flag != spec.*bias.flag)
      fail(file.path(), ": tensor '", bias.tensor, "' is ", spec.*bias.flag ? "here" : "missing",
           ", and config.json of a ", family.model_type,
           " model cannot say that, so that no folder could be made of it");
}

// llama.cpp has windows and heads that rotate in part in none of these architectures, and no keys
// for the rest.
void check_sayable(const ModelSpec& spec, const Family& family, const std::string& where) {
  const auto refuse = [&](const auto&... parts) {
    fail(where, ": GGUF cannot say ", parts...,
         ", so that another program would read another model");
  };
  if (family.gguf.empty()) refuse("models of type ", family.model_type);
  if (spec.reach.window > 0) refuse("an attention_window of ", spec.reach.window, " tokens");
  const auto& kind = spec.rope.kind;
  if (kind == "dynamic" || kind == "longrope") refuse("RoPE kind \"", kind, "\"");
  if (kind == "yarn" &&
      (spec.rope.beta_fast != 32 || spec.rope.beta_slow != 1 || spec.rope.attention_factor != 0 ||
       spec.rope.mscale != 0 || spec.rope.mscale_all_dim != 0 || !spec.rope.truncate))
    refuse("yarn with values other than the usual ones");
  if (spec.mlp_bias && !family.gguf_mlp_bias)
    refuse("biases in the MLP of a ", spec.model_type, " model");
  if (spec.rotary() != spec.head_dim)
    refuse("that ", spec.rotary(), " of the ", spec.head_dim, " dimensions of a head rotate");
  // A window as long as the longest sequence leaves nothing out.
  const int64_t window = spec.window();
  if (window > 0 && window < longest_sequence(spec.rope, spec.max_position_embeddings))
    refuse("a window of ", window, " tokens in layers of a ", spec.model_type, " model");
  ModelSpec usual = spec;
  usual.layers.clear();
  set_family(family, usual);
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i)
    if (spec.layer(i).rope != usual.layer(i).rope)
      refuse("that layer ", i, spec.layer(i).rope ? " has" : " has no", " RoPE");
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

// Moves rows within each head: row `from(i, j)` to row `to(i, j)`, for pair i and its half j.
template <class From, class To>
void move_rows(float* rows, const PairedRows& pairs, const From& from, const To& to) {
  std::vector<float> head(static_cast<size_t>(pairs.rotary_size * pairs.width));
  for (int64_t h = 0; h < pairs.heads; ++h) {
    float* at = rows + h * pairs.head_size * pairs.width;
    std::copy_n(at, head.size(), head.begin());
    for (int64_t i = 0; i < pairs.rotary_size / 2; ++i)
      for (int64_t j = 0; j < 2; ++j)
        std::copy_n(head.begin() + from(i, j) * pairs.width, pairs.width,
                    at + to(i, j) * pairs.width);
  }
}

}  // namespace

ModelSpec spec_from_gguf_model(const GgufFile& file) {
  const std::string config = gguf_file_key("config.json");
  const std::string generation = gguf_file_key(kGenerationConfig);
  if (file.has(config)) {
    ModelSpec spec = spec_from_config_text(file.text(config), cat(file.path(), ": ", config));
    refuse_other_arithmetic(file, Keys(file, family_of(spec.model_type, file.path()).gguf));
    check_said_twice(file, spec);
    if (file.has(generation)) spec.generation_config_json = file.text(generation);
    return spec;
  }
  const Keys keys(file, file.text("general.architecture"));
  const int64_t window = read_gguf_window(file, keys);
  const Family& family = family_of_gguf(file, window);
  ModelSpec spec;
  spec.vocab_size = static_cast<int64_t>(file.texts("tokenizer.ggml.tokens").size());
  spec.hidden_size = keys.integer("embedding_length");
  spec.intermediate_size = keys.integer("feed_forward_length");
  spec.num_hidden_layers = keys.integer("block_count");
  spec.num_attention_heads = keys.integer("attention.head_count");
  spec.num_key_value_heads = keys.has("attention.head_count_kv")
                                 ? keys.integer("attention.head_count_kv")
                                 : spec.num_attention_heads;
  if (spec.num_attention_heads < 1) spec.check(file.path());
  spec.head_dim = keys.has("attention.key_length") ? keys.integer("attention.key_length")
                                                   : spec.hidden_size / spec.num_attention_heads;
  spec.max_position_embeddings = keys.integer("context_length");
  spec.rms_norm_eps = keys.real("attention.layer_norm_rms_epsilon");
  spec.tie_word_embeddings = file.find("output.weight") == nullptr;
  spec.check(file.path());
  set_family(family, spec);
  if (window > 0)
    spec.layers.assign(static_cast<size_t>(spec.num_hidden_layers),
                       {.rope = true, .window = window});
  read_gguf_rope(file, keys, spec);
  read_gguf_biases(file, family, spec);
  refuse_other_arithmetic(file, keys);
  spec.check(file.path());
  keys.has("vocab_size");  // the tokenizer's list says it
  spec.unused_keys = keys.unasked();
  return spec;
}

GgufMetadata gguf_metadata(const ModelSpec& spec, const std::string& where) {
  const Family& family = family_of(spec.model_type, where);
  check_sayable(spec, family, where);
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
  add_rope(spec, prefix, out);
  if (!spec.config_json.empty()) out.emplace_back(gguf_file_key("config.json"), spec.config_json);
  if (!spec.generation_config_json.empty())
    out.emplace_back(gguf_file_key(kGenerationConfig), spec.generation_config_json);
  return out;
}

std::string gguf_name(const std::string& name, const ModelSpec& spec) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  constexpr std::string_view kPrefix = "model.layers.";
  const size_t dot = name.find('.', kPrefix.size()), ending = name.rfind('.');
  const std::string layer = name.substr(kPrefix.size(), dot - kPrefix.size());
  const std::string part = name.substr(dot + 1, ending - dot - 1);
  for (const auto& [ours, theirs] :
       {std::pair{"input_layernorm", "attn_norm"},
        {"self_attn.q_proj", "attn_q"},
        {"self_attn.k_proj", "attn_k"},
        {"self_attn.v_proj", "attn_v"},
        {"self_attn.o_proj", "attn_output"},
        {"self_attn.q_norm", "attn_q_norm"},
        {"self_attn.k_norm", "attn_k_norm"},
        {"post_attention_layernorm", spec.norm_after ? "post_attention_norm" : "ffn_norm"},
        {"post_feedforward_layernorm", "post_ffw_norm"},
        {"mlp.gate_proj", "ffn_gate"},
        {"mlp.up_proj", "ffn_up"},
        {"mlp.down_proj", "ffn_down"}})
    if (part == ours) return cat("blk.", layer, ".", theirs, name.substr(ending));
  throw BugError(cat("no GGUF name for ", name));
}

std::optional<PairedRows> gguf_pairs(const std::string& name, const ModelSpec& spec) {
  const bool queries = name.find("q_proj.") != std::string::npos;
  if (!queries && name.find("k_proj.") == std::string::npos) return std::nullopt;
  if (!family_of(spec.model_type, "model").gguf_pairs) return std::nullopt;
  return PairedRows{.heads = queries ? spec.num_attention_heads : spec.num_key_value_heads,
                    .head_size = spec.head_dim,
                    .rotary_size = spec.rotary(),
                    .width = name.ends_with("bias") ? 1 : spec.hidden_size};
}

void split_pairs(float* rows, const PairedRows& pairs) {
  const int64_t half = pairs.rotary_size / 2;
  move_rows(
      rows, pairs, [](int64_t i, int64_t j) { return 2 * i + j; },
      [half](int64_t i, int64_t j) { return j * half + i; });
}

void join_pairs(float* rows, const PairedRows& pairs) {
  const int64_t half = pairs.rotary_size / 2;
  move_rows(
      rows, pairs, [half](int64_t i, int64_t j) { return j * half + i; },
      [](int64_t i, int64_t j) { return 2 * i + j; });
}

}  // namespace vernier
