// The decoder against golden values, gradients against finite differences, cache against full pass.
#include "core/model/model.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "core/model/family.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::golden;
using testing::worst;

ModelSpec llama_spec(Json config) {
  config["model_type"] = "llama";
  return spec_from_config_text(config.dump(), "config.json");
}

void fill(Decoder& decoder, const Json& weights) {
  for (const NamedSlice& slice : decoder.slices()) {
    const auto values = weights.at(slice.name).at("values").get<std::vector<double>>();
    at::Tensor to = decoder.slice(slice);
    REQUIRE(to.numel() == static_cast<int64_t>(values.size()));
    to.copy_(at::tensor(values).view(slice.shape));
  }
  decoder.weights_changed();
}

template <class T>
std::vector<T> values_of(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.detach().contiguous();
  return {dense.const_data_ptr<T>(), dense.const_data_ptr<T>() + dense.numel()};
}

// Log-probabilities of the next tokens of all golden sequences, packed.
at::Tensor packed_logprobs(Decoder& decoder, const Json& sequences) {
  PackedTokens tokens;
  std::vector<int32_t> targets;
  std::vector<int64_t> rows;
  for (const Json& one : sequences) {
    const auto ids = one.at("ids").get<std::vector<int32_t>>();
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      rows.push_back(tokens.size() + static_cast<int64_t>(t));
      targets.push_back(ids[t + 1]);
    }
    tokens.add(ids);
  }
  const at::Tensor hidden = decoder.hidden(tokens).index_select(0, at::tensor(rows));
  return ops::token_logprobs(hidden, decoder.head(), targets, 1.0).logprob;
}

template <class T>
void check_against_golden(at::ScalarType type, double tolerance) {
  const Json cases = golden("model/tiny_llama.json");
  Decoder decoder(llama_spec(cases.at("config")), true, type);
  fill(decoder, cases.at("weights"));
  const at::Tensor logprob = packed_logprobs(decoder, cases.at("sequences"));
  std::vector<double> want;
  for (const Json& one : cases.at("sequences"))
    for (const Json& value : one.at("logprobs")) want.push_back(value);
  CHECK(worst(values_of<T>(logprob), want) < tolerance);
  const at::Tensor loss = -logprob.mean();
  CHECK(loss.to(at::kDouble).item<double>() ==
        doctest::Approx(cases.at("loss").get<double>()).epsilon(tolerance));
  loss.backward();
  for (const NamedSlice& slice : decoder.slices()) {
    CAPTURE(slice.name);
    const at::Tensor grad = slice.rows > 0 ? decoder.parameters()[slice.parameter].grad.narrow(
                                                 0, slice.first_row, slice.rows)
                                           : decoder.parameters()[slice.parameter].grad;
    const Json& found = cases.at("gradients").at(slice.name);
    CHECK(grad.to(at::kDouble).norm().item<double>() ==
          doctest::Approx(found.at("norm").get<double>()).epsilon(tolerance * 10));
    const auto first = found.at("first").get<std::vector<double>>();
    auto mine = values_of<T>(grad);
    mine.resize(first.size());
    CHECK(worst(mine, first) < tolerance * 100);
  }
}

TEST_CASE("a tiny Llama has the golden log-probabilities and gradients, fp64") {
  check_against_golden<double>(at::kDouble, 1e-6);  // the RoPE table is fp32
}
TEST_CASE("a tiny Llama has the golden log-probabilities and gradients, fp32") {
  check_against_golden<float>(at::kFloat, 2e-6);
}

// Small and odd: what the families differ in, mixed.
std::vector<ModelSpec> odd_specs() {
  ModelSpec plain;
  plain.vocab_size = 33;
  plain.hidden_size = 12;
  plain.intermediate_size = 31;
  plain.num_hidden_layers = 2;
  plain.num_attention_heads = 4;
  plain.num_key_value_heads = 2;
  plain.head_dim = 6;
  plain.max_position_embeddings = 40;
  ModelSpec tied = plain, norms = plain, after = plain;
  tied.tie_word_embeddings = true;
  norms.qk_norm = kernels::QkNorm::head;
  norms.qkv_bias = norms.mlp_bias = true;
  norms.rotary_size = 4;
  norms.rope.kind = "yarn";  // its tables are scaled
  norms.rope.factor = 8;
  norms.rope.original_max_position_embeddings = 5;
  norms.layers = {{.rope = true, .window = 3}, {.rope = false, .window = 0}};
  after.qk_norm = kernels::QkNorm::all;
  after.norm_after = after.output_bias = true;
  after.layers = {{.rope = false, .window = 0}, {.rope = true, .window = 2}};
  return {plain, tied, norms, after};
}

