// What config.json and the metadata of GGUF files say of a model, and what is refused by name.
#include <doctest/doctest.h>

#include <limits>

#include "core/model/family.h"
#include "core/model/gguf_model.h"
#include "tests/testing.h"

namespace vernier {
namespace {

Json config_of(const std::string& model_type, const Json& changes = Json::object()) {
  Json config = {
      {"model_type", model_type}, {"vocab_size", 3},        {"hidden_size", 64},
      {"intermediate_size", 96},  {"num_hidden_layers", 4}, {"num_attention_heads", 4},
      {"num_key_value_heads", 2}, {"head_dim", 16},         {"max_position_embeddings", 128}};
  config.update(changes);
  return config;
}

ModelSpec spec_of(const Json& config) {
  return spec_from_config_text(dump_json(config), "config.json");
}

std::string problem_of(const Json& config) {
  return testing::usage_error([&] { spec_of(config); });
}

void says(const std::string& message, const std::string& part) {
  CAPTURE(message);
  CAPTURE(part);
  CHECK(message.find(part) != std::string::npos);
}

// A GGUF file of llama.cpp: `keys` over those of a small model, and vectors of two values.
ModelSpec spec_of_gguf(const std::string& architecture, const GgufMetadata& keys,
                       const std::vector<std::string>& tensors = {},
                       const std::vector<float>& values = {1, 1}) {
  std::map<std::string, GgufFile::Value> all = {
      {"general.architecture", architecture},
      {"tokenizer.ggml.tokens", GgufFile::Array(std::vector<std::string>{"a", "b", "c"})}};
  for (const auto& [key, size] : {std::pair{"embedding_length", 16},
                                  {"feed_forward_length", 32},
                                  {"block_count", 4},
                                  {"attention.head_count", 4},
                                  {"context_length", 128}})
    all[cat(architecture, ".", key)] = int64_t{size};
  all[architecture + ".attention.layer_norm_rms_epsilon"] = 1e-5;
  for (const auto& [key, value] : keys) all[key] = value;
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "m.gguf";
  std::vector<GgufWriter::Planned> plan;
  for (const std::string& name : tensors)
    plan.push_back({name, {static_cast<int64_t>(values.size())}, DType::f32});
  GgufWriter writer(path, {all.begin(), all.end()}, plan);
  for (size_t i = 0; i < plan.size(); ++i) writer.write(values.data());
  writer.commit();
  return spec_from_gguf_model(GgufFile(path));
}

template <class... Arguments>
std::string gguf_problem(const Arguments&... arguments) {
  return testing::usage_error([&] { spec_of_gguf(arguments...); });
}

TEST_CASE("a window that is null is none, one that is left out is the class's") {
  for (const auto& [model_type, usual] :
       {std::pair{"qwen2", 4096}, {"qwen3", 4096}, {"smollm3", 0}, {"mistral", 4096}}) {
    CAPTURE(model_type);
    Json config = config_of(model_type, {{"use_sliding_window", true}, {"max_window_layers", 0}});
    CHECK(spec_of(config).window() == usual);
    config["sliding_window"] = nullptr;
    CHECK(spec_of(config).window() == 0);
    config["sliding_window"] = 7;
    CHECK(spec_of(config).window() == 7);
    config["sliding_window"] = 0;
    says(problem_of(config), "sliding_window: 0 is not above 0");
  }
}

TEST_CASE("a class that is not the causal decoder of its family is refused by name") {
  CHECK(spec_of(config_of("qwen2")).model_type == "qwen2");
  const auto with = [](const Json& architectures, const char* more = "pad_token_id") {
    return config_of("qwen2", {{"architectures", architectures}, {more, Json::object()}});
  };
  CHECK(problem_of(with({"Qwen2ForCausalLM"})).empty());
  CHECK(problem_of(with(nullptr)).empty());
  for (const char* other : {"Qwen2ForSequenceClassification", "Qwen2ForTokenClassification"})
    says(problem_of(with({other})),
         cat("config.json: architectures[0]: \"", other,
             "\" is not supported for model_type \"qwen2\"; supported: Qwen2ForCausalLM"));
  says(problem_of(with({"Qwen2ForCausalLM", "LlamaForCausalLM"})), "architectures[1]: \"Llama");
  says(problem_of(with("Qwen2ForCausalLM")), "architectures: \"Qwen2ForCausalLM\" is not a list");
  says(problem_of(with(nullptr, "auto_map")),
       "auto_map: code that comes with a model is not run; architectures has to name Qwen2ForC");
  CHECK(spec_of(with({"Qwen2ForCausalLM"}, "auto_map")).unused_keys ==
        std::vector<std::string>{"auto_map"});
}

TEST_CASE("attention that is not causal is refused") {
  says(problem_of(config_of("llama", {{"is_causal", false}})), "config.json: is_causal: false");
  CHECK(problem_of(config_of("llama", {{"is_causal", true}})).empty());
}

TEST_CASE("ids that only the tokenizer's files say are keys that nobody reads") {
  const Json ids = {{"bos_token_id", 1}, {"eos_token_id", 2}, {"pad_token_id", 0}};
  CHECK(spec_of(config_of("llama", ids)).unused_keys ==
        std::vector<std::string>{"bos_token_id", "pad_token_id"});
}

TEST_CASE("a stretch in GGUF is what llama.cpp takes it for") {
  const auto rope = [](const GgufMetadata& keys) { return spec_of_gguf("llama", keys).rope; };
  const auto is = [](const RopeSpec& found, const char* kind, double factor) {
    CHECK(found.kind == kind);
    CHECK(found.factor == factor);
  };
  const std::string type = "llama.rope.scaling.type";
  is(rope({}), "default", 1);
  is(rope({{"llama.rope.scaling.factor", 4.0}}), "linear", 4);
  is(rope({{"llama.rope.scale_linear", 2.0}}), "linear", 2);
  is(rope({{"llama.rope.scaling.factor", 4.0}, {"llama.rope.scale_linear", 2.0}}), "linear", 4);
  is(rope({{type, "linear"}, {"llama.rope.scale_linear", 2.0}}), "linear", 2);
  is(rope({{type, "none"}, {"llama.rope.scaling.factor", 4.0}}), "default", 1);
  is(rope({{type, "linear"}}), "default", 1);
  is(rope({{type, "linear"}, {"llama.rope.scaling.factor", 0.0}}), "default", 1);
  is(rope({{type, "yarn"},
           {"llama.rope.scaling.factor", 4.0},
           {"llama.rope.scaling.original_context_length", int64_t{32}}}),
     "yarn", 4);
}

TEST_CASE("RoPE values that the formulas cannot take are refused by the key of their file") {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto gguf = [](const char* key, const GgufFile::Value& value, const char* part,
                       GgufMetadata keys = {}) {
    keys.emplace_back(cat("llama.", key), value);
    says(gguf_problem("llama", keys), part);
  };
  gguf("rope.freq_base", infinity, "llama.rope.freq_base: inf is not finite");
  gguf("rope.freq_base", 0.0, "llama.rope.freq_base: 0 is not above 0");
  gguf("rope.scaling.factor", infinity, "llama.rope.scaling.factor: inf is not finite");
  gguf("rope.scaling.factor", -2.0, "llama.rope.scaling.factor: -2 is not above 0");
  gguf("rope.scale_linear", -2.0, "llama.rope.scale_linear: -2 is not above 0");
  const GgufMetadata yarn = {{"llama.rope.scaling.type", "yarn"},
                             {"llama.rope.scaling.factor", 4.0}};
  constexpr const char* kOriginal = "rope.scaling.original_context_length";
  for (const int64_t length : {-1, 0, 1})
    gguf(kOriginal, length, cat("llama.", kOriginal, ": ", length, " is not above 1").c_str(),
         yarn);
  GgufMetadata flat = yarn;
  flat.emplace_back(cat("llama.", kOriginal), int64_t{32});
  gguf("rope.freq_base", 1.0, "llama.rope.freq_base: 1 is not above 1", flat);

  const auto factors = [](float value, int64_t length) {
    return gguf_problem("llama", GgufMetadata{{"llama.context_length", length}},
                        std::vector<std::string>{kRopeFactors}, std::vector<float>{1, value});
  };
  CHECK(factors(2, 128).empty());
  says(factors(0, 128), "tensor 'rope_freqs.weight': 0 is not above 0");
  says(factors(std::numeric_limits<float>::infinity(), 128), "'rope_freqs.weight': inf is not fin");
  says(factors(2, 1), "llama.context_length: 1 is not above 1");

  const auto config = [](const Json& rope) {
    return problem_of(config_of("llama", {{"rope_parameters", rope}}));
  };
  says(config({{"rope_type", "linear"}, {"factor", 0}}),
       "rope_parameters.factor: 0 is not above 0");
  says(config({{"rope_type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 0}}),
       "rope_parameters.original_max_position_embeddings: 0 is not above 1");
  says(config({{"rope_type", "yarn"}, {"factor", 4}, {"beta_fast", 0}}), "beta_fast: 0 is not abo");
  says(config({{"rope_type", "yarn"}, {"factor", 4}, {"attention_factor", 0}}),
       "attention_factor: 0 is not above 0");
  says(config({{"rope_type", "llama3"},
               {"factor", 8},
               {"low_freq_factor", 4},
               {"high_freq_factor", 4}}),
       "rope_parameters.high_freq_factor: 4 is not above low_freq_factor = 4");
  says(problem_of(config_of("llama", {{"rope_theta", 0}})),
       "config.json: rope_theta: 0 is not abo");
}

TEST_CASE("biases of a GGUF file that its family's config.json cannot say are refused by name") {
  const std::string q = "blk.0.attn_q.bias", o = "blk.0.attn_output.bias",
                    mlp = "blk.0.ffn_gate.bias";
  using Names = std::vector<std::string>;
  const auto with = [](const char* architecture, const Names& names,
                       const GgufMetadata& keys = {}) {
    return gguf_problem(architecture, keys, names);
  };
  for (const Names& names : {Names{}, Names{q, o}, Names{mlp}, Names{q, o, mlp}}) {
    ModelSpec spec = spec_of_gguf("llama", {}, names);
    const ModelSpec again = spec_from_config_text(config_json(spec, "float32", -1, {2}, -1), "c");
    CHECK(again.qkv_bias == spec.qkv_bias);
    CHECK(again.output_bias == spec.output_bias);
    CHECK(again.mlp_bias == spec.mlp_bias);
  }
  says(with("llama", {q}),
       "tensor 'blk.0.attn_output.bias' is missing, and config.json of a llama");
  says(with("llama", {o}), "tensor 'blk.0.attn_output.bias' is here");
  CHECK(with("qwen2", {q}).empty());
  says(with("qwen2", {}),
       "tensor 'blk.0.attn_q.bias' is missing, and config.json of a qwen2 model");
  says(with("qwen2", {q, o}), "tensor 'blk.0.attn_output.bias' is here");
  says(with("qwen3", {mlp}), "tensor 'blk.0.ffn_gate.bias' is here, and config.json of a qwen3");
  says(with("llama", {q, o}, {{"llama.attention.sliding_window", int64_t{9}}}),
       "tensor 'blk.0.attn_q.bias' is here, and config.json of a mistral model");
}

TEST_CASE("a window in GGUF is read, where a family of the architecture has it in all layers") {
  const auto keys = [](const char* architecture, int64_t window) {
    return GgufMetadata{{cat(architecture, ".attention.sliding_window"), window}};
  };
  const ModelSpec spec = spec_of_gguf("llama", keys("llama", 9));
  CHECK(spec.model_type == "mistral");
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i) CHECK(spec.layer(i).window == 9);
  CHECK(spec_of_gguf("llama", keys("llama", 0)).model_type == "llama");
  says(gguf_problem("llama", keys("llama", -9)), "llama.attention.sliding_window = -9 is below 0");
  says(gguf_problem("olmo2", keys("olmo2", 9)),
       "olmo2.attention.sliding_window = 9 is not supported for this architecture");
  says(gguf_problem("lama", keys("lama", 9)), "architecture 'lama' is not supported; supported: l");
}

TEST_CASE("what llama.cpp would compute otherwise is not written as GGUF") {
  const auto problem = [](const char* model_type, const Json& changes) {
    const ModelSpec spec = spec_of(config_of(model_type, changes));
    return testing::usage_error([&] { gguf_metadata(spec, "m.gguf"); });
  };
  says(problem("mistral", {{"sliding_window", 127}}),
       "m.gguf: GGUF cannot say a window of 127 tokens in layers of a mistral model");
  CHECK(problem("mistral", {{"sliding_window", 128}}).empty());  // no sequence is longer
  CHECK(problem("mistral", {{"sliding_window", nullptr}}).empty());
  const Json upper = {
      {"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 2}};
  for (const char* family : {"qwen2", "qwen3"})
    says(problem(family, upper), cat("cannot say a window of 8 tokens in layers of a ", family));
  for (const Family& family : families())
    says(problem(family.model_type.c_str(), {{"partial_rotary_factor", 0.5}}),
         family.gguf.empty() ? "GGUF cannot say models of type vernier"
                             : "GGUF cannot say that 8 of the 16 dimensions of a head rotate");
  says(problem("smollm3", {{"no_rope_layer_interval", 2}}), "that layer 1 has no RoPE");
  says(problem("smollm3", {{"no_rope_layers", {1, 1, 1, 1}}}), "that layer 3 has RoPE");
  says(problem("smollm3", {{"mlp_bias", true}}), "biases in the MLP of a smollm3 model");
  CHECK(problem("llama", {{"mlp_bias", true}}).empty());
  says(problem("llama", {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}}}),
       "RoPE kind \"dynamic\"");
}

TEST_CASE("keys of a GGUF file that change what is computed are refused, others are listed") {
  for (const auto& [key, value] : GgufMetadata{{"llama.attention.causal", false},
                                               {"llama.attn_logit_softcapping", 50.0},
                                               {"llama.expert_count", int64_t{8}},
                                               {"llama.attention.clamp_kqv", 1.0},
                                               {"llama.logit_scale", 0.5},
                                               {"llama.attention.scale", 0.1}})
    says(gguf_problem("llama", GgufMetadata{{key, value}}),
         cat(key, " is not supported; it changes what is computed"));
  says(gguf_problem("llama", GgufMetadata{{"llama.attention.key_length", int64_t{4}},
                                          {"llama.attention.value_length", int64_t{8}}}),
       "llama.attention.value_length is not supported");
  const ModelSpec spec = spec_of_gguf("llama", {{"llama.attention.causal", true},
                                                {"llama.expert_count", int64_t{0}},
                                                {"llama.mystery", int64_t{7}},
                                                {"general.name", "x"}});
  CHECK(spec.unused_keys == std::vector<std::string>{"llama.mystery"});
}

TEST_CASE("a GGUF file that says two things of one model is refused") {
  const ModelSpec spec = spec_of(config_of("llama", {{"rope_theta", 5e5}}));
  const GgufMetadata keys = gguf_metadata(spec, "m.gguf");
  CHECK(spec_of_gguf("llama", keys).rope.theta == 5e5);
  const auto changed = [&](const char* key, const GgufFile::Value& value) {
    GgufMetadata other = keys;
    for (auto& [name, old] : other)
      if (name == key) old = value;
    return gguf_problem("llama", other);
  };
  says(changed("llama.rope.freq_base", 1e4),
       "llama.rope.freq_base is not what vernier.file.config.json in the same file says");
  says(changed("llama.rope.freq_base", std::numeric_limits<double>::quiet_NaN()), "freq_base is");
  says(changed("llama.block_count", int64_t{5}), "llama.block_count is not what");
  says(changed("general.architecture", "gemma"), "general.architecture is not what");
}

// The families are rows of a table: what GGUF has no key for comes from there.
TEST_CASE("every family is the same model by llama.cpp's keys alone") {
  for (const Family& family : families()) {
    if (family.gguf.empty()) continue;
    CAPTURE(family.model_type);
    ModelSpec spec =
        spec_of(config_of(family.model_type, {{"sliding_window", nullptr}, {"rope_theta", 5e5}}));
    spec.config_json.clear();
    const ModelSpec again = spec_of_gguf(
        family.gguf, gguf_metadata(spec, "m.gguf"),
        spec.qkv_bias ? std::vector<std::string>{"blk.0.attn_q.bias"} : std::vector<std::string>{});
    CHECK(again.model_type == (family.model_type == "mistral" ? "llama" : family.model_type));
    CHECK(spec.qk_norm == family.qk_norm);
    CHECK(again.qk_norm == family.qk_norm);
    CHECK(spec.norm_after == (family.model_type == "olmo2"));
    CHECK(again.norm_after == spec.norm_after);
    CHECK(again.qkv_bias == spec.qkv_bias);
    CHECK(again.rope.theta == spec.rope.theta);
    for (int64_t i = 0; i < spec.num_hidden_layers; ++i) {
      CHECK(again.layer(i).rope == (family.model_type != "smollm3" || i != 3));
      CHECK(again.layer(i).rope == spec.layer(i).rope);
      CHECK(again.layer(i).window == 0);
    }
  }
}

}  // namespace
}  // namespace vernier
