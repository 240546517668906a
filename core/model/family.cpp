#include "core/model/family.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

void read_attention_bias(const JsonField& config, ModelSpec& spec) {
  spec.qkv_bias = spec.output_bias = config.flag("attention_bias", false);
}

// layer_types, where it is given, says which layers have the window; else `windowed` does.
template <class Windowed>
void read_windows(const JsonField& config, int64_t window, const Windowed& windowed,
                  ModelSpec& spec) {
  const bool listed = config.has("layer_types");
  if (listed && config.at("layer_types").entries() != static_cast<size_t>(spec.num_hidden_layers))
    config.at("layer_types")
        .refuse(config.at("layer_types").entries(), " entries for ", spec.num_hidden_layers,
                " layers");
  spec.layers.resize(static_cast<size_t>(spec.num_hidden_layers));
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i) {
    bool has_window = window > 0 && windowed(i);
    if (listed) {
      const JsonField entry = config.at("layer_types").entry(static_cast<size_t>(i));
      if (entry.text() != "full_attention" && entry.text() != "sliding_attention")
        entry.refuse("\"", entry.text(),
                     "\" is not supported; supported: full_attention, sliding_attention");
      has_window = entry.text() == "sliding_attention";
      if (has_window && window == 0)
        entry.refuse("sliding_attention without a sliding_window in use");
    }
    spec.layers[static_cast<size_t>(i)].window = has_window ? window : 0;
  }
}

// Left out it is `fallback`; null switches it off.
int64_t read_window(const JsonField& config, int64_t fallback) {
  if (!config.has("sliding_window") && config->contains("sliding_window")) return 0;
  const int64_t window = config.integer("sliding_window", fallback);
  if (config.has("sliding_window") && window < 1)
    config.at("sliding_window").refuse(window, " is not above 0");
  return window;
}

void read_llama(const JsonField& config, ModelSpec& spec) {
  read_attention_bias(config, spec);
  spec.mlp_bias = config.flag("mlp_bias", false);
}

// The upper layers have the window, where it is switched on.
void read_qwen_windows(const JsonField& config, ModelSpec& spec) {
  const int64_t window = read_window(config, 4096);
  const int64_t first = config.integer("max_window_layers", 28);
  const bool used = config.flag("use_sliding_window", false);
  read_windows(
      config, used ? window : 0, [&](int64_t i) { return i >= first; }, spec);
}

void read_qwen2(const JsonField& config, ModelSpec& spec) {
  spec.qkv_bias = true;
  read_qwen_windows(config, spec);
}

void read_qwen3(const JsonField& config, ModelSpec& spec) {
  read_attention_bias(config, spec);
  read_qwen_windows(config, spec);
}

void read_mistral(const JsonField& config, ModelSpec& spec) {
  const int64_t window = read_window(config, 4096);
  spec.layers.assign(static_cast<size_t>(spec.num_hidden_layers), {.rope = true, .window = window});
}

void set_rope_layers(int64_t interval, ModelSpec& spec) {
  spec.layers.resize(static_cast<size_t>(spec.num_hidden_layers));
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i)
    spec.layers[static_cast<size_t>(i)].rope = (i + 1) % interval != 0;
}

void read_smollm3(const JsonField& config, ModelSpec& spec) {
  read_llama(config, spec);
  if (config.has("no_rope_layer_interval")) {
    const int64_t interval = config.at("no_rope_layer_interval").integer();
    if (interval < 1) config.at("no_rope_layer_interval").refuse(interval, " is not above 0");
    set_rope_layers(interval, spec);
  }
  if (config.has("no_rope_layers")) {
    const JsonField list = config.at("no_rope_layers");
    if (list.entries() < spec.layers.size())
      list.refuse(list.entries(), " entries for ", spec.layers.size(), " layers");
    for (size_t i = 0; i < spec.layers.size(); ++i)
      spec.layers[i].rope = list.entry(i).integer() != 0;
  }
  const int64_t window = read_window(config, 0);
  const bool used = config.flag("use_sliding_window", false);
  read_windows(
      config, used ? window : 0, [&](int64_t i) { return !spec.layer(i).rope; }, spec);
}

