#include "core/model/spec.h"

#include <algorithm>

#include "core/base/errors.h"

namespace vernier {

kernels::AttentionShape ModelSpec::attention(int64_t index) const {
  const LayerSpec how = layer(index);
  return {.heads = num_attention_heads,
          .kv_heads = num_key_value_heads,
          .head_size = head_dim,
          .rotary_size = how.rope && positions == Positions::rope ? rotary() : 0,
          .window = reach.window > 0 ? reach.window : how.window,
          .sinks = reach.sinks,
          .alibi = positions == Positions::alibi,
          .log_length = attn_logn};
}

void Reach::bind(Binder& binder) {
  binder.number(
      "attention_window", window, 0, 1 << 30,
      "tokens that a token sees, itself the last, in training and rollout alike; 0: as the "
      "model has it");
  binder.number("attention_sinks", sinks, 0, kernels::kKeyBlock,
                "first tokens of a sequence that all others see too, from behind the window as if "
                "it were the window away (LM-Infinite)");
  binder.only_if("attention_sinks", window > 0, "attention_window = 0");
}

std::string ModelSpec::cpu_only() const {
  if (positions == Positions::alibi) return "ALiBi";
  if (positions == Positions::absolute) return "positions \"absolute\"";
  if (attn_logn) return "attn_logn";
  return reach.sinks > 0 ? "attention_sinks" : "";
}

int64_t ModelSpec::window() const {
  int64_t widest = 0;
  for (const LayerSpec& layer : layers) widest = std::max(widest, layer.window);
  return widest;
}

int64_t ModelSpec::longest() const {
  return max_length > 0 ? max_length : longest_sequence(rope, max_position_embeddings);
}

void ModelSpec::limit_length(int64_t length, const std::string& where) {
  max_length = 0;
  const int64_t most = longest();
  if (length > most && reach.window == 0)
    fail(where, ": max_length = ", length, " is beyond the ", most,
         " positions that the model was made for (RoPE kind \"", rope.kind, "\")",
         rope.kind == "dynamic"
             ? "; past them \"dynamic\" changes its frequencies as a sequence grows, and cached "
               "keys "
               "would keep the old ones, so that rollout and trainer would disagree"
             : "");
  max_length = length;
}

void ModelSpec::check(const std::string& where) const {
  const auto within = [&](const char* key, int64_t value, int64_t most) {
    if (value < 1 || value > most) fail(where, ": ", key, " = ", value, " is not 1 to ", most);
  };
  within("vocab_size", vocab_size, 1 << 22);
  within("hidden_size", hidden_size, 1 << 17);
  within("intermediate_size", intermediate_size, 1 << 19);
  within("num_hidden_layers", num_hidden_layers, 1024);
  within("num_attention_heads", num_attention_heads, 1024);
  within("num_key_value_heads", num_key_value_heads, 1024);
  within("head_dim", head_dim, 1024);
  within("max_position_embeddings", max_position_embeddings, 1 << 24);
  if (num_attention_heads % num_key_value_heads != 0)
    fail(where, ": num_attention_heads = ", num_attention_heads,
         " is not a multiple of num_key_value_heads = ", num_key_value_heads);
  if (reach.window > 0) {
    for (const LayerSpec& layer : layers)
      if (layer.window > 0)
        fail(where, ": attention_window = ", reach.window,
             " for a model whose layers have windows of their own (", layer.window, " tokens)");
    if (reach.sinks > 0 && (positions == Positions::alibi || rope.kind == "dynamic" ||
                            rope.kind == "yarn" || rope.kind == "longrope"))
      fail(where, ": attention_sinks = ", reach.sinks, " is not built for ",
           positions == Positions::alibi ? "ALiBi" : cat("RoPE kind \"", rope.kind, "\""));
  }
  if (head_dim % 2 != 0) fail(where, ": head_dim = ", head_dim, " is odd; RoPE rotates pairs");
  if (!(rms_norm_eps > 0)) fail(where, ": rms_norm_eps = ", rms_norm_eps, " is not above 0");
  if (rope.kind == "longrope")
    for (const auto* list : {&rope.short_factor, &rope.long_factor})
      if (static_cast<int64_t>(list->size()) != rotary() / 2)
        fail(where, ": short_factor and long_factor have ", rope.short_factor.size(), " and ",
             rope.long_factor.size(), " entries; ", rotary() / 2, " pairs rotate");
}

const std::vector<std::string>& position_names() {
  static const std::vector<std::string> names = {"rope", "none", "alibi", "absolute"};
  return names;
}

Positions positions_of(const std::string& name) {
  const auto& names = position_names();
  const auto found = std::find(names.begin(), names.end(), name);
  ensure(found != names.end(), "a name of positions");
  return static_cast<Positions>(found - names.begin());
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
  binder.number("rope_theta", spec.rope.theta, 1.0, 1e12, "RoPE base");
  std::string positions = "rope";
  binder.choice("positions", positions, position_names(), "how the model knows where a token is");
  spec.positions = positions_of(positions);
  binder.only_if("rope_theta", spec.positions == Positions::rope, "positions");
  binder.flag("attn_logn", spec.attn_logn,
              "scores of attention times ln n, n the tokens that are seen");
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
