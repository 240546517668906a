// A model in parts, which ranks compute together.
#include "core/model/tensor_parallel.h"

#include <ATen/ATen.h>

#include <cmath>
#include <set>
#include <vector>

#include "core/model/model.h"
#include "rollout/engine.h"
#include "tests/ranks_case.h"
#include "tests/testing.h"
#include "trainer/job_ranks.h"

namespace vernier::testing {
namespace {

// Gives a decoder the part of this rank.
void take_own(Ranks& ranks, Decoder& whole, Decoder& own) {
  const TensorPart part{.rank = ranks.rank(), .size = ranks.size()};
  Decoder shapes(whole.spec(), false, at::kFloat, at::kMeta);
  for (int64_t unit = 0; unit < std::ssize(whole.units()); ++unit) {
    const Unit& place = whole.units()[static_cast<size_t>(unit)];
    take_part(part, shapes, unit, whole.weights().narrow(0, place.begin, place.end - place.begin),
              own);
  }
  own.weights_changed();
  own.compute_in_parts(parts_of(ranks));
}

struct Greedy {
  std::vector<int32_t> ids;
  std::vector<double> logprobs;
};

// 48 greedy tokens. What goes on is another token than each, or so small a model would repeat
// itself.
Greedy draw_greedy(Decoder& decoder) {
  Greedy out;
  KvCache cache(decoder.spec(), 4);
  const std::vector<int32_t> pages = {2, 0, 3};
  std::vector<int32_t> next = {5, 80, 3, 31, 17, 96, 1};
  for (int64_t first = 0; out.ids.size() < 48;) {
    CachedTokens pass;
    pass.add(next, {}, first, pages);
    const at::Tensor last = decoder.cached(pass, cache)[-1].unsqueeze(0);
    const at::Tensor logprob = at::log_softmax(decoder.logits(last).to(at::kDouble), -1)[0];
    out.ids.push_back(static_cast<int32_t>(logprob.argmax().item<int64_t>()));
    out.logprobs.push_back(logprob[out.ids.back()].item<double>());
    first += std::ssize(next);
    next = {static_cast<int32_t>((out.ids.back() + 13 * out.ids.size()) % 97)};
  }
  return out;
}

// Groups of a model on a GPU.
std::vector<Response> draw_on_gpu(Decoder& decoder, const Tokenizer& tokenizer,
                                  kernels::WeightFormat weights) {
  std::vector<Prompt> prompts(5);
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompts[i].index = static_cast<int64_t>(i);
    prompts[i].id = cat(i);
    for (size_t t = 0; t < 1 + i * 43; ++t)
      prompts[i].ids.push_back(static_cast<int32_t>((t * t + i) % 20));
  }
  RolloutConfig config;
  config.num_generations = 3;
  config.max_completion_length = 60;
  config.max_running = 6;
  config.max_step_tokens = 70;
  config.weights = weights;
  config.ignore_eos = true;
  config.record_logprobs = {"plain"};
  Engine engine(decoder, tokenizer);
  std::vector<Response> out(prompts.size() * 3);
  const auto count = prompts.size();
  engine.generate(std::move(prompts), config, {.seed = 5, .step = 2}, 7, nullptr,
                  [&](Group&& group) {
                    for (Response& one : group.responses)
                      out[static_cast<size_t>(group.id * 3 + one.sample)] = std::move(one);
                  });
  for (const Response& one : out) hold(one.ids.size() == 60, cat("all of ", count, " groups"));
  return out;
}

}  // namespace

void check_tensor_parallel(Ranks& ranks) {
  for (const bool norm_after : {false, true}) {
    ModelSpec spec;
    spec.vocab_size = 97;
    spec.hidden_size = 128;
    spec.intermediate_size = 192;
    spec.num_hidden_layers = 3;
    spec.max_position_embeddings = 64;
    spec.tie_word_embeddings = norm_after;
    spec.num_attention_heads = 8;
    spec.num_key_value_heads = 4;
    spec.head_dim = 16;
    spec.norm_after = norm_after;
    spec.qk_norm = kernels::QkNorm::head;
    spec.qkv_bias = spec.output_bias = spec.mlp_bias = true;
    if (ranks.size() > 4) {
      hold(part_problem(spec, ranks.size()).find("num_key_value_heads = 4") != std::string::npos,
           "heads that a part has none of");
      continue;
    }
    Decoder whole(spec, false);
    whole.randomize(3, 1.0, 2.0);
    for (Parameter& one : whole.parameters())
      if (at::Tensor value = one.value.detach(); value.dim() == 1)
        for (int64_t i = 0; i < value.numel(); ++i)
          value[i] += 0.1 * std::sin(static_cast<double>(7 * i + std::ssize(one.name)));
    whole.weights_changed();
    Decoder own(part_of(spec, ranks.size()), false);
    take_own(ranks, whole, own);
    hold(own.num_parameters() < whole.num_parameters() - 1000, "less than the whole model");
    const Greedy expected = draw_greedy(whole), found = draw_greedy(own);
    hold(expected.ids == found.ids, "greedy tokens of a model in parts");
    hold(std::set(found.ids.begin(), found.ids.end()).size() > 5, "tokens that differ");
    for (size_t t = 0; t < found.logprobs.size(); ++t)
      hold(std::abs(expected.logprobs[t] - found.logprobs[t]) <= 1e-5,
           cat("log-probability of token ", t));
    const std::string bits(reinterpret_cast<const char*>(found.logprobs.data()),
                           found.logprobs.size() * sizeof(double));
    for (const std::string& other : ranks.gather(bits, "bits"))
      hold(other == bits, "the same bits on all parts");
  }
}

void check_gpu_tensor_parallel(Ranks& ranks) {
  NewModel made;
  made.characters = "0123456789abcdefgh+=#.?~";
  made.end_token = ".";
  ModelSpec& spec = made.spec;
  spec.hidden_size = 104;
  spec.intermediate_size = 272;
  spec.num_hidden_layers = 3;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 64;
  spec.max_position_embeddings = 512;
  spec.qkv_bias = spec.output_bias = spec.mlp_bias = true;
  if (!part_problem(spec, ranks.size()).empty()) return;
  const Model whole = new_model(made, 3, false, at::kCUDA);
  Decoder own(part_of(whole.decoder->spec(), ranks.size()), false, at::kFloat, at::kCUDA);
  take_own(ranks, *whole.decoder, own);
  for (const auto weights : {kernels::WeightFormat::fp32, kernels::WeightFormat::bf16}) {
    const std::vector<Response> expected = draw_on_gpu(*whole.decoder, *whole.tokenizer, weights),
                                found = draw_on_gpu(own, *whole.tokenizer, weights);
    std::string bits;
    for (size_t i = 0; i < found.size(); ++i) {
      const std::vector<float>& own_logprobs = found[i].plain_logprobs;
      for (const int32_t id : found[i].ids) bits += cat(id, " ");
      bits.append(reinterpret_cast<const char*>(own_logprobs.data()),
                  own_logprobs.size() * sizeof(float));
      if (weights != kernels::WeightFormat::fp32) continue;  // rounded otherwise in parts
      hold(found[i].ids == expected[i].ids, "tokens of a model in parts on GPUs");
      hold(worst_gap(own_logprobs, expected[i].plain_logprobs) <= 1e-5, "their log-probabilities");
    }
    for (const std::string& other : ranks.gather(bits, "bits"))
      hold(other == bits, "the same bits on all parts");
  }
}

}  // namespace vernier::testing