void write_attention_bias(const ModelSpec& spec, Json& config) {
  config["attention_bias"] = spec.qkv_bias;
}

void write_llama(const ModelSpec& spec, Json& config) {
  write_attention_bias(spec, config);
  config["mlp_bias"] = spec.mlp_bias;
}

void write_windows(const ModelSpec& spec, Json& config) {
  const int64_t window = spec.window();
  config["use_sliding_window"] = window > 0;
  config["sliding_window"] = window > 0 ? Json(window) : Json();
  if (window == 0) return;
  config["layer_types"] = Json::array();
  for (const LayerSpec& layer : spec.layers)
    config["layer_types"].push_back(layer.window > 0 ? "sliding_attention" : "full_attention");
}

void write_qwen3(const ModelSpec& spec, Json& config) {
  write_attention_bias(spec, config);
  write_windows(spec, config);
}

void write_mistral(const ModelSpec& spec, Json& config) {
  const int64_t window = spec.window();
  config["sliding_window"] = window > 0 ? Json(window) : Json();
}

void write_smollm3(const ModelSpec& spec, Json& config) {
  write_llama(spec, config);
  write_windows(spec, config);
  config["no_rope_layers"] = Json::array();
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i)
    config["no_rope_layers"].push_back(spec.layer(i).rope ? 1 : 0);
}

// Models from scratch that no other program has.
void read_vernier(const JsonField& config, ModelSpec& spec) {
  read_llama(config, spec);
  const std::string positions = config.text("positions", "rope");
  const auto& known = position_names();
  if (std::find(known.begin(), known.end(), positions) == known.end())
    config.at("positions").refuse("\"", positions, "\" is not one of ", join(known));
  spec.positions = positions_of(positions);
  spec.attn_logn = config.flag("attn_logn", false);
}

void write_vernier(const ModelSpec& spec, Json& config) {
  write_llama(spec, config);
  config["positions"] = position_names()[static_cast<size_t>(spec.positions)];
  config["attn_logn"] = spec.attn_logn;
}

// Λ-shaped attention, whatever the family: a key that other programs do not know.
constexpr const char* kReach = "vernier_attention";

void read_reach(const JsonField& config, ModelSpec& spec) {
  if (!config.has(kReach)) return;
  const JsonField object = config.at(kReach);
  object.only({"sinks", "window"});
  spec.reach = {.sinks = object.at("sinks").integer(), .window = object.at("window").integer()};
  if (spec.reach.window < 1) object.at("window").refuse(spec.reach.window, " is not above 0");
  if (spec.reach.sinks < 0 || spec.reach.sinks > kernels::kKeyBlock)
    object.at("sinks").refuse(spec.reach.sinks, " is not 0 to ", kernels::kKeyBlock);
}

// The dimensions of a head that rotate. The key stands at the top or with the RoPE parameters.
int64_t read_rotary_size(const JsonField& config, const ModelSpec& spec) {
  double factor = config.real("partial_rotary_factor", 1.0);
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (config.has(key)) factor = config.at(key).real("partial_rotary_factor", factor);
  const auto size = static_cast<int64_t>(static_cast<double>(spec.head_dim) * factor);
  if (!(factor > 0 && factor <= 1) || size < 2 || size % 2 != 0)
    config.refuse("partial_rotary_factor = ", factor, " of head_dim = ", spec.head_dim, " leaves ",
                  size, " dimensions to rotate; an even number from 2 to ", spec.head_dim,
                  " is needed");
  return size;
}

// What scales or caps numbers in relatives of these families, and would be ignored.
void refuse_other_arithmetic(const JsonField& config) {
  for (const char* key :
       {"quantization_config", "logit_scale", "logits_scaling", "embedding_multiplier",
        "residual_multiplier", "attention_multiplier", "attn_logit_softcapping",
        "final_logit_softcapping", "clip_qkv", "query_pre_attn_scalar"})
    if (config.has(key)) config.at(key).refuse("is not supported; it changes what is computed");
  config.needs("is_causal", true);
}

