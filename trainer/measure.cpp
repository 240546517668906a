#include "trainer/measure.h"

#include <cmath>

#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/base/pool.h"
#include "core/model/flops.h"
#include "core/model/model.h"
#include "rollout/engine.h"
#include "trainer/step.h"

namespace vernier {
namespace {

// Rounds: the first writes memory for the first time and does not count.
constexpr int64_t kRounds = 4;

Seconds sorted(std::vector<double> seconds) {
  seconds.erase(seconds.begin());
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2], seconds.back()};
}

template <class Body>
double seconds_of(const Body& body) {
  const Clock clock;
  body();
  return clock.seconds();
}

template <class Body>
Seconds rounds_of(const Body& body) {
  std::vector<double> seconds;
  for (int64_t round = 0; round < kRounds; ++round) seconds.push_back(seconds_of(body));
  return sorted(seconds);
}

// Less what was measured apart; noise may make more of that than of the whole.
Seconds less(const Seconds& all, double part) {
  const auto left = [&](double one) { return std::max(0.0, one - part); };
  return {left(all.low), left(all.middle), left(all.high)};
}

int64_t weights_of_layer(const ModelSpec& spec) {
  const int64_t attended = spec.num_attention_heads * spec.head_dim;
  return spec.hidden_size * (spec.attention(0).row() + attended + 3 * spec.intermediate_size);
}

// Weights of the layers of a model that stands for the whole: passes over a cache read them all
// for few rows, so they have to be more than a processor's caches hold.
constexpr int64_t kDrawn = int64_t{128} << 20, kTrained = int64_t{24} << 20;

// The model with fewer words, and layers of about `weights` weights. A layer that is too large by
// itself gets narrower: its products run at the speed of the real ones.
ModelSpec reduced(ModelSpec spec, int64_t weights) {
  constexpr int64_t kLayer = int64_t{32} << 20, kWords = 8192;
  spec.vocab_size = std::min(spec.vocab_size, kWords);
  while (weights_of_layer(spec) > kLayer && spec.num_key_value_heads % 2 == 0 &&
         spec.hidden_size % 64 == 0 && spec.intermediate_size % 64 == 0) {
    spec.hidden_size /= 2;
    spec.intermediate_size /= 2;
    spec.num_attention_heads /= 2;
    spec.num_key_value_heads /= 2;
  }
  const int64_t layers = std::max<int64_t>(1, weights / weights_of_layer(spec));
  spec.num_hidden_layers = std::min(spec.num_hidden_layers, layers);
  if (!spec.layers.empty()) spec.layers.resize(static_cast<size_t>(spec.num_hidden_layers));
  return spec;
}

class Measurement {
 public:
  Measurement(const PlannedJob& job, const PlanSettings& settings, bool trained)
      : job_(job),
        settings_(settings),
        spec_(reduced(job.model().spec(), trained ? kTrained : kDrawn)),
        model_(spec_, trained) {
    model_.training = settings.training;
    model_.weights().fill_(0.01f);
    model_.weights_changed();
    const ModelSpec& whole = job.model().spec();
    const auto ratio = [](int64_t a, int64_t b) {
      return static_cast<double>(a) / static_cast<double>(b);
    };
    layers_ = ratio(whole.num_hidden_layers * weights_of_layer(whole),
                    spec_.num_hidden_layers * weights_of_layer(spec_));
    attention_ = ratio(whole.num_hidden_layers * whole.num_attention_heads,
                       spec_.num_hidden_layers * spec_.num_attention_heads);
    head_ = ratio(whole.vocab_size * whole.hidden_size, spec_.vocab_size * spec_.hidden_size);
  }

  DrawRates draw() {
    DrawRates out;
    const PlannedDraw& rollout = *job_.rollout();
    out.many = std::min(settings_.max_running, rollout.sequences);
    out.few = std::max<int64_t>(1, out.many / 8);
    const double middle = rollout.mean_prompt + rollout.mean_length / 2;
    const int64_t seen = seen_tokens(middle, out.many);
    out.seen = static_cast<double>(seen);
    out.pack = pack(settings_.weights, false) * layers_ + pack(settings_.weights, true) * head_;
    const Seconds few = pass({.rows = out.few, .tokens = 1, .seen = seen});
    const Seconds many = pass({.rows = out.many, .tokens = 1, .seen = seen});
    out.few_rows = few * layers_ + head_pass(out.few) * head_;
    out.many_rows = many * layers_ + head_pass(out.many) * head_;
    if (middle > static_cast<double>(seen) + 1) {
      const Seconds near = pass({.rows = out.many, .tokens = 1, .seen = seen / 4});
      const auto tokens = static_cast<double>(out.many * (seen - seen / 4));
      out.token_seen = less(many, near.middle) * (attention_ / tokens);
    }
    const int64_t tokens =
        std::min<int64_t>(settings_.max_step_tokens, std::llround(rollout.mean_prompt));
    const int64_t prompts = std::clamp<int64_t>(settings_.max_step_tokens / tokens, 1,
                                                rollout.sequences / rollout.num_generations);
    out.prompt_token = pass({.rows = prompts, .tokens = tokens, .seen = 0}) *
                       (layers_ / static_cast<double>(prompts * tokens));
    return out;
  }

