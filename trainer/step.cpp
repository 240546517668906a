#include "trainer/step.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "algos/parts.h"
#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/model/adapters.h"
#include "core/model/flops.h"
#include "trainer/packing.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"loss", "loss", "of the update, under the algorithm's normaliser; sft: over loss_divisor"},
    {"nll", "nats", "sft: mean negative log-probability of a response token"},
    {"grad_norm", "loss", "global norm of the gradient before clipping"},
    {"learning_rate", "", "of the update"},
    {"time/forward", "s", "of the update's passes and losses"},
    {"time/backward", "s", "of the update's gradients"},
    {"time/optimizer", "s", "of clipping and AdamW"},
    {"perf/train_tokens_per_s", "tokens/s",
     "through forward, backward and optimizer; a prompt that responses share counts once"},
    {"perf/train_mfu", "share",
     "of the dense peak in the precision of training, which is measured on a CPU: 6 operations a "
     "layer weight and token, 6 a head weight and predicted token (4 and 4 with trainer.lora, and "
     "4 "
     "a number of the adapters and token), 12 layers d_attention for each token that one attends "
     "to"},
    {"microbatches", "passes", "forward and backward passes of the update"},
    {"entropy", "nats", "mean of the policy's entropy at the trained tokens"},
    {"sampling/sampling_logp_difference/mean", "nats",
     "mean gap between the log-probabilities of the step's start policy and those recorded while "
     "sampling; with old_logprobs = \"rollout\" of the policy that each update starts from"},
    {"sampling/sampling_logp_difference/max", "nats", "largest such gap; 0: the same numbers"},
    {"sampling/k3/mean", "nats",
     "divergence of the start policy from the distribution that was drawn from: mean of "
     "w - 1 - ln w, w the ratio of a token's probabilities under the two"},
    {"sampling/weight_outside", "share", "tokens whose ratio w is outside [0.5, 2]"},
    {"sampling/sequence_weight/min", "", "smallest product of a response's ratios w"}};

// Mean divergence (sampling/k3/mean) from which on the rollouts are no longer those of the policy.
// verl's rejection by k3 uses the same number.
constexpr double kMismatchAlarm = 0.01;

// Where the time of an update goes, and what it did in it.
struct StepTimes {
  double forward = 0, backward = 0, optimizer = 0;  // s
  TrainingWork work;

  void write(Decoder& decoder, Metrics& metrics) const {
    metrics.set("time/forward", forward);
    metrics.set("time/backward", backward);
    metrics.set("time/optimizer", optimizer);
    const double seconds = forward + backward + optimizer;
    const Adapters* adapters = decoder.adapters();
    const double gflop =
        training_flop(decoder.spec(), work, adapters == nullptr ? 0 : adapters->num_parameters()) /
        1e9;
    metrics.set("perf/train_tokens_per_s", static_cast<double>(work.tokens) / seconds);
    const double peak =
        training_peak_gflops(decoder.weights().device(), decoder.training.precision);
    if (peak > 0)
      metrics.set("perf/train_mfu", gflop / seconds / peak);
    else
      metrics.set_undefined("perf/train_mfu");
  }
};

at::Tensor concatenated(const Update& update, const std::vector<size_t>& which,
                        std::vector<float> Sample::*field) {
  std::vector<float> all;
  for (const size_t i : which) {
    const std::vector<float>& values = update.samples[i].*field;
    all.insert(all.end(), values.begin(), values.end());
  }
  return at::tensor(all);
}

// Log-probabilities of the tokens as the engine recorded them; undefined where it did not.
at::Tensor recorded(const Update& update, const std::vector<size_t>& which) {
  std::vector<float> all;
  for (const size_t i : which) {
    const Response& response = *update.samples[i].response;
    if (response.logprobs.empty()) return {};
    sequence_of(response, nullptr).for_drawn([&](int64_t t) {
      all.push_back(response.logprobs[static_cast<size_t>(t)]);
    });
  }
  return at::tensor(all);
}

