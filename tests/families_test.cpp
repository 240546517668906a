// Models of every family against `transformers`: small ones with every RoPE kind and the options in
// odd combinations, through the files that a user has. tools/golden_models.py makes the answers.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <numeric>

#include "core/kernels/device.h"
#include "core/model/family.h"
#include "core/model/model.h"
#include "core/model/rope.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::golden;
using testing::worst_gap;

uint64_t name_hash(const std::string& name) {  // FNV-1a
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

// As formula_weights() of tools/golden_models.py.
std::vector<float> formula_weights(const std::string& name, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  std::vector<float> out;
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  for (int64_t i = 1; i <= count; ++i) {
    uint64_t z = name_hash(name) + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z = z ^ (z >> 31);
    const double unit = static_cast<double>(z >> 40) / (1 << 23) - 1;
    if (name.ends_with("norm.weight"))
      out.push_back(static_cast<float>(1 + unit / 2));
    else if (name.ends_with("bias") || has("embed"))
      out.push_back(static_cast<float>(unit));
    else
      out.push_back(static_cast<float>(unit * (has("q_proj") || has("k_proj") ? 0.5 : 0.25)));
  }
  return out;
}

using Plan = std::vector<SafetensorsWriter::Planned>;

void write_weights(const fs::path& path, const Plan& plan) {
  SafetensorsWriter writer(path, plan, {{"format", "pt"}});
  for (const auto& planned : plan)
    writer.write(formula_weights(planned.name, planned.shape).data());
  writer.commit();
}

// Bytes for letters and digits, two merges, an end token: smaller than the models' vocabulary.
std::string small_tokenizer() {
  Json vocabulary = Json::object();
  for (const char c : std::string("0123456789abcdefghijklmnopqrstuvwxyz.=+"))
    vocabulary[std::string(1, c)] = vocabulary.size();
  for (const char* token : {"ab", "abc"}) vocabulary[token] = vocabulary.size();
  const Json end = {{"id", vocabulary.size()}, {"content", "<|end|>"}, {"single_word", false},
                    {"lstrip", false},         {"rstrip", false},      {"normalized", false},
                    {"special", true}};
  return dump_json(
      {{"added_tokens", {end}},
       {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
       {"decoder", {{"type", "ByteLevel"}}},
       {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", "ab c"}}}}});
}

// The folder of one golden case, its weights in `shards` files.
void write_case(const Json& one, const fs::path& folder, DType dtype = DType::f32,
                size_t shards = 1) {
  write_file(folder / "config.json", one.at("config").dump(2));
  write_file(folder / "tokenizer.json", small_tokenizer());
  write_file(folder / "tokenizer_config.json", R"({"eos_token": "<|end|>"})");
  Plan all;
  for (const auto& [name, shape] : one.at("tensors").items())
    all.push_back({name, shape.get<std::vector<int64_t>>(), dtype});
  if (shards == 1) return write_weights(folder / "model.safetensors", all);
  Json::object_t map;
  for (size_t s = 0; s < shards; ++s) {
    Plan part;
    for (size_t i = s; i < all.size(); i += shards) part.push_back(all[i]);
    const std::string file = cat("model-0000", s + 1, "-of-0000", shards, ".safetensors");
    write_weights(folder / file, part);
    for (const auto& planned : part) map.emplace_back(planned.name, file);
  }
  write_file(folder / "model.safetensors.index.json", Json{{"weight_map", map}}.dump());
}

using Ids = std::vector<int32_t>;

std::vector<double> logprobs_of(Decoder& decoder, const at::Tensor& hidden, const Ids& ids) {
  const at::Tensor found =
      decoder.logprobs(hidden, {ids.begin() + 1, ids.end()}, 1.0).logprob.cpu();
  return {found.const_data_ptr<float>(), found.const_data_ptr<float>() + found.numel()};
}

at::Tensor full_pass(Decoder& decoder, const Ids& ids) {
  PackedTokens tokens;
  tokens.add({ids.begin(), ids.end() - 1});
  return decoder.hidden(tokens);
}

DType all_f32(const NamedSlice&) { return DType::f32; }

// A first chunk, then one token after the other.
at::Tensor cached_pass(Decoder& decoder, const Ids& ids) {
  const auto count = std::ssize(ids) - 1;
  KvCache cache(decoder.spec(), count / kernels::kKeyBlock + 1);
  std::vector<int32_t> pages(static_cast<size_t>(cache.pages()));
  std::iota(pages.begin(), pages.end(), 0);
  std::vector<at::Tensor> rows;
  for (int64_t first = 0; first < count;) {
    const int64_t size = first == 0 ? std::min<int64_t>(5, count) : 1;
    CachedTokens pass;
    pass.add({ids.data() + first, static_cast<size_t>(size)}, {}, first, pages);
    rows.push_back(decoder.cached(pass, cache));
    first += size;
  }
  return at::cat(rows);
}

TEST_CASE("every family and RoPE kind has the log-probabilities of transformers") {
  const testing::TemporaryFolder folder;
  const at::NoGradGuard no_grad;
  const Json cases = golden("model/families.json");
  REQUIRE(cases.at("cases").size() >= 50);
  for (const Json& one : cases.at("cases")) {
    CAPTURE(one.at("name").get<std::string>());
    write_case(one, folder.path());
    for (const Json& group : one.at("groups")) {
      const Model model =
          load_model(folder.path().string(), {.max_length = group.at("max_length").get<int64_t>()});
      for (const Json& sequence : group.at("sequences")) {
        const Ids ids = sequence.at("ids").get<Ids>();
        CAPTURE(ids.size());
        const auto want = sequence.at("logprobs").get<std::vector<double>>();
        const at::Tensor full = full_pass(*model.decoder, ids);
        CHECK(worst_gap(logprobs_of(*model.decoder, full, ids), want) < 2e-4);
        CHECK(at::equal(full, cached_pass(*model.decoder, ids)));
      }
    }
  }
}

TEST_CASE("every family on a GPU has the log-probabilities of transformers" *
          doctest::skip(!kernels::device::built() || !at::hasCUDA())) {
  const testing::TemporaryFolder folder;
  const at::NoGradGuard no_grad;
  const Json cases = golden("model/families.json");
  for (const Json& one : cases.at("cases")) {
    CAPTURE(one.at("name").get<std::string>());
    write_case(one, folder.path());
    for (const Json& group : one.at("groups")) {
      const Model model =
          load_model(folder.path().string(),
                     {.max_length = group.at("max_length").get<int64_t>(), .device = at::kCUDA});
      for (const Json& sequence : group.at("sequences")) {
        const Ids ids = sequence.at("ids").get<Ids>();
        const at::Tensor full = full_pass(*model.decoder, ids);
        CHECK(worst_gap(logprobs_of(*model.decoder, full, ids),
                        sequence.at("logprobs").get<std::vector<double>>()) < 2e-4);
      }
    }
  }
}

const Json& case_named(const Json& cases, const std::string& name) {
  for (const Json& one : cases.at("cases"))
    if (one.at("name") == name) return one;
  throw BugError(cat("no golden case ", name));
}

TEST_CASE("sharded folders and half-precision weights load as what they are") {
  const testing::TemporaryFolder whole, sharded;
  const Json cases = golden("model/families.json");
  const Json& one = case_named(cases, "qwen2-yarn");
  write_case(one, whole.path());
  write_case(one, sharded.path(), DType::f32, 3);
  const Model a = load_model(whole.path().string());
  const Model b = load_model(sharded.path().string());
  CHECK(at::equal(a.decoder->weights(), b.decoder->weights()));
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const testing::TemporaryFolder half;
    write_case(one, half.path(), dtype);
    const Model c = load_model(half.path().string());
    for (const NamedSlice& slice : a.decoder->slices()) {
      const at::Tensor rounded = a.decoder->slice(slice)
                                     .to(dtype == DType::bf16 ? at::kBFloat16 : at::kHalf)
                                     .to(at::kFloat);
      CHECK(at::equal(c.decoder->slice(slice), rounded));
    }
  }
}

// What `transformers` sees of a saved folder is what it saw of the first: the same configuration
// but for the name of the type, and the same bits under the same names.
TEST_CASE("a tied head may be stored too, if it is the same") {
  const testing::TemporaryFolder folder;
  const Json one = case_named(golden("model/families.json"), "qwen2-default");
  REQUIRE(!one["config"]["tie_word_embeddings"].get<bool>());
  write_case(one, folder.path());
  const std::string path = folder.path().string();
  Model model = load_model(path);
  const auto tie = [&] {
    Json config = parse_json(read_file(folder.path() / "config.json"), "config.json");
    config["tie_word_embeddings"] = true;
    write_file(folder.path() / "config.json", config.dump());
  };
  tie();
  CHECK(testing::usage_error([&] {
          load_model(path);
        }).find("tensor 'lm_head.weight' is not model.embed_tokens.weight") != std::string::npos);
  for (Parameter& parameter : model.decoder->parameters())
    if (parameter.name == "head") parameter.value.copy_(model.decoder->parameters()[0].value);
  save_model(*model.decoder, *model.tokenizer, folder.path());
  tie();
  CHECK(load_model(path).decoder->spec().tie_word_embeddings);
}

TEST_CASE("a saved folder is the folder it came from, whatever the family, in shards too") {
  const Json cases = golden("model/families.json");
  for (const Json& one : cases.at("cases")) {
    CAPTURE(one.at("name").get<std::string>());
    const testing::TemporaryFolder source, copy;
    write_case(one, source.path());
    write_file(source.path() / "generation_config.json", "{\"temperature\": 0.6}");
    const Model model = load_model(source.path().string());
    save_model(*model.decoder, *model.tokenizer, copy.path(), {.shard_bytes = 100'000});
    Json config = parse_json(read_file(copy.path() / "config.json"), "config.json");
    CHECK(config.at("torch_dtype") == "float32");
    Json before = one.at("config");
    for (const char* key : {"dtype", "torch_dtype"}) {
      config.erase(key);
      before.erase(key);
    }
    CHECK(config == before);
    CHECK(read_file(copy.path() / "generation_config.json") == "{\"temperature\": 0.6}");
    const Json index = parse_json(read_file(copy.path() / "model.safetensors.index.json"), "index");
    CHECK(index.at("metadata").at("total_size") == 4 * model.decoder->num_parameters());
    REQUIRE(index.at("weight_map").size() == one.at("tensors").size());
    for (const auto& [name, shape] : one.at("tensors").items()) {
      const SafetensorsFile file(copy.path() / index.at("weight_map").at(name).get<std::string>());
      CHECK(fs::file_size(copy.path() / index.at("weight_map").at(name).get<std::string>()) <
            102'000);
      const TensorInfo* tensor = file.find(name);
      REQUIRE(tensor != nullptr);
      CHECK(tensor->shape == shape.get<std::vector<int64_t>>());
      std::vector<float> values(static_cast<size_t>(tensor->numel()));
      file.read(*tensor, values.data());
      CHECK(values == formula_weights(name, tensor->shape));
    }
  }
}

// The same tensors under llama.cpp's names, in its order of rows, and the folder again.
TEST_CASE("a model becomes a GGUF file and a folder again, or GGUF cannot say it") {
  const Json cases = golden("model/families.json");
  int written = 0;
  for (const Json& one : cases.at("cases")) {
    const std::string name = one.at("name");
    CAPTURE(name);
    const testing::TemporaryFolder source, copy;
    write_case(one, source.path());
    const Model model = load_model(source.path().string());
    Decoder& decoder = *model.decoder;
    const SliceValues values = [&](const NamedSlice& slice) {
      return decoder.slice(slice).const_data_ptr<float>();
    };
    const fs::path file = source.path() / "m.gguf";
    const std::string problem = testing::usage_error([&] {
      save_gguf(decoder.spec(), decoder.slices(), *model.tokenizer, values, file, all_f32);
    });
    const auto& kind = decoder.spec().rope.kind;
    if (kind == "dynamic" || kind == "longrope")
      CHECK(problem.find(cat("GGUF cannot say RoPE kind \"", kind, "\"")) != std::string::npos);
    if (!problem.empty()) {
      CHECK(problem.find("GGUF cannot say") != std::string::npos);
      CHECK(!fs::exists(file));
      continue;
    }
    ++written;
    const Model again = load_model(file.string());
    CHECK(at::equal(again.decoder->weights(), decoder.weights()));
    save_model(*again.decoder, *again.tokenizer, copy.path());
    for (const char* same : {"tokenizer.json", "tokenizer_config.json"})
      CHECK(read_file(copy.path() / same) == read_file(source.path() / same));
    Json config = parse_json(read_file(copy.path() / "config.json"), "config.json");
    Json before = one.at("config");
    for (const char* key : {"dtype", "torch_dtype"}) {
      config.erase(key);
      before.erase(key);
    }
    CHECK(config == before);
  }
  CHECK(written == 27);
}

// Files of llama.cpp have no config.json inside: its own keys have to say the same.
TEST_CASE("llama.cpp's keys alone give the same log-probabilities") {
  const Json cases = golden("model/families.json");
  for (const char* name : {"llama-default", "llama-wide-theta", "llama-llama3", "qwen2-linear",
                           "qwen3-default", "smollm3-yarn", "olmo2-llama3"}) {
    CAPTURE(name);
    const testing::TemporaryFolder folder;
    write_case(case_named(cases, name), folder.path());
    const Model model = load_model(folder.path().string());
    Decoder& decoder = *model.decoder;
    ModelSpec bare = decoder.spec();
    bare.config_json.clear();
    const SliceValues values = [&](const NamedSlice& slice) {
      return decoder.slice(slice).const_data_ptr<float>();
    };
    const fs::path file = folder.path() / "m.gguf";
    save_gguf(bare, decoder.slices(), *model.tokenizer, values, file, all_f32);
    const Model again = load_model(file.string());
    CHECK(at::equal(again.decoder->weights(), decoder.weights()));
    CHECK(again.decoder->spec().model_type == decoder.spec().model_type);
    const at::NoGradGuard no_grad;
    const Ids ids =
        case_named(cases, name).at("groups")[0].at("sequences").back().at("ids").get<Ids>();
    const auto of = [&](const Model& of_model) {
      return logprobs_of(*of_model.decoder, full_pass(*of_model.decoder, ids), ids);
    };
    CHECK(worst_gap(of(again), of(model)) < 1e-4);
  }
}

// The configuration that is made where none came along says the same as the one that did.
TEST_CASE("a configuration that is written anew reads as the same model") {
  const Json cases = golden("model/families.json");
  for (const Json& one : cases.at("cases")) {
    CAPTURE(one.at("name").get<std::string>());
    const ModelSpec spec = spec_from_config_text(one.at("config").dump(), "config.json");
    ModelSpec bare = spec;
    bare.config_json.clear();
    const std::string text = config_json(bare, "float32", -1, {10}, -1);
    const ModelSpec again = spec_from_config_text(text, "again");
    CHECK(again.model_type == spec.model_type);
    CHECK(again.head_dim == spec.head_dim);
    CHECK(again.rotary() == spec.rotary());
    CHECK(again.qk_norm == spec.qk_norm);
    CHECK(again.qkv_bias == spec.qkv_bias);
    CHECK(again.output_bias == spec.output_bias);
    CHECK(again.mlp_bias == spec.mlp_bias);
    CHECK(again.norm_after == spec.norm_after);
    CHECK(again.tie_word_embeddings == spec.tie_word_embeddings);
    CHECK(again.rms_norm_eps == spec.rms_norm_eps);
    CHECK(again.longest() == spec.longest());
    for (int64_t i = 0; i < spec.num_hidden_layers; ++i) {
      CHECK(again.layer(i).rope == spec.layer(i).rope);
      CHECK(again.layer(i).window == spec.layer(i).window);
    }
    const auto table = [](const ModelSpec& of) {
      return make_rope_table(of.rope, of.rotary(), of.longest());
    };
    CHECK(at::equal(table(again).inverse_frequency, table(spec).inverse_frequency));
    CHECK(table(again).scale == table(spec).scale);
  }
}

std::string problem_with(const Json& config) {
  return testing::usage_error([&] { spec_from_config_text(config.dump(), "config.json"); });
}

TEST_CASE("what a configuration asks for and is not built is named") {
  const Json cases = golden("model/families.json");
  const Json llama = case_named(cases, "llama-default").at("config");
  const auto with = [&](const char* key, const Json& value) {
    Json changed = llama;
    changed[key] = value;
    return problem_with(changed);
  };
  const auto rope = [&](const Json& value) { return with("rope_parameters", value); };
  const auto says = [](const std::string& message, const char* part) {
    CAPTURE(message);
    CHECK(message.find(part) != std::string::npos);
  };
  says(with("model_type", "lama"), "\"lama\" is not supported (did you mean llama?)");
  says(with("hidden_act", "gelu"), "hidden_act: \"gelu\": only \"silu\" is supported");
  says(rope({{"rope_type", "proportional"}}), "RoPE kind \"proportional\" is not supported");
  says(rope({{"rope_type", "yarn"}, {"type", "linear"}, {"factor", 2}}), "do not agree");
  says(rope({{"rope_type", "linear"}}), "rope_parameters: 'factor' is missing");
  says(rope({{"rope_type", "linear"}, {"factor", 0}}), "factor: 0 is not above 0");
  says(rope({{"rope_type", "linear"}, {"factor", "4"}}), "factor: \"4\" is not a number");
  says(rope({{"rope_type", "default"}, {"mrope_section", {16, 24, 24}}}), "'mrope_section'");
  says(rope({{"full_attention", {{"rope_type", "default"}}}}), "'full_attention'");
  says(rope({{"rope_type", "longrope"}, {"short_factor", {1, 1}}, {"long_factor", {1}}}),
       "short_factor and long_factor have 2 and 1 entries; 24 pairs rotate");
  says(rope({{"rope_type", "llama3"},
             {"factor", 8},
             {"low_freq_factor", 4},
             {"high_freq_factor", 4}}),
       "high_freq_factor: 4 is not above low_freq_factor = 4");
  says(rope({{"rope_type", "yarn"}, {"original_max_position_embeddings", 32}}),
       "rope_parameters: 'factor' is missing");
  says(rope({{"rope_type", "yarn"}, {"factor", 4}, {"rope_theta", 1}}),
       "rope_parameters.rope_theta: 1 is not above 1");
  says(with("partial_rotary_factor", 0.01), "leaves 0 dimensions to rotate");
  says(with("quantization_config", Json{{"bits", 4}}), "quantization_config: is not supported");
  says(with("logit_scale", 0.5), "logit_scale: is not supported");
  says(with("num_attention_heads", 9007199254740993), "num_attention_heads = 9007199254740993 is");
  Json both = llama;
  both["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  both["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 4}};
  says(problem_with(both), "rope_scaling and rope_parameters do not agree");
  Json windows = case_named(cases, "qwen3-layer-types").at("config");
  windows["layer_types"][1] = "chunked_attention";
  says(problem_with(windows), "layer_types[1]: \"chunked_attention\" is not supported");
  windows["layer_types"].erase(1);
  says(problem_with(windows), "layer_types: 2 entries for 3 layers");
}

TEST_CASE("ids of the model that the tokenizer does not have stand for nothing") {
  const testing::TemporaryFolder folder;
  const Json cases = golden("model/families.json");
  write_case(case_named(cases, "qwen2-default"), folder.path());
  const Model model = load_model(folder.path().string());
  CHECK(model.tokenizer->size() == 42);
  CHECK(model.tokenizer->decode(Ids{10, 95, 42, 11}) == "ab");
  CHECK(testing::usage_error([&] { model.tokenizer->decode(Ids{96}); }) ==
        "token id 96 is outside the vocabulary of 96 tokens");
}

TEST_CASE("max_length is held to what the RoPE kind was made for") {
  const Json cases = golden("model/families.json");
  const auto limit = [&](const char* name, int64_t length) {
    ModelSpec spec = spec_from_config_text(case_named(cases, name).at("config").dump(), "c");
    return testing::usage_error([&] {
      spec.limit_length(length, "model");
      CHECK(spec.longest() == length);
    });
  };
  CHECK(limit("llama-default", 128).empty());
  CHECK(limit("llama-default", 129).find("max_length = 129 is beyond the 128 positions") !=
        std::string::npos);
  CHECK(limit("llama-dynamic", 129).find("rollout and trainer would disagree") !=
        std::string::npos);
  CHECK(limit("llama-yarn-beyond", 128).empty());
  CHECK(!limit("llama-yarn-beyond", 129).empty());
  CHECK(limit("llama-linear", 512).empty());
}

TEST_CASE("keys that nobody read are listed") {
  const Json cases = golden("model/families.json");
  Json config = case_named(cases, "smollm3-yarn").at("config");
  config["attention_dropout"] = 0.1;
  config["new_feature"] = {{"depth", 2}};
  const ModelSpec spec = spec_from_config_text(config.dump(), "config.json");
  const auto& unused = spec.unused_keys;
  const auto has = [&](const char* key) {
    return std::find(unused.begin(), unused.end(), key) != unused.end();
  };
  CHECK(has("attention_dropout"));
  CHECK(has("new_feature"));
  CHECK(!has("rms_norm_eps"));
  CHECK(!has("torch_dtype"));
}

}  // namespace
}  // namespace vernier