  TrainRates train() {
    TrainRates out;
    constexpr int64_t kTokens = 1024;
    const PackedBatch batch = job_.some_tokens(kTokens);
    const WeightFormat format = kernels::format_of(settings_.training.precision);
    if (format == settings_.weights)
      ops::packed(model_.head(), format);  // as the engine leaves it
    else
      out.pack = pack(format, false) * layers_;
    const auto tokens = static_cast<double>(batch.tokens.size());
    TrainingWork work;
    work.add(batch.tokens, std::ssize(batch.rows));
    PackedBatch known = batch;  // in the reduced vocabulary
    for (int32_t& id : known.tokens.ids) id %= static_cast<int32_t>(spec_.vocab_size);
    std::vector<double> forward, backward, head_forward, head_backward;
    for (int64_t round = 0; round < kRounds; ++round) {
      at::Tensor hidden;
      forward.push_back(seconds_of([&] { hidden = model_.hidden(known.tokens); }));
      backward.push_back(seconds_of([&] { hidden.sum().backward(); }));
      const at::Tensor rows =
          at::full({std::ssize(batch.rows), spec_.hidden_size}, 0.01f).requires_grad_(true);
      ops::TokenLogprobs head;
      head_forward.push_back(seconds_of([&] { head = model_.logprobs(rows, known.targets, 1.0); }));
      head_backward.push_back(seconds_of([&] { head.logprob.sum().backward(); }));
    }
    const auto [attend, attend_back] = attention_of(known);
    const Seconds packs = pack_backward();
    const double seen = attention_ / work.seen;
    const double again = settings_.training.recompute ? attend.middle : 0;
    out.forward_token = less(sorted(forward), attend.middle) * (layers_ / tokens);
    out.forward_seen = attend * seen;
    out.backward_token =
        less(sorted(backward), attend_back.middle + packs.middle + again) * (layers_ / tokens);
    out.backward_seen = (attend_back + Seconds{again, again, again}) * seen;
    out.backward_batch = packs * layers_;
    const double row = head_ / static_cast<double>(work.head_tokens);
    out.forward_head = sorted(head_forward) * row;
    out.backward_head = sorted(head_backward) * row;
    return out;
  }

  Seconds optimizer() {
    OptimizerState state(model_, settings_.moments_in_bytes);
    const auto count = [](const Decoder& model) {
      return static_cast<double>(model.num_parameters());
    };
    return rounds_of([&] {
             model_.gradients().fill_(1e-3f);
             apply_update(model_, state, job_.config().optimizer, 1e-6);
           }) *
           (count(job_.model()) / count(model_));
  }

 private:
  // The cached passes of a step: prompts first, then tokens one by one. All rows see as many
  // tokens.
  struct Rows {
    int64_t rows, tokens, seen;  // of each row in the pass, and before it
  };
  Seconds pass(const Rows& one) {
    const int64_t each =
        kernels::round_up(one.seen + one.tokens, kernels::kKeyBlock) / kernels::kKeyBlock;
    KvCache cache(spec_, one.rows * each);
    std::vector<std::vector<int32_t>> pages(static_cast<size_t>(one.rows));
    const std::vector<int32_t> ids(static_cast<size_t>(one.tokens), 1);
    CachedTokens tokens;
    int32_t page = 0;
    for (auto& own : pages) {
      for (int64_t i = 0; i < each; ++i) own.push_back(page++);
      tokens.add(ids, {}, one.seen, own);
    }
    return rounds_of([&] { model_.cached(tokens, cache, settings_.weights); });
  }

  // Logits of `rows` rows and a draw from each.
  Seconds head_pass(int64_t rows) {
    std::vector<float> hidden(static_cast<size_t>(rows * spec_.hidden_size), 0.01f);
    std::vector<float> logits(static_cast<size_t>(rows * spec_.vocab_size));
    const SamplingParams& params = job_.config().rollout.sampling;
    return rounds_of([&] {
      model_.logits(hidden.data(), rows, settings_.weights, logits.data());
      kernel_pool().run(rows, [&](int64_t row) {
        thread_local std::vector<int32_t> scratch;
        SamplingParams plain = params;
        plain.logit_bias.clear();
        kernels::sample_token(logits.data() + row * spec_.vocab_size, spec_.vocab_size, plain, -1,
                              0.5, scratch);
      });
    });
  }