TEST_CASE("the sum of squared probabilities, where it is asked for") {
  for (const auto type : {at::kFloat, at::kDouble}) {
    Decoder decoder(odd_specs()[0], false, type);
    decoder.weights().copy_(at::tensor(testing::normal<double>(decoder.weights().numel(), 3)));
    decoder.weights_changed();
    PackedTokens tokens;
    tokens.add({1, 5, 7, 32});
    const at::NoGradGuard no_grad;
    const at::Tensor hidden = decoder.hidden(tokens);
    const std::vector<int32_t> targets = {5, 7, 32, 0};
    const auto found = decoder.logprobs(hidden, targets, 0.7, true);
    const at::Tensor p = (hidden.mm(decoder.head().value.t()) / 0.7).softmax(1);
    CHECK((found.square_mass - p.square().sum(1)).abs().max().item<double>() < 1e-6);
    CHECK(!decoder.logprobs(hidden, targets, 0.7).square_mass.defined());
  }
}

// Central differences of a scalar function of the decoder's weights at some places.
TEST_CASE("gradients of the whole model equal finite differences, fp64") {
  for (const ModelSpec& spec : odd_specs()) {
    Decoder decoder(spec, true, at::kDouble);
    const auto start = testing::normal<double>(decoder.weights().numel(), 3, 0, 0.4);
    decoder.weights().copy_(at::tensor(start));
    PackedTokens tokens;
    tokens.add({1, 5, 7, 32, 0, 9});
    tokens.add({4});
    tokens.add({2, 2, 3});
    const std::vector<int32_t> targets = {5, 7, 32, 0, 9, 1, 6, 2, 3, 8};
    const at::Tensor weight = at::tensor(testing::normal<double>(10, 4));
    const auto value = [&] {
      decoder.weights_changed();
      const auto found = ops::token_logprobs(decoder.hidden(tokens), decoder.head(), targets, 0.7);
      return (found.logprob * weight + 0.3 * found.entropy * weight * weight).sum();
    };
    value().backward();
    const std::vector<double> grad = values_of<double>(decoder.gradients());
    const at::NoGradGuard no_grad;
    double* weights = decoder.weights().data_ptr<double>();
    const auto check = [&](size_t i) {
      const double h = 1e-5, old = weights[i];
      weights[i] = old + h;
      const double up = value().item<double>();
      weights[i] = old - h;
      const double down = value().item<double>();
      weights[i] = old;
      CHECK(grad[i] == doctest::Approx((up - down) / (2 * h)).epsilon(1e-5));
    };
    for (size_t i = 0; i < grad.size(); i += 17) check(i);
    for (const Parameter& parameter : decoder.parameters())  // norms and biases, all of them
      if (parameter.value.dim() == 1)
        for (int64_t i = 0; i < parameter.value.numel(); ++i)
          check(static_cast<size_t>(parameter.value.storage_offset() + i));
  }
}

TEST_CASE("fp32 gradients of the whole model equal those of fp64") {
  for (const ModelSpec& spec : odd_specs()) {
    Decoder exact(spec, true, at::kDouble), fast(spec, true);
    const auto start = testing::normal<float>(fast.weights().numel(), 3, 0, 0.4);
    fast.weights().copy_(at::tensor(start));
    exact.weights().copy_(fast.weights());
    const std::vector<int32_t> ids = {1, 5, 7, 32, 0, 9, 4, 4, 17};
    const std::vector<int32_t> targets = {5, 7, 32, 0, 9, 4, 4, 17, 2};
    for (Decoder* decoder : {&exact, &fast}) {
      decoder->weights_changed();
      PackedTokens tokens;
      tokens.add(ids);
      ops::token_logprobs(decoder->hidden(tokens), decoder->head(), targets, 1.0)
          .logprob.sum()
          .backward();
    }
    CHECK(worst(values_of<float>(fast.gradients()), values_of<double>(exact.gradients()), 1) <
          1e-4);
  }
}