// Other classes of a family (for classification, say) have another head on the same decoder.
void check_architecture(const JsonField& config, const Family& family) {
  if (config.has("architectures")) {
    const JsonField list = config.at("architectures");
    for (size_t i = 0; i < list.entries(); ++i)
      if (list.entry(i).text() != family.architecture)
        list.entry(i).refuse("\"", list.entry(i).text(), "\" is not supported for model_type \"",
                             family.model_type, "\"; supported: ", family.architecture);
  } else if (config.has("auto_map")) {
    config.at("auto_map")
        .refuse("code that comes with a model is not run; architectures has to name ",
                family.architecture);
  }
}

void read_sizes(const JsonField& config, const Family& family, ModelSpec& spec) {
  const auto& defaults = family.defaults;
  spec.vocab_size = config.at("vocab_size").integer();
  spec.hidden_size = config.at("hidden_size").integer();
  spec.intermediate_size = config.at("intermediate_size").integer();
  spec.num_hidden_layers = config.at("num_hidden_layers").integer();
  spec.num_attention_heads = config.at("num_attention_heads").integer();
  spec.num_key_value_heads = config.integer("num_key_value_heads", spec.num_attention_heads);
  const int64_t head_dim = defaults.head_dim > 0 || spec.num_attention_heads < 1
                               ? defaults.head_dim
                               : spec.hidden_size / spec.num_attention_heads;
  spec.head_dim = config.integer("head_dim", head_dim);
  spec.max_position_embeddings =
      config.integer("max_position_embeddings", defaults.max_position_embeddings);
  spec.rms_norm_eps = config.real("rms_norm_eps", defaults.rms_norm_eps);
  spec.tie_word_embeddings = config.flag("tie_word_embeddings", defaults.tie_word_embeddings);
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {.model_type = "llama",
       .architecture = "LlamaForCausalLM",
       .gguf = "llama",
       .gguf_pairs = true,
       .gguf_mlp_bias = true,
       .defaults = {},
       .read = read_llama,
       .write = write_llama},
      {.model_type = "qwen2",
       .architecture = "Qwen2ForCausalLM",
       .gguf = "qwen2",
       .gguf_pairs = false,
       .defaults = {.max_position_embeddings = 32768},
       .read = read_qwen2,
       .write = write_windows},
      {.model_type = "qwen3",
       .architecture = "Qwen3ForCausalLM",
       .gguf = "qwen3",
       .gguf_pairs = false,
       .qk_norm = kernels::QkNorm::head,
       .defaults = {.max_position_embeddings = 32768, .head_dim = 128},
       .read = read_qwen3,
       .write = write_qwen3},
      {.model_type = "mistral",
       .architecture = "MistralForCausalLM",
       .gguf = "llama",
       .gguf_pairs = true,
       .gguf_window = true,
       .defaults = {.max_position_embeddings = 131072},
       .read = read_mistral,
       .write = write_mistral},
      {.model_type = "smollm3",
       .architecture = "SmolLM3ForCausalLM",
       .gguf = "smollm3",
       .gguf_pairs = true,
       .defaults = {.max_position_embeddings = 32768,
                    .rope_theta = 2e6,
                    .tie_word_embeddings = true,
                    .no_rope_layer_interval = 4},
       .read = read_smollm3,
       .write = write_smollm3},
      {.model_type = "olmo2",
       .architecture = "Olmo2ForCausalLM",
       .gguf = "olmo2",
       .gguf_pairs = false,
       .qk_norm = kernels::QkNorm::all,
       .norm_after = true,
       .defaults = {.rms_norm_eps = 1e-5},
       .read = read_attention_bias,
       .write = write_attention_bias},
      {.model_type = "vernier",
       .architecture = "VernierForCausalLM",
       .gguf = "",
       .gguf_pairs = false,
       .defaults = {},
       .read = read_vernier,
       .write = write_vernier},
  };
  return all;
}