  // The layers' matrices, or the head's, in a format.
  Seconds pack(WeightFormat format, bool head) {
    return rounds_of([&] {
      model_.weights_changed();
      if (head) ops::packed(model_.head(), format);
      for (const LayerParameters& layer : model_.layers())
        for (Parameter* one : {layer.qkv, layer.output, layer.gate_up, layer.down})
          if (!head) ops::packed(*one, format);
    });
  }

  // Tokens that a row sees in a measured pass: its cache stays small.
  int64_t seen_tokens(double wanted, int64_t rows) const {
    constexpr int64_t kMost = 512, kCache = int64_t{256} << 20;
    const int64_t row = KvCache::page_bytes(spec_) / kernels::kKeyBlock * rows;
    return std::clamp<int64_t>(std::llround(wanted), 1,
                               std::clamp<int64_t>(kCache / row, 16, kMost));
  }

  // Attention alone, forward and back, over the rows of a batch.
  std::pair<Seconds, Seconds> attention_of(const PackedBatch& batch) {
    const kernels::AttentionShape shape = spec_.attention(0);
    const auto rows = static_cast<size_t>(batch.tokens.size());
    const auto attended = static_cast<size_t>(shape.heads * shape.head_size);
    std::vector<float> qkv(rows * static_cast<size_t>(shape.row()), 0.1f), d_qkv(qkv.size());
    std::vector<float> out(rows * attended, 0.1f), log_sum(rows * attended);
    const kernels::Segments segments{batch.tokens.starts.data(), batch.tokens.segments(),
                                     batch.tokens.prefix.data()};
    const Seconds forward = rounds_of(
        [&] { kernels::attention(qkv.data(), segments, out.data(), log_sum.data(), shape); });
    const Seconds backward = rounds_of([&] {
      kernels::attention_backward(out.data(), qkv.data(), out.data(), log_sum.data(), segments,
                                  d_qkv.data(), shape);
    });
    const auto layers = static_cast<double>(spec_.num_hidden_layers);
    return {forward * layers, backward * layers};
  }

  // The layers' matrices, packed for the way back.
  Seconds pack_backward() {
    kernels::PackedMatrix to;
    const auto format = kernels::format_of(settings_.training.precision);
    const LayerParameters& layer = model_.layers().front();
    const Seconds one = rounds_of([&] {
      for (const Parameter* from : {layer.qkv, layer.output, layer.gate_up, layer.down})
        kernels::pack_plain(from->value.const_data_ptr<float>(), from->value.size(0),
                            from->value.size(1), to, format);
    });
    return one * static_cast<double>(spec_.num_hidden_layers);
  }

  const PlannedJob& job_;
  const PlanSettings& settings_;
  ModelSpec spec_;
  Decoder model_;
  double layers_ = 1, attention_ = 1, head_ = 1;  // the whole model's over the reduced one's
};

}  // namespace

StepRates StepMeter::rates(const PlanSettings& settings) {
  const auto once = [](auto& known, const auto& key, const auto& measure) {
    auto found = known.find(key);
    if (found == known.end()) found = known.emplace(key, measure()).first;
    return found->second;
  };
  const TrainingOptions& training = settings.training;
  const bool one_form = kernels::format_of(training.precision) == settings.weights;
  return {.draw = once(draw_, std::pair(settings.weights, settings.max_running),
                       [&] { return Measurement(job_, settings, false).draw(); }),
          .train = once(train_, std::tuple(training.precision, training.recompute, one_form),
                        [&] { return Measurement(job_, settings, true).train(); }),
          .optimizer = once(optimizer_, settings.moments_in_bytes,
                            [&] { return Measurement(job_, settings, true).optimizer(); })};
}

int64_t measure_base() {
  NewModel tiny;
  tiny.characters = "0123456789.";
  tiny.end_token = ".";
  tiny.spec.hidden_size = 64;
  tiny.spec.intermediate_size = 128;
  tiny.spec.num_hidden_layers = 2;
  tiny.spec.num_attention_heads = 4;
  tiny.spec.num_key_value_heads = 2;
  tiny.spec.head_dim = 16;
  tiny.spec.max_position_embeddings = 64;
  const Model model = new_model(tiny, 1, true);
  RolloutConfig drawing;
  drawing.max_completion_length = 8;
  Prompt prompt;
  prompt.ids = {1, 2, 3};
  std::vector<Example> examples;
  Engine engine(*model.decoder, *model.tokenizer);
  engine.generate({prompt}, drawing, {.seed = 1, .step = 1}, 0, nullptr, [&](Group&& group) {
    for (const Response& one : group.responses)
      examples.push_back({.prompt = prompt.ids, .response = one.ids});
  });
  OptimizerState state(*model.decoder);
  Metrics metrics;
  sft_step(*model.decoder, state, examples, 1, 64, {}, 1e-3, metrics);
  return resident_memory();
}

}  // namespace vernier