TokenBatch make_batch(const Update& update, const std::vector<size_t>& which,
                      const ops::TokenLogprobs& forward) {
  TokenBatch batch;
  std::vector<int64_t> sequence;
  std::vector<float> advantage;
  for (const size_t i : which) {
    const Sample& sample = update.samples[i];
    const auto place = static_cast<int64_t>(batch.lengths.size());
    const int32_t drawn = drawn_tokens(*sample.response);
    batch.lengths.push_back(drawn);
    batch.sequences.push_back(sample.place);
    sequence.insert(sequence.end(), static_cast<size_t>(drawn), place);
    const std::vector<float>& each = sample.response->token_advantages;
    if (each.empty())
      advantage.insert(advantage.end(), static_cast<size_t>(drawn),
                       static_cast<float>(sample.advantage));
    else
      advantage.insert(advantage.end(), each.begin(), each.end());
  }
  ensure(static_cast<int64_t>(advantage.size()) == forward.logprob.numel(), "a number a token");
  batch.logprob = forward.logprob;
  batch.entropy = forward.entropy;
  const bool fresh = update.samples[which.front()].old.empty();
  batch.old = fresh ? forward.logprob.detach() : concatenated(update, which, &Sample::old);
  if (!update.samples[which.front()].reference.empty())
    batch.reference = concatenated(update, which, &Sample::reference);
  batch.rollout = recorded(update, which);
  batch.advantage = at::tensor(advantage);
  batch.sequence = at::tensor(sequence);
  batch.totals = update.totals;
  return batch;
}

std::vector<Sequence> sequences_of(const Update& update) {
  std::vector<Sequence> out;
  for (const Sample& sample : update.samples)
    out.push_back(sequence_of(*sample.response, sample.prompt_ids));
  return out;
}

// How far the log-probabilities of the policy that the update starts from (of the step's first,
// where there are more) are from those recorded while sampling.
struct Mismatch {
  double sum = 0, largest = 0, divergence = 0, smallest_weight = INFINITY;
  int64_t count = 0, outside = 0;

  void add(const TokenBatch& batch, bool old_is_recorded) {
    if (!batch.rollout.defined()) return;
    const at::Tensor start = old_is_recorded ? batch.logprob.detach() : batch.old;
    const float* now = start.const_data_ptr<float>();
    const float* then = batch.rollout.const_data_ptr<float>();
    for (const int64_t length : batch.lengths) {
      double log_weight = 0;
      for (int64_t t = 0; t < length; ++t) {
        const double x = double{*now++} - double{*then++}, gap = std::abs(x);
        sum += gap;
        if (!(gap <= largest)) largest = gap;  // NaN stays
        divergence += std::expm1(x) - x;
        if (!(gap <= std::numbers::ln2)) ++outside;
        log_weight += x;
      }
      if (!(std::exp(log_weight) >= smallest_weight)) smallest_weight = std::exp(log_weight);
      count += length;
    }
  }

  void write(Metrics& metrics) const {
    if (count == 0) return;
    const auto tokens = static_cast<double>(count);
    metrics.set("sampling/sampling_logp_difference/mean", sum / tokens);
    metrics.set("sampling/sampling_logp_difference/max", largest);
    metrics.set("sampling/k3/mean", divergence / tokens);
    metrics.set("sampling/weight_outside", static_cast<double>(outside) / tokens);
    metrics.set("sampling/sequence_weight/min", smallest_weight);
    if (!(divergence / tokens <= kMismatchAlarm))
      log::warn(
          cat("the responses were drawn from another distribution than the policy's: mean "
              "divergence ",
              divergence / tokens, " nats a token, above ", kMismatchAlarm,
              "; look at rollout.weights and at algo.correction"));
  }
};

using Batches = std::vector<std::vector<size_t>>;

// The tokens of the whole update in order of its table, in fp64, from those of its micro-batches.
TokenBatch joined(const Update& update, const Batches& batches,
                  const std::vector<TokenBatch>& parts) {
  TokenBatch out;
  const auto join = [&](at::Tensor TokenBatch::*field) {
    std::vector<at::Tensor> pieces(update.samples.size());
    for (size_t m = 0; m < parts.size(); ++m) {
      if (!(parts[m].*field).defined()) return at::Tensor();
      const auto rows = (parts[m].*field).detach().split_with_sizes(parts[m].lengths);
      for (size_t k = 0; k < rows.size(); ++k) pieces[batches[m][k]] = rows[k];
    }
    return at::cat(pieces).to(at::kDouble);
  };
  out.logprob = join(&TokenBatch::logprob);
  out.entropy = join(&TokenBatch::entropy);
  out.old = join(&TokenBatch::old);
  out.rollout = join(&TokenBatch::rollout);
  out.advantage = join(&TokenBatch::advantage);
  for (const Sample& sample : update.samples) {
    out.lengths.push_back(drawn_tokens(*sample.response));
    out.sequences.push_back(sample.place);
  }
  const auto count = static_cast<int64_t>(out.lengths.size());
  out.sequence = at::repeat_interleave(at::arange(count), at::tensor(out.lengths));
  out.totals = update.totals;
  return out;
}