Decoder& small_decoder() {
  static const auto decoder = [] {
    ModelSpec spec;
    spec.vocab_size = 50;
    spec.hidden_size = 48;
    spec.intermediate_size = 80;
    spec.num_hidden_layers = 3;
    spec.num_attention_heads = 6;
    spec.num_key_value_heads = 2;
    spec.head_dim = 8;
    spec.max_position_embeddings = 200;
    auto made = std::make_unique<Decoder>(spec, false);
    made->randomize(5, 0.5, 1.0);
    return made;
  }();
  return *decoder;
}

TEST_CASE("the cached path equals the full pass, bit for bit, whatever else is in the batch") {
  Decoder& decoder = small_decoder();
  const at::NoGradGuard no_grad;
  std::vector<std::vector<int32_t>> sequences;
  for (const int64_t length : {2, 33, 70, 130}) {
    Rng rng(9, Stream::task, static_cast<uint64_t>(length));
    sequences.emplace_back();
    for (int64_t t = 0; t < length; ++t)
      sequences.back().push_back(static_cast<int32_t>(rng.next_below(50)));
  }
  std::vector<at::Tensor> full;
  for (const auto& ids : sequences) {
    PackedTokens tokens;
    tokens.add(ids);
    full.push_back(decoder.hidden(tokens));
  }
  // Chunks of different lengths in one pass, sequences that drop out, pages in any order.
  KvCache cache(decoder.spec(), 16);
  const std::vector<std::vector<int32_t>> pages = {{7}, {0}, {9, 3}, {5, 15, 1}};
  std::vector<int64_t> fed(sequences.size());
  for (int64_t round = 0; fed.back() < std::ssize(sequences.back()); ++round) {
    CachedTokens pass;
    std::vector<size_t> which;
    for (size_t s = 0; s < sequences.size(); ++s) {
      const int64_t count =
          std::min<int64_t>(1 + (round + std::ssize(which)) % 9, std::ssize(sequences[s]) - fed[s]);
      if (count == 0) continue;
      pass.add({sequences[s].data() + fed[s], static_cast<size_t>(count)}, {}, fed[s], pages[s]);
      which.push_back(s);
    }
    const at::Tensor hidden = decoder.cached(pass, cache);
    for (size_t b = 0; b < which.size(); ++b) {
      const kernels::PagedSpan& span = pass.spans[b];
      CHECK(at::equal(hidden.narrow(0, span.row, span.count),
                      full[which[b]].narrow(0, span.first, span.count)));
      fed[which[b]] += span.count;
    }
  }
}

TEST_CASE("a copied page goes on like the original") {
  Decoder& decoder = small_decoder();
  KvCache cache(decoder.spec(), 3);
  const auto feed = [&](const std::vector<int32_t>& ids, int64_t first, const auto& pages) {
    CachedTokens pass;
    pass.add(ids, {}, first, pages);
    return decoder.cached(pass, cache);
  };
  const std::vector<int32_t> original = {2}, copy = {0};
  feed({1, 2, 3, 4, 5, 6, 7}, 0, original);
  cache.copy(2, 0, 5);
  for (int32_t t = 5; t < 60; ++t)
    CHECK(at::equal(feed({t % 50}, t, original), feed({t % 50}, t, copy)));
}

TEST_CASE("weights in bf16 are the model with rounded weights, int8 is close") {
  Decoder& decoder = small_decoder();
  const at::NoGradGuard no_grad;
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6}, pages = {0};
  const auto logits = [&](Decoder& of, kernels::WeightFormat format) {
    KvCache cache(of.spec(), 1);
    CachedTokens pass;
    pass.add(ids, {}, 0, pages);
    return of.logits(of.cached(pass, cache, format), format);
  };
  Decoder rounded(decoder.spec(), false);
  rounded.weights().copy_(decoder.weights().to(at::kBFloat16));
  rounded.weights_changed();
  // The embedding is looked up, and norms multiply, unrounded.
  for (size_t i = 0; i < decoder.parameters().size(); ++i) {
    Parameter& one = rounded.parameters()[i];
    if (one.name == "embedding" || one.value.dim() == 1)
      one.value.copy_(decoder.parameters()[i].value);
  }
  const at::Tensor exact = logits(decoder, kernels::WeightFormat::fp32);
  const at::Tensor halves = logits(decoder, kernels::WeightFormat::bf16);
  CHECK(at::equal(halves, logits(rounded, kernels::WeightFormat::fp32)));
  CHECK(!at::equal(halves, exact));
  const auto gap = [&](const at::Tensor& other) {
    return ((other - exact).norm() / exact.norm()).item<double>();
  };
  CHECK(gap(halves) < 0.02);
  CHECK(gap(logits(decoder, kernels::WeightFormat::int8)) < 0.05);
}

