// Models without RoPE and with other reach: gradients, cache, files, and positions that are drawn.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <tuple>

#include "core/model/family.h"
#include "core/model/gguf_model.h"
#include "core/model/model.h"
#include "core/model/tensor_parallel.h"
#include "tests/testing.h"

namespace vernier {
namespace {

ModelSpec plain_spec() {
  ModelSpec spec;
  spec.vocab_size = 33;
  spec.hidden_size = 12;
  spec.intermediate_size = 31;
  spec.num_hidden_layers = 2;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 6;
  spec.max_position_embeddings = 200;
  return spec;
}

struct NamedSpec {
  const char* name;
  ModelSpec spec;
};

std::vector<NamedSpec> other_specs() {
  std::vector<NamedSpec> all;
  for (const char* positions : {"none", "alibi", "absolute"}) {
    all.push_back({positions, plain_spec()});
    all.back().spec.positions = positions_of(positions);
  }
  all.push_back({"logn", plain_spec()});
  all.back().spec.attn_logn = true;
  all.push_back({"sinks", plain_spec()});
  all.back().spec.reach = {.sinks = 2, .window = 3};
  all.push_back({"window", plain_spec()});
  all.back().spec.reach = {.sinks = 0, .window = 40};
  all.push_back({"sinks without positions", all[0].spec});
  all.back().spec.reach = {.sinks = 5, .window = 33};
  return all;
}

TEST_CASE("gradients of models with other positions equal finite differences, fp64") {
  for (const auto& [name, spec] : other_specs()) {
    CAPTURE(name);
    Decoder decoder(spec, true, at::kDouble);
    const auto start = testing::normal<double>(decoder.weights().numel(), 3, 0, 0.4);
    decoder.weights().copy_(at::tensor(start));
    PackedTokens tokens;
    tokens.add({1, 5, 7, 32, 0, 9, 11});
    tokens.add({4});
    const std::vector<int32_t> targets = {5, 7, 32, 0, 9, 1, 6, 2};
    const auto value = [&] {
      decoder.weights_changed();
      return ops::token_logprobs(decoder.hidden(tokens), decoder.head(), targets, 0.7)
          .logprob.sum();
    };
    value().backward();
    const at::Tensor grad = decoder.gradients().clone();
    const at::NoGradGuard no_grad;
    double* weights = decoder.weights().data_ptr<double>();
    for (int64_t i = 0; i < grad.numel(); i += 13) {
      const double h = 1e-5, old = weights[i];
      weights[i] = old + h;
      const double up = value().item<double>();
      weights[i] = old - h;
      const double down = value().item<double>();
      weights[i] = old;
      CHECK(grad[i].item<double>() == doctest::Approx((up - down) / (2 * h)).epsilon(1e-5));
    }
  }
}

TEST_CASE("rollout and trainer have the same bits with other positions, past the window too") {
  const at::NoGradGuard no_grad;
  std::vector<int32_t> ids;
  Rng rng(9, Stream::task);
  for (int64_t t = 0; t < 130; ++t) ids.push_back(static_cast<int32_t>(rng.next_below(33)));
  for (const auto& [name, spec] : other_specs()) {
    CAPTURE(name);
    Decoder decoder(spec, false);
    decoder.randomize(5, 0.5, 1.0);
    PackedTokens tokens;
    tokens.add(ids);
    const at::Tensor full = decoder.hidden(tokens);
    KvCache cache(spec, 3);
    const std::vector<int32_t> pages = {2, 0, 1};
    for (int64_t first = 0; first < std::ssize(ids);) {
      const int64_t count = std::min<int64_t>(1 + first % 9, std::ssize(ids) - first);
      CachedTokens pass;
      pass.add({ids.data() + first, static_cast<size_t>(count)}, {}, first, pages);
      CHECK(at::equal(decoder.cached(pass, cache), full.narrow(0, first, count)));
      first += count;
    }
  }
}

TEST_CASE("where a token stands matters as the name says") {
  const at::NoGradGuard no_grad;
  const auto last_of = [](const ModelSpec& spec, const std::vector<int32_t>& ids) {
    Decoder decoder(spec, false);
    decoder.randomize(5, 0.5, 1.0);
    PackedTokens tokens;
    tokens.add(ids);
    return decoder.hidden(tokens).select(0, std::ssize(ids) - 1);
  };
  const auto gap = [&](Positions positions) {
    ModelSpec spec = plain_spec();
    spec.num_hidden_layers = 1;  // of one layer without positions only the set of tokens counts
    spec.positions = positions;
    return (last_of(spec, {1, 2, 3, 4}) - last_of(spec, {2, 3, 1, 4})).abs().max().item<double>();
  };
  CHECK(gap(Positions::none) < 1e-5);
  for (const Positions one : {Positions::rope, Positions::alibi, Positions::absolute})
    CHECK(gap(one) > 1e-3);
  // A window that holds everything, and sinks in it, change nothing.
  ModelSpec wide = plain_spec();
  wide.reach = {.sinks = 3, .window = 4};
  CHECK(at::equal(last_of(wide, {1, 2, 3, 4}), last_of(plain_spec(), {1, 2, 3, 4})));
  wide.reach = {.sinks = 0, .window = 3};
  CHECK(!at::equal(last_of(wide, {1, 2, 3, 4}), last_of(plain_spec(), {1, 2, 3, 4})));
}

TEST_CASE("models with other positions are stored under a name that says so") {
  for (const auto& [name, given] : other_specs()) {
    CAPTURE(name);
    testing::TemporaryFolder folder;
    NewModel config;
    config.characters = "0123456789abc.";
    config.end_token = ".";
    config.spec = given;
    const Model model = new_model(config, 3, false);
    save_model(*model.decoder, *model.tokenizer, folder.path());
    const ModelSpec again = load_model(folder.path().string()).decoder->spec();
    const auto a = again.attention(1), b = model.decoder->spec().attention(1);
    CHECK(std::tuple(a.rotary_size, a.window, a.sinks, a.alibi, a.log_length) ==
          std::tuple(b.rotary_size, b.window, b.sinks, b.alibi, b.log_length));
    CHECK((again.positions == Positions::absolute) == (given.positions == Positions::absolute));
    CHECK(again.reach.sinks == given.reach.sinks);
    CHECK(again.reach.window == given.reach.window);
    const bool known = given.positions != Positions::alibi &&
                       given.positions != Positions::absolute && !given.attn_logn;
    CHECK((again.model_type != "vernier") == known);
    const bool gguf =
        given.positions == Positions::rope && !given.attn_logn && given.reach.window == 0;
    CHECK(testing::usage_error([&] { gguf_metadata(again, "model"); }).empty() == gguf);
  }
}

TEST_CASE("a model with ALiBi is not computed in parts") {
  ModelSpec spec = plain_spec();
  spec.intermediate_size = 32;
  CHECK(part_problem(spec, 2).empty());
  spec.positions = Positions::alibi;
  CHECK(part_problem(spec, 1).empty());
  CHECK(part_problem(spec, 2).find("slopes of ALiBi") != std::string::npos);
}

TEST_CASE("what a reach cannot be is named") {
  ModelSpec spec = plain_spec();
  spec.reach = {.sinks = 2, .window = 8};
  spec.rope.kind = "yarn";
  CHECK(testing::usage_error([&] { spec.check("m"); }) ==
        "m: attention_sinks = 2 is not built for RoPE kind \"yarn\"");
  spec.rope.kind = "default";
  spec.layers = {{.rope = true, .window = 3}, {.rope = true, .window = 0}};
  CHECK(testing::usage_error([&] { spec.check("m"); }).find("windows of their own") !=
        std::string::npos);
  // With a window no distance is longer than it, so a sequence may be.
  spec.layers.clear();
  spec.limit_length(1000, "m");
  CHECK(spec.longest() == 1000);
  spec.reach = {};
  CHECK(testing::usage_error([&] { spec.limit_length(1000, "m"); }).find("is beyond the 200") !=
        std::string::npos);
}

TEST_CASE("positions that are divided are those of RoPE kind linear, and an offset is none") {
  const at::NoGradGuard no_grad;
  ModelSpec linear = plain_spec();
  linear.rope.kind = "linear";
  linear.rope.factor = 4;
  const auto hidden = [](const ModelSpec& spec, double scale, double offset) {
    Decoder decoder(spec, false);
    decoder.randomize(5, 0.5, 1.0);
    PackedTokens tokens;
    tokens.add({1, 5, 7, 32, 0, 9, 11});
    if (scale != 1 || offset != 0)
      for (const int32_t position : tokens.positions)
        tokens.rope_positions.push_back(static_cast<float>((position + offset) / scale));
    return decoder.hidden(tokens);
  };
  const at::Tensor found = hidden(plain_spec(), 4, 0);
  CHECK((found - hidden(linear, 1, 0)).abs().max().item<double>() < 1e-5);
  CHECK((found - hidden(plain_spec(), 1, 0)).abs().max().item<double>() > 1e-3);
  // Only differences of positions count.
  CHECK((found - hidden(plain_spec(), 4, 50)).abs().max().item<double>() < 1e-4);
}

}  // namespace
}  // namespace vernier
