// What config.json says of a model, and what is refused by name.
#include <doctest/doctest.h>

#include "core/model/family.h"
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

TEST_CASE("ids that only the tokenizer's files say are keys that nobody reads") {
  const Json ids = {{"bos_token_id", 1}, {"eos_token_id", 2}, {"pad_token_id", 0}};
  CHECK(spec_of(config_of("llama", ids)).unused_keys ==
        std::vector<std::string>{"bos_token_id", "pad_token_id"});
}

}  // namespace
}  // namespace vernier