TEST_CASE("a saved model opens again with the same bits, tied and untied") {
  for (const bool tied : {false, true}) {
    testing::TemporaryFolder folder;
    NewModel config;
    config.characters = "0123456789abc.";
    config.end_token = ".";
    config.spec = small_decoder().spec();
    config.spec.tie_word_embeddings = tied;
    const Model model = new_model(config, 3, false);
    save_model(*model.decoder, *model.tokenizer, folder.path());
    const Model again = load_model(folder.path().string(), {.trained = true});
    CHECK(at::equal(model.decoder->weights(), again.decoder->weights()));
    CHECK(again.tokenizer->encode("12a.") == model.tokenizer->encode("12a."));
    CHECK(again.decoder->spec().tie_word_embeddings == tied);
  }
}

TEST_CASE("what does not fit a model is named") {
  testing::TemporaryFolder folder;
  NewModel config;
  config.characters = "01.";
  config.end_token = ".";
  config.spec = small_decoder().spec();
  const Model model = new_model(config, 3, false);
  save_model(*model.decoder, *model.tokenizer, folder.path());
  const std::string good = read_file(folder.path() / "config.json");
  const auto with = [&](const std::string& key, const Json& value) {
    Json changed = Json::parse(good);
    changed[key] = value;
    write_file(folder.path() / "config.json", changed.dump());
    return testing::usage_error([&] { load_model(folder.path().string()); });
  };
  CHECK(with("intermediate_size", 81).find("is [80, 48], the configuration asks for [81, 48]") !=
        std::string::npos);
  CHECK(with("model_type", "gemma").find("model_type \"gemma\" is not supported") !=
        std::string::npos);
  CHECK(with("hidden_act", "gelu").find("hidden_act: \"gelu\": only \"silu\" is supported") !=
        std::string::npos);
  CHECK(
      with("rope_scaling", Json{{"rope_type", "yarm"}, {"factor", 4}}).find("RoPE kind \"yarm\"") !=
      std::string::npos);
  CHECK(with("num_hidden_layers", 4).find("is missing") != std::string::npos);
  CHECK(with("num_hidden_layers", 2).find("not part of this architecture") != std::string::npos);
  CHECK(with("num_key_value_heads", 4).find("not a multiple") != std::string::npos);
  CHECK(testing::usage_error([] { load_model("/no/such/model"); }).find("no such model") !=
        std::string::npos);
}

TEST_CASE("SmolLM2 has the golden log-probabilities" *
          doctest::skip(!fs::exists(VERNIER_SMOLLM2_GGUF))) {
  const Model model = load_model(VERNIER_SMOLLM2_GGUF);
  const at::NoGradGuard no_grad;
  const Json cases = golden("model/smollm2_logprobs.json");
  for (const Json& one : cases.at("texts")) {
    const std::vector<int32_t> ids = model.tokenizer->encode(one.at("text").get<std::string>());
    REQUIRE(ids == one.at("ids").get<std::vector<int32_t>>());
    PackedTokens tokens;
    tokens.add({ids.begin(), ids.end() - 1});
    const at::Tensor found =
        ops::token_logprobs(model.decoder->hidden(tokens), model.decoder->head(),
                            {ids.begin() + 1, ids.end()}, 1.0)
            .logprob;
    const auto want = one.at("logprobs").get<std::vector<double>>();
    CHECK(testing::worst_gap(values_of<float>(found), want) < 2e-4);
  }
}

}  // namespace
}  // namespace vernier
