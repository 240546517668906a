#include "core/model/spec.h"

#include <set>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

int64_t require_integer(const Json& config, const char* key, const std::string& where) {
  if (!config.contains(key)) fail(where, ": key '", key, "' is missing");
  if (!config[key].is_number_integer())
    fail(where, ": ", key, ": ", dump_json(config[key]), " is not an integer");
  return config[key].get<int64_t>();
}

// `value` where the key is missing or null, else what is there.
int64_t integer_or(const Json& config, const char* key, int64_t value, const std::string& where) {
  return config.contains(key) && !config[key].is_null() ? require_integer(config, key, where)
                                                        : value;
}

double real_or(const Json& config, const char* key, double value, const std::string& where) {
  if (!config.contains(key) || config[key].is_null()) return value;
  if (!config[key].is_number())
    fail(where, ": ", key, ": ", dump_json(config[key]), " is not a number");
  return config[key].get<double>();
}

// A key that must be absent or hold the one value that is built.
void require_default(const Json& config, const char* key, const Json& built,
                     const std::string& where) {
  if (!config.contains(key) || config[key].is_null() || config[key] == built) return;
  fail(where, ": ", key, ": ", dump_json(config[key]),
       " is not supported; supported: ", dump_json(built));
}

// The RoPE base, from the old place or the new one; any scaling is refused by its name.
double rope_theta(const Json& config, const std::string& where) {
  double theta = real_or(config, "rope_theta", 10000, where);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.contains(key) || config[key].is_null()) continue;
    const Json& rope = config[key];
    if (!rope.is_object()) fail(where, ": ", key, ": ", dump_json(rope), " is not an object");
    for (const char* kind_key : {"rope_type", "type"})
      if (rope.contains(kind_key) && rope[kind_key] != "default")
        fail(where, ": ", key, ": RoPE kind ", dump_json(rope[kind_key]),
             " is not supported; supported: \"default\"");
    theta = real_or(rope, "rope_theta", theta, where);
  }
  return theta;
}

}  // namespace

void ModelSpec::check(const std::string& where) const {
  const auto positive = [&](const char* key, int64_t value, int64_t most) {
    if (value < 1 || value > most) fail(where, ": ", key, " = ", value, " is not 1 to ", most);
  };
  positive("vocab_size", vocab_size, 1 << 22);
  positive("hidden_size", hidden_size, 1 << 17);
  positive("intermediate_size", intermediate_size, 1 << 19);
  positive("num_hidden_layers", num_hidden_layers, 1024);
  positive("num_attention_heads", num_attention_heads, 1024);
  positive("num_key_value_heads", num_key_value_heads, 1024);
  positive("head_dim", head_dim, 1024);
  positive("max_position_embeddings", max_position_embeddings, 1 << 24);
  if (num_attention_heads % num_key_value_heads != 0)
    fail(where, ": num_attention_heads = ", num_attention_heads,
         " is not a multiple of num_key_value_heads = ", num_key_value_heads);
  if (head_dim % 2 != 0) fail(where, ": head_dim = ", head_dim, " is odd; RoPE rotates pairs");
  if (!(rope_theta > 0)) fail(where, ": rope_theta = ", rope_theta, " is not above 0");
  if (!(rms_norm_eps > 0)) fail(where, ": rms_norm_eps = ", rms_norm_eps, " is not above 0");
}

ModelSpec ModelSpec::from_config_json(const fs::path& path) {
  const std::string where = path.string();
  const Json config = parse_json(read_file(path), where);
  if (!config.is_object()) fail(where, ": is not a JSON object");
  const Json model_type = config.value("model_type", Json("none"));
  if (model_type != "llama")
    fail(where, ": model_type ", dump_json(model_type), " is not supported; supported: \"llama\"");
  require_default(config, "hidden_act", "silu", where);
  require_default(config, "attention_bias", false, where);
  require_default(config, "mlp_bias", false, where);
  require_default(config, "partial_rotary_factor", 1.0, where);
  ModelSpec spec;
  spec.vocab_size = require_integer(config, "vocab_size", where);
  spec.hidden_size = require_integer(config, "hidden_size", where);
  spec.intermediate_size = require_integer(config, "intermediate_size", where);
  spec.num_hidden_layers = require_integer(config, "num_hidden_layers", where);
  spec.num_attention_heads = require_integer(config, "num_attention_heads", where);
  if (spec.num_attention_heads < 1) spec.check(where);
  spec.num_key_value_heads =
      integer_or(config, "num_key_value_heads", spec.num_attention_heads, where);
  spec.head_dim =
      integer_or(config, "head_dim", spec.hidden_size / spec.num_attention_heads, where);
  spec.max_position_embeddings = integer_or(config, "max_position_embeddings", 2048, where);
  spec.rope_theta = vernier::rope_theta(config, where);
  spec.rms_norm_eps = real_or(config, "rms_norm_eps", 1e-6, where);
  if (config.contains("tie_word_embeddings")) {
    if (!config["tie_word_embeddings"].is_boolean())
      fail(where, ": tie_word_embeddings: ", dump_json(config["tie_word_embeddings"]),
           " is not true or false");
    spec.tie_word_embeddings = config["tie_word_embeddings"].get<bool>();
  }
  spec.check(where);
  return spec;
}