Coupling couple(const Algorithm& algorithm, const Update& update, const Batches& batches,
                const std::vector<TokenBatch>& parts) {
  const at::NoGradGuard no_grad;
  if (algorithm.coupled() == Coupled::tokens)
    return algorithm.couple_tokens(update.table, joined(update, batches, parts));
  const std::vector<double> zeros(update.table.size(), 0.0);
  SequenceScalars all{zeros, zeros};
  for (const TokenBatch& part : parts) {
    const SequenceScalars some = algorithm.scalars(part);
    for (size_t b = 0; b < part.sequences.size(); ++b) {
      const auto place = static_cast<size_t>(part.sequences[b]);
      all.score[place] = some.score[b];
      all.drift[place] = some.drift[b];
    }
  }
  return algorithm.couple(update.table, all);
}

// Calls `body` with every sample, the numbers of a forward pass without gradient that has it, and
// the place of its first token among them.
template <class Body>
void for_each_sample(Decoder& decoder, Update& update, double temperature, int64_t max_tokens,
                     bool square_mass, const Body& body) {
  const at::NoGradGuard no_grad;
  const std::vector<Sequence> sequences = sequences_of(update);
  for (const auto& which : split_by_tokens(sequences, max_tokens)) {
    const ops::TokenLogprobs forward =
        packed_logprobs(decoder, pack(sequences, which), temperature, square_mass);
    int64_t first = 0;
    for (const size_t i : which) {
      body(update.samples[i], forward, first);
      first += drawn_tokens(*update.samples[i].response);
    }
  }
}

template <class Number>
std::vector<Number> tokens_of(const at::Tensor& values, int64_t first, const Sample& sample) {
  const float* begin = values.const_data_ptr<float>() + first;
  return {begin, begin + drawn_tokens(*sample.response)};
}

void fill_columns(GroupTable& table, const CreditNeeds& needs, Update& update,
                  const CreditModels& models) {
  const auto pass = [&](Decoder& decoder, TokenColumn* logprob, TokenColumn* square_mass) {
    if (logprob != nullptr) logprob->resize(table.size());
    if (square_mass != nullptr) square_mass->resize(table.size());
    for_each_sample(decoder, update, models.temperature, models.max_tokens, square_mass != nullptr,
                    [&](Sample& sample, const ops::TokenLogprobs& forward, int64_t first) {
                      const auto place = static_cast<size_t>(sample.place);
                      if (logprob != nullptr)
                        (*logprob)[place] = tokens_of<double>(forward.logprob, first, sample);
                      if (square_mass != nullptr)
                        (*square_mass)[place] =
                            tokens_of<double>(forward.square_mass, first, sample);
                    });
  };
  if (needs.old || needs.square_mass)
    pass(*models.policy, needs.old ? &table.old : nullptr,
         needs.square_mass ? &table.square_mass : nullptr);
  if (!needs.reference) return;
  const WithoutAdapters base(*models.reference);
  pass(*models.reference, &table.reference, nullptr);
}

bool scored(const Response& response, bool by_channel) {
  if (response.left_out) return response.left_out_in_batch;
  if (response.reward) return true;
  return by_channel && std::any_of(response.rewards.begin(), response.rewards.end(),
                                   [](const RewardPart& part) { return part.abstained.empty(); });
}

// Adds the parts of a response's reward as its values in the channels, which are by name.
void add_channels(const Response& response, GroupTable& table) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  const size_t place = table.reward.size() - 1;
  for (const RewardPart& part : response.rewards) {
    auto channel = std::find_if(table.channels.begin(), table.channels.end(),
                                [&](const RewardChannel& one) { return one.name == part.name; });
    if (channel == table.channels.end())
      channel = table.channels.insert(channel, {part.name, part.weight, {}});
    channel->value.resize(place + 1, none);
    if (part.abstained.empty() && !response.left_out) channel->value[place] = part.value;
  }
}

}  // namespace

std::string training_speed(Decoder& decoder, const Metrics& metrics) {
  const double speed = metrics.get("perf/train_tokens_per_s"),
               share = metrics.get("perf/train_mfu");
  if (!std::isfinite(speed)) return "learns nothing";
  std::string out = cat("learns ", fixed(speed, 0), " tok/s");
  if (!std::isfinite(share)) return out;
  const double peak =
      training_peak_gflops(decoder.weights().device(), decoder.training.precision) / 1e3;
  return out + cat(" at ", fixed(100 * share, 1), " % of ", fixed(peak, peak < 10 ? 2 : 0),
                   " TFLOP/s (", decoder.adapters() == nullptr ? "6N" : "4N",
                   " a token and attention)");
}