const Family& family_of(const std::string& model_type, const std::string& where) {
  std::vector<std::string> known;
  for (const Family& family : families()) {
    if (family.model_type == model_type) return family;
    known.push_back(family.model_type);
  }
  fail(where, ": model_type \"", model_type, "\" is not supported", suggestion(model_type, known),
       "; supported: ", join(known));
}

void set_family(const Family& family, ModelSpec& spec) {
  spec.model_type = family.model_type;
  spec.qk_norm = family.qk_norm;
  spec.norm_after = family.norm_after;
  const int64_t interval = family.defaults.no_rope_layer_interval;
  if (interval > 0) set_rope_layers(interval, spec);
}

ModelSpec spec_from_config_text(const std::string& text, const std::string& where) {
  const SortedJson parsed = parse_sorted_json(text, where);
  const JsonField config(parsed, where);
  if (!parsed.is_object()) fail(where, ": is not a JSON object");
  const Family& family = family_of(config.at("model_type").text(), where);
  check_architecture(config, family);
  config.needs("hidden_act", "silu");
  refuse_other_arithmetic(config);
  ModelSpec spec;
  read_sizes(config, family, spec);
  spec.check(where);  // before anything is sized by it
  set_family(family, spec);
  spec.rope = read_rope(config, family.defaults.rope_theta, spec.max_position_embeddings);
  spec.rotary_size = read_rotary_size(config, spec);
  family.read(config, spec);
  read_reach(config, spec);
  spec.check(where);
  spec.config_json = text;
  for (const char* key : {"dtype", "torch_dtype", "eos_token_id"})
    config.has(key);  // the weights say their type, and the tokenizer's reader takes the end tokens
  spec.unused_keys = config.unasked();
  return spec;
}

ModelSpec spec_from_config(const fs::path& path) {
  return spec_from_config_text(read_file(path), path.string());
}

std::string config_json(const ModelSpec& spec, const std::string& dtype, int32_t bos_id,
                        const std::vector<int32_t>& eos_ids, int32_t pad_id) {
  Json config;
  if (!spec.config_json.empty()) {
    config = parse_json(spec.config_json, "config.json");
  } else {
    const auto id = [](int32_t value) { return value < 0 ? Json(nullptr) : Json(value); };
    const Family& family = family_of(spec.model_type, "model");
    config = {{"architectures", {family.architecture}},
              {"model_type", spec.model_type},
              {"hidden_act", "silu"},
              {"vocab_size", spec.vocab_size},
              {"hidden_size", spec.hidden_size},
              {"intermediate_size", spec.intermediate_size},
              {"num_hidden_layers", spec.num_hidden_layers},
              {"num_attention_heads", spec.num_attention_heads},
              {"num_key_value_heads", spec.num_key_value_heads},
              {"head_dim", spec.head_dim},
              {"max_position_embeddings", spec.max_position_embeddings},
              {"rms_norm_eps", spec.rms_norm_eps},
              {"tie_word_embeddings", spec.tie_word_embeddings}};
    if (spec.rotary() != spec.head_dim)
      // Readers round the product down.
      config["partial_rotary_factor"] = std::nextafter(
          static_cast<double>(spec.rotary()) / static_cast<double>(spec.head_dim), 1.0);
    write_rope(spec.rope, config);
    family.write(spec, config);
    config["bos_token_id"] = id(bos_id);
    config["eos_token_id"] = eos_ids.size() == 1 ? id(eos_ids[0]) : Json(eos_ids);
    config["pad_token_id"] = id(pad_id);
  }
  if (spec.reach.window > 0)
    config[kReach] = {{"sinks", spec.reach.sinks}, {"window", spec.reach.window}};
  // transformers 5 reads `dtype`, older versions and vLLM the other one.
  config["dtype"] = dtype;
  config["torch_dtype"] = dtype;
  return config.dump(2) + "\n";
}

}  // namespace vernier