ModelSpec ModelSpec::from_gguf(const GgufFile& file) {
  const std::string& architecture = file.text("general.architecture");
  if (architecture != "llama")
    fail(file.path(), ": architecture '", architecture, "' is not supported; supported: llama");
  for (const char* key : {"llama.rope.scaling.type", "llama.rope.scaling.factor"})
    if (file.has(key)) fail(file.path(), ": ", key, ": scaled RoPE is not supported");
  ModelSpec spec;
  spec.vocab_size = static_cast<int64_t>(file.texts("tokenizer.ggml.tokens").size());
  spec.hidden_size = file.integer("llama.embedding_length");
  spec.intermediate_size = file.integer("llama.feed_forward_length");
  spec.num_hidden_layers = file.integer("llama.block_count");
  spec.num_attention_heads = file.integer("llama.attention.head_count");
  spec.num_key_value_heads = file.integer("llama.attention.head_count_kv");
  if (spec.num_attention_heads < 1) spec.check(file.path());
  spec.head_dim = file.has("llama.attention.key_length")
                      ? file.integer("llama.attention.key_length")
                      : spec.hidden_size / spec.num_attention_heads;
  spec.max_position_embeddings = file.integer("llama.context_length");
  spec.rope_theta = file.has("llama.rope.freq_base") ? file.real("llama.rope.freq_base") : 10000;
  spec.rms_norm_eps = file.real("llama.attention.layer_norm_rms_epsilon");
  spec.tie_word_embeddings = file.find("output.weight") == nullptr;
  if (file.has("llama.rope.dimension_count") &&
      file.integer("llama.rope.dimension_count") != spec.head_dim)
    fail(file.path(), ": llama.rope.dimension_count: partial rotation is not supported");
  spec.check(file.path());
  return spec;
}

std::string ModelSpec::config_json(int32_t bos_id, int32_t eos_id, int32_t pad_id) const {
  const auto id = [](int32_t value) { return value < 0 ? Json(nullptr) : Json(value); };
  const Json config = {{"architectures", {"LlamaForCausalLM"}},
                       {"model_type", "llama"},
                       {"hidden_act", "silu"},
                       {"vocab_size", vocab_size},
                       {"hidden_size", hidden_size},
                       {"intermediate_size", intermediate_size},
                       {"num_hidden_layers", num_hidden_layers},
                       {"num_attention_heads", num_attention_heads},
                       {"num_key_value_heads", num_key_value_heads},
                       {"head_dim", head_dim},
                       {"max_position_embeddings", max_position_embeddings},
                       {"rope_theta", rope_theta},
                       {"rms_norm_eps", rms_norm_eps},
                       {"tie_word_embeddings", tie_word_embeddings},
                       {"attention_bias", false},
                       {"mlp_bias", false},
                       {"bos_token_id", id(bos_id)},
                       {"eos_token_id", id(eos_id)},
                       {"pad_token_id", id(pad_id)},
                       {"dtype", "float32"},
                       {"torch_dtype", "float32"}};
  return config.dump(2) + "\n";
}

void NewModel::bind(Binder& binder) {
  spec.hidden_size = 64;
  spec.intermediate_size = 176;
  spec.num_hidden_layers = 2;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 4;
  spec.max_position_embeddings = 160;
  binder.number("hidden_size", spec.hidden_size, 1, 1 << 17, "width of the residual stream");
  binder.number("intermediate_size", spec.intermediate_size, 1, 1 << 19, "width of SwiGLU");
  binder.number("num_hidden_layers", spec.num_hidden_layers, 1, 1024, "layers");
  binder.number("num_attention_heads", spec.num_attention_heads, 1, 1024, "query heads");
  binder.number("num_key_value_heads", spec.num_key_value_heads, 1, 1024, "key-value heads");
  binder.number("head_dim", spec.head_dim, 0, 1024,
                "size of a head; 0: hidden_size / num_attention_heads");
  binder.number("max_position_embeddings", spec.max_position_embeddings, 1, 1 << 24,
                "longest sequence in tokens, prompt and response");
  binder.number("rope_theta", spec.rope_theta, 1.0, 1e12, "RoPE base");
  binder.number("rms_norm_eps", spec.rms_norm_eps, 1e-12, 1.0, "added to the mean square");
  binder.flag("tie_word_embeddings", spec.tie_word_embeddings, "one matrix for embedding and head");
  binder.text("characters", characters, "the vocabulary, one token a character");
  binder.text("end_token", end_token, "the character that ends a response");
  binder.number("embedding_std", embedding_std, 0.0, 10.0, "standard deviation of the embedding");
  binder.number("residual_scale", residual_scale, 0.0, 10.0,
                "output projections start at this / sqrt(2 layers) of the usual 1/sqrt(fan in)");
  if (spec.head_dim == 0 && spec.hidden_size % spec.num_attention_heads != 0)
    binder.error("hidden_size",
                 cat(spec.hidden_size,
                     " is not a multiple of num_attention_heads = ", spec.num_attention_heads));
  if (spec.head_dim == 0) spec.head_dim = spec.hidden_size / spec.num_attention_heads;
}

}  // namespace vernier