bool enters(const Response& response, bool by_channel) {
  return scored(response, by_channel) && !response.masked && drawn_tokens(response) > 0 &&
         policy_ended(response);
}

GroupTable make_table(std::span<const Group> groups, bool by_channel) {
  GroupTable table;
  if (!groups.empty()) table.step = groups.front().step;
  for (const Group& group : groups) {
    for (const Response& response : group.responses) {
      const bool rewarded = response.reward && !response.left_out;
      table.reward.push_back(rewarded ? *response.reward
                                      : std::numeric_limits<double>::quiet_NaN());
      const bool verdict = response.correct && !response.left_out;
      table.correct.push_back(verdict ? (*response.correct ? 1 : 0) : -1);
      table.length.push_back(response.num_tokens);
      table.tokens.push_back(drawn_tokens(response));
      double sum = std::numeric_limits<double>::quiet_NaN();
      if (!response.logprobs.empty() && drawn_tokens(response) > 0) {
        sum = 0;
        sequence_of(response, nullptr).for_drawn([&](int64_t t) {
          sum += response.logprobs[static_cast<size_t>(t)];
        });
        sum /= drawn_tokens(response);
      }
      table.mean_logprob.push_back(sum);
      table.active.push_back(enters(response, by_channel) ? 1 : 0);
      add_channels(response, table);
    }
    table.offsets.push_back(static_cast<int64_t>(table.reward.size()));
    if (group.greedy_reward) table.greedy.push_back(*group.greedy_reward);
  }
  // Some of many would stand beside the wrong groups.
  if (std::ssize(table.greedy) != table.groups()) table.greedy.clear();
  for (RewardChannel& channel : table.channels)
    channel.value.resize(table.size(), std::numeric_limits<double>::quiet_NaN());
  return table;
}

namespace {

Update update_of(std::span<const Group> groups, int64_t max_completion_length, bool by_channel) {
  Update update;
  update.table = make_table(groups, by_channel);
  int64_t place = 0;
  for (const Group& group : groups)
    for (const Response& response : group.responses) {
      const bool active = update.table.active[static_cast<size_t>(place++)] != 0;
      if (active || (response.masked && scored(response, by_channel))) ++update.totals.responses;
      if (!active) continue;
      update.samples.push_back({.prompt_ids = &group.prompt.ids,
                                .response = &response,
                                .advantage = response.advantage,
                                .place = place - 1,
                                .old = {},
                                .reference = {},
                                .old_is_recorded = false});
      update.totals.tokens += drawn_tokens(response);
      ++update.totals.sequences;
    }
  update.totals.max_completion_length = max_completion_length;
  return update;
}

}  // namespace

void assign_credit(Algorithm& algorithm, std::span<Group> groups, const CreditModels& models,
                   Metrics& metrics) {
  if (groups.empty()) return;  // a filter may leave nothing
  GroupTable table = make_table(groups, algorithm.uses_channels());
  const CreditNeeds needs = algorithm.credit_needs();
  if (needs.any()) {
    Update all = update_of(groups, 0, algorithm.uses_channels());
    fill_columns(table, needs, all, models);
  }
  const Credit credit = algorithm.credit(table);
  size_t place = 0;
  for (Group& group : groups)
    for (Response& response : group.responses) {
      response.advantage = credit.response[place];
      response.token_advantages.clear();
      if (!credit.token.empty())
        response.token_advantages.assign(credit.token[place].begin(), credit.token[place].end());
      ++place;
    }
  if (std::isfinite(credit.kl)) metrics.set("kl", credit.kl);
  algorithm.observe({.kl = credit.kl,
                     .entropy = std::nan(""),
                     .sequences = std::count(table.active.begin(), table.active.end(), 1),
                     .updated = false});
}

Update make_update(const std::vector<Group>& groups, size_t first, size_t last,
                   int64_t max_completion_length, bool by_channel) {
  return update_of(std::span(groups).subspan(first, last - first), max_completion_length,
                   by_channel);
}

void fill_logprobs(Decoder& decoder, Update& update, double temperature, int64_t max_tokens,
                   bool reference) {
  std::optional<WithoutAdapters> base;
  if (reference) base.emplace(decoder);
  for_each_sample(decoder, update, temperature, max_tokens, false,
                  [&](Sample& sample, const ops::TokenLogprobs& forward, int64_t first) {
                    (reference ? sample.reference : sample.old) =
                        tokens_of<float>(forward.logprob, first, sample);
                  });
}

UpdateResult optimizer_step(Decoder& decoder, OptimizerState& state, Algorithm& algorithm,
                            Update& update, double temperature, int64_t max_tokens,
                            const OptimizerConfig& optimizer, double learning_rate,
                            const std::atomic<bool>* stop, Metrics& metrics,
                            const std::function<void(Decoder&)>& on_gradient) {
  const std::vector<Sequence> sequences = sequences_of(update);
  const Batches batches = split_by_tokens(sequences, max_tokens);
  const auto batch_of = [&](const std::vector<size_t>& which, const PackedBatch& packed) {
    return make_batch(update, which, packed_logprobs(decoder, packed, temperature));
  };
  Coupling coupling;
  const bool couples = algorithm.coupled() != Coupled::nothing;
  if (couples && batches.size() > 1) {
    const at::NoGradGuard no_grad;
    std::vector<TokenBatch> parts;
    for (const auto& which : batches) parts.push_back(batch_of(which, pack(sequences, which)));
    coupling = couple(algorithm, update, batches, parts);
  }
  std::map<std::string, double> sums;
  Mismatch mismatch;
  StepTimes times;
  double entropy = 0;
  for (const auto& which : batches) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Interrupted();
    const Clock forward_clock;
    const PackedBatch packed = pack(sequences, which);
    const TokenBatch batch = batch_of(which, packed);
    times.work.add(packed.tokens, std::ssize(packed.rows));
    // One micro-batch: its own forward pass has all that is to be coupled.
    if (couples && batches.size() == 1) coupling = couple(algorithm, update, batches, {batch});
    const Loss loss = algorithm.loss(batch, couples ? &coupling : nullptr);
    for (const auto& [name, value] : loss.metrics) sums[name] += value;
    entropy += sum_of(batch.entropy);
    mismatch.add(batch, update.samples[which.front()].old_is_recorded);
    times.forward += forward_clock.seconds();
    const Clock backward_clock;
    loss.value.backward();
    times.backward += backward_clock.seconds();
  }
  sums.insert(coupling.metrics.begin(), coupling.metrics.end());
  if (on_gradient) on_gradient(decoder);
  const Clock optimizer_clock;
  const UpdateResult result = apply_update(decoder, state, optimizer, learning_rate);
  times.optimizer = optimizer_clock.seconds();
  times.write(decoder, metrics);
  sums["grad_norm"] = result.grad_norm;
  for (const auto& [name, value] : sums) metrics.set_finite(name, value);
  metrics.set("learning_rate", result.learning_rate);
  metrics.set("microbatches", static_cast<double>(batches.size()));
  Observation seen{.sequences = update.totals.sequences, .updated = true};
  if (update.totals.tokens > 0) {
    seen.entropy = entropy / static_cast<double>(update.totals.tokens);
    metrics.set("entropy", seen.entropy);
  }
  mismatch.write(metrics);
  if (const auto kl = sums.find("kl"); kl != sums.end()) seen.kl = kl->second;
  if (result.applied) algorithm.observe(seen);
  return result;
}

UpdateResult sft_step(
    Decoder& decoder, OptimizerState& state,
    const std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>>& pairs, double divisor,
    int64_t max_tokens, const OptimizerConfig& optimizer, double learning_rate, Metrics& metrics) {
  std::vector<Sequence> sequences;
  double tokens = 0, total = 0;
  for (const auto& [prompt, response] : pairs) {
    sequences.push_back({&prompt, response.data(), static_cast<int64_t>(response.size())});
    tokens += static_cast<double>(response.size());
  }
  StepTimes times;
  for (const auto& which : split_by_tokens(sequences, max_tokens)) {
    const Clock forward_clock;
    const PackedBatch packed = pack(sequences, which);
    times.work.add(packed.tokens, std::ssize(packed.rows));
    const at::Tensor sum = packed_logprobs(decoder, packed, 1.0).logprob.sum();
    total -= sum.item<double>();
    times.forward += forward_clock.seconds();
    const Clock backward_clock;
    (-sum / divisor).backward();
    times.backward += backward_clock.seconds();
  }
  const Clock optimizer_clock;
  const UpdateResult result = apply_update(decoder, state, optimizer, learning_rate);
  times.optimizer = optimizer_clock.seconds();
  times.write(decoder, metrics);
  metrics.set("loss", total / divisor);
  metrics.set("nll", total / tokens);
  metrics.set("num_tokens", tokens);
  metrics.set("grad_norm", result.grad_norm);
  metrics.set("learning_rate", result.learning_rate);
  return result;
}

}  // namespace vernier
