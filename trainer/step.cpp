#include "trainer/step.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>

#include "algos/parts.h"
#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/model/adapters.h"
#include "core/model/flops.h"
#include "trainer/packing.h"
#include "trainer/sharing.h"

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

  // `ranks` of them did it together.
  void write(Decoder& decoder, int64_t ranks, Metrics& metrics) const {
    metrics.set("time/forward", forward);
    metrics.set("time/backward", backward);
    metrics.set("time/optimizer", optimizer);
    const double seconds = forward + backward + optimizer;
    const Adapters* adapters = decoder.adapters();
    const double gflop =
        training_flop(decoder.spec(), work, adapters == nullptr ? 0 : adapters->num_parameters()) /
        1e9;
    metrics.set("perf/train_tokens_per_s", static_cast<double>(work.tokens) / seconds);
    const double peak = training_peak_gflops(decoder.device(), decoder.training.precision);
    if (peak > 0)
      metrics.set("perf/train_mfu", gflop / seconds / (peak * static_cast<double>(ranks)));
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

// `old` [T] with the log-probabilities that a sampling plan sets in place of the old policy's.
at::Tensor with_assumed(const Update& update, const std::vector<size_t>& which, at::Tensor old) {
  const bool any = std::ranges::any_of(
      which, [&](size_t i) { return !update.samples[i].response->assumed.empty(); });
  if (!any) return old;
  old = old.clone();
  float* next = old.mutable_data_ptr<float>();
  for (const size_t i : which) {
    const Response& response = *update.samples[i].response;
    sequence_of(response, nullptr).for_drawn([&](int64_t t) {
      if (std::ranges::binary_search(response.assumed, static_cast<int32_t>(t)))
        *next = response.logprobs[static_cast<size_t>(t)];
      ++next;
    });
  }
  return old;
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
  batch.old = with_assumed(
      update, which, fresh ? forward.logprob.detach() : concatenated(update, which, &Sample::old));
  if (!update.samples[which.front()].reference.empty())
    batch.reference = concatenated(update, which, &Sample::reference);
  batch.rollout = recorded(update, which);
  batch.advantage = at::tensor(advantage);
  batch.sequence = at::tensor(sequence);
  batch.totals = update.totals;
  return batch;
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

  void add(const Mismatch& other) {
    sum += other.sum;
    divergence += other.divergence;
    count += other.count;
    outside += other.outside;
    if (!(other.largest <= largest)) largest = other.largest;
    if (!(other.smallest_weight >= smallest_weight)) smallest_weight = other.smallest_weight;
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
              "; look at rollout.weights, rollout.max_staleness and algo.correction"));
  }
};

using Batches = std::vector<std::vector<size_t>>;

// What a part of an update adds to its numbers.
struct PartNumbers {
  std::map<std::string, double> sums;
  Mismatch mismatch;
  double entropy = 0;
  int64_t microbatches = 0;
  TrainingWork work;

  void add(const PartNumbers& other) {
    for (const auto& [name, value] : other.sums) sums[name] += value;
    mismatch.add(other.mismatch);
    entropy += other.entropy;
    microbatches += other.microbatches;
    work.tokens += other.work.tokens;
    work.head_tokens += other.work.head_tokens;
    work.seen += other.work.seen;
  }
};

// The tokens of one response of an update.
struct TokenRow {
  int64_t place = 0;
  std::vector<float> logprob, entropy, old, rollout, advantage;
};

template <class Archive, FieldsOf<Mismatch> T>
void fields(Archive& archive, T& gap) {
  archive(gap.sum, gap.largest, gap.divergence, gap.smallest_weight, gap.count, gap.outside);
}

template <class Archive, FieldsOf<PartNumbers> T>
void fields(Archive& archive, T& part) {
  archive(part.sums, part.mismatch, part.entropy, part.microbatches, part.work.tokens,
          part.work.head_tokens, part.work.seen);
}

template <class Archive, FieldsOf<TokenRow> T>
void fields(Archive& archive, T& row) {
  archive(row.place, row.logprob, row.entropy, row.old, row.rollout, row.advantage);
}

// The lists of all ranks that train, one after the other; those of one that is alone as they are.
template <class T>
std::vector<T> gather_lists(const Team& team, std::vector<T> own, const char* what) {
  if (team.trainers.alone()) return own;
  std::vector<T> all;
  for (const std::string& bytes : team.trainers.gather(bytes_of(own), what))
    for (T& one : from_bytes<std::vector<T>>(bytes, what)) all.push_back(std::move(one));
  return all;
}

// The numbers of the whole update: of its parts in their order, wherever they were computed.
PartNumbers sum_of_parts(const Team& team, const std::vector<PartNumbers>& own) {
  const std::vector<PartNumbers> by_rank = gather_lists(team, own, "numbers of an update");
  PartNumbers out;
  const auto rounds = static_cast<size_t>(team.rounds()),
             trainers = static_cast<size_t>(team.trainers.size());
  for (size_t round = 0; round < rounds; ++round)
    for (size_t rank = 0; rank < trainers; ++rank) out.add(by_rank[rank * rounds + round]);
  return out;
}

// The tokens of the whole update in order of its table, in fp64, from those of its micro-batches.
TokenBatch joined(const Update& update, const std::vector<TokenBatch>& parts, const Team& team) {
  std::vector<TokenRow> rows;
  for (const TokenBatch& part : parts) {
    int64_t first = 0;
    for (size_t b = 0; b < part.lengths.size(); ++b) {
      const auto cut = [&](const at::Tensor& column) {
        if (!column.defined()) return std::vector<float>();
        const float* begin = column.detach().const_data_ptr<float>() + first;
        return std::vector<float>(begin, begin + part.lengths[b]);
      };
      rows.push_back({.place = part.sequences[b],
                      .logprob = cut(part.logprob),
                      .entropy = cut(part.entropy),
                      .old = cut(part.old),
                      .rollout = cut(part.rollout),
                      .advantage = cut(part.advantage)});
      first += part.lengths[b];
    }
  }
  rows = gather_lists(team, std::move(rows), "tokens of an update");
  std::sort(rows.begin(), rows.end(),
            [](const TokenRow& a, const TokenRow& b) { return a.place < b.place; });
  TokenBatch out;
  for (const TokenRow& row : rows) {
    out.lengths.push_back(std::ssize(row.logprob));
    out.sequences.push_back(row.place);
  }
  const auto join = [&](std::vector<float> TokenRow::*field) {
    std::vector<float> all;
    for (const TokenRow& row : rows) {
      if ((row.*field).size() != row.logprob.size()) return at::Tensor();
      all.insert(all.end(), (row.*field).begin(), (row.*field).end());
    }
    return at::tensor(all).to(at::kDouble);
  };
  out.logprob = join(&TokenRow::logprob);
  out.entropy = join(&TokenRow::entropy);
  out.old = join(&TokenRow::old);
  out.rollout = join(&TokenRow::rollout);
  out.advantage = join(&TokenRow::advantage);
  const auto count = static_cast<int64_t>(out.lengths.size());
  out.sequence = at::repeat_interleave(at::arange(count), at::tensor(out.lengths));
  out.totals = update.totals;
  return out;
}

Coupling couple(const Algorithm& algorithm, const Update& update,
                const std::vector<TokenBatch>& parts, const Team& team) {
  const at::NoGradGuard no_grad;
  if (algorithm.coupled() == Coupled::tokens)
    return algorithm.couple_tokens(update.table, joined(update, parts, team));
  using Scalars = std::pair<int64_t, std::pair<double, double>>;  // place, score, drift
  std::vector<Scalars> own;
  for (const TokenBatch& part : parts) {
    const SequenceScalars some = algorithm.scalars(part);
    for (size_t b = 0; b < part.sequences.size(); ++b)
      own.push_back({part.sequences[b], {some.score[b], some.drift[b]}});
  }
  const std::vector<double> zeros(update.table.size(), 0.0);
  SequenceScalars all{zeros, zeros};
  for (const auto& [place, scalars] : gather_lists(team, std::move(own), "scalars of an update")) {
    all.score.at(static_cast<size_t>(place)) = scalars.first;
    all.drift.at(static_cast<size_t>(place)) = scalars.second;
  }
  return algorithm.couple(update.table, all);
}

}  // namespace

std::string training_speed(Decoder& decoder, const Metrics& metrics) {
  const double speed = metrics.get("perf/train_tokens_per_s"),
               share = metrics.get("perf/train_mfu");
  if (!std::isfinite(speed)) return "learns nothing";
  std::string out = cat("learns ", fixed(speed, 0), " tok/s");
  if (!std::isfinite(share)) return out;
  const double peak = training_peak_gflops(decoder.device(), decoder.training.precision) / 1e3;
  return out + cat(" at ", fixed(100 * share, 1), " % of ", fixed(peak, peak < 10 ? 2 : 0),
                   " TFLOP/s (", decoder.adapters() == nullptr ? "6N" : "4N",
                   " a token and attention)");
}

namespace {

// Micro-batches of some of the sequences.
Batches split_some(const std::vector<Sequence>& sequences, const std::vector<size_t>& some,
                   int64_t max_tokens) {
  std::vector<Sequence> own;
  for (const size_t i : some) own.push_back(sequences[i]);
  Batches batches = split_by_tokens(own, max_tokens);
  for (auto& which : batches)
    for (size_t& i : which) i = some[i];
  return batches;
}

// The numbers of an update in its metrics; what the algorithm learns of them.
Observation write_down(const Update& update, PartNumbers& all, const UpdateResult& result,
                       Metrics& metrics) {
  all.sums["grad_norm"] = result.grad_norm;
  for (const auto& [name, value] : all.sums) metrics.set_finite(name, value);
  metrics.set("learning_rate", result.learning_rate);
  metrics.set("microbatches", static_cast<double>(all.microbatches));
  Observation seen{.sequences = update.totals.sequences, .updated = true};
  if (update.totals.tokens > 0) {
    seen.entropy = all.entropy / static_cast<double>(update.totals.tokens);
    metrics.set("entropy", seen.entropy);
  }
  all.mismatch.write(metrics);
  if (const auto kl = all.sums.find("kl"); kl != all.sums.end()) seen.kl = kl->second;
  return seen;
}

// What the passes of an update share.
struct Passes {
  Decoder& decoder;
  const Team& team;
  GradientSum sum;
  StepTimes times;

  Passes(Decoder& of, const Team& among) : decoder(of), team(among), sum(among, of) {}

  // Calls pass(round, micro-batch) for every micro-batch of `rounds`, which computes its gradient,
  // before(first) ahead of the i-th of each part and at least once. Returns the sum of all
  // gradients.
  template <class Before, class Pass>
  at::Tensor& run(const std::vector<Batches>& rounds, bool slice, const Before& before,
                  const Pass& pass) {
    const bool together = sum.by_pass();
    size_t most = 0;
    for (const Batches& batches : rounds) most = std::max(most, batches.size());
    if (together) most = static_cast<size_t>(most_passes(team, static_cast<int64_t>(most)));
    before(true);  // also where this rank has nothing to do
    for (size_t i = 0; i < most; ++i) {
      if (i > 0) before(false);
      for (size_t round = 0; round < rounds.size(); ++round) {
        if (i < rounds[round].size())
          pass(round, rounds[round][i]);
        else if (decoder.store() != nullptr)
          decoder.join_pass(true);
        if (together) add();
      }
    }
    if (!together) add();
    const Clock clock;
    at::Tensor& gradient = sum.finish(slice);
    times.backward += clock.seconds();
    return gradient;
  }

 private:
  void add() {
    const Clock clock;
    sum.add();
    times.backward += clock.seconds();
  }
};

// Before an update is in the weights; where several ranks share it, all of them leave.
void check_stop(const std::atomic<bool>* stop, const Team& team) {
  if (stop == nullptr) return;
  if (team.trainers.any(stop->load(std::memory_order_relaxed), "stop of an update"))
    throw Interrupted();
}

}  // namespace

UpdateResult optimizer_step(Decoder& decoder, OptimizerState& state, Algorithm& algorithm,
                            Update& update, double temperature, int64_t max_tokens,
                            const OptimizerConfig& optimizer, double learning_rate,
                            const std::atomic<bool>* stop, Metrics& metrics,
                            const std::function<void(Decoder&)>& on_gradient, const Team& team) {
  const std::vector<Sequence> sequences = sequences_of(update);
  std::vector<Batches> rounds;
  for (const std::vector<size_t>& samples : update.rounds)
    rounds.push_back(split_some(sequences, samples, max_tokens));
  const auto batch_of = [&](const std::vector<size_t>& which, const PackedBatch& packed) {
    return make_batch(update, which, packed_logprobs(decoder, packed, temperature));
  };
  const bool couples = algorithm.coupled() != Coupled::nothing;
  // One micro-batch: its own forward pass has all that is to be coupled.
  const bool single = team.trainers.alone() && team.parts() == 1 && rounds.front().size() == 1;
  Coupling coupling;
  if (couples && !single) {
    const at::NoGradGuard no_grad;
    Batches all;
    for (const Batches& batches : rounds) all.insert(all.end(), batches.begin(), batches.end());
    std::vector<TokenBatch> parts;
    make_passes(decoder, team, std::ssize(all), [&](int64_t batch) {
      const std::vector<size_t>& which = all[static_cast<size_t>(batch)];
      parts.push_back(batch_of(which, pack(sequences, which)));
    });
    coupling = couple(algorithm, update, parts, team);
  }
  std::vector<PartNumbers> numbers(rounds.size());
  Passes passes(decoder, team);
  StepTimes& times = passes.times;
  const auto before = [&](bool first) {
    // Ranks that go through micro-batches of their own meet once.
    if (first || team.trainers.alone() || passes.sum.by_pass()) check_stop(stop, team);
  };
  const auto pass = [&](size_t round, const std::vector<size_t>& which) {
    PartNumbers& part = numbers[round];
    pulse::beat();
    const Clock forward_clock;
    const PackedBatch packed = pack(sequences, which);
    const TokenBatch batch = batch_of(which, packed);
    part.work.add(packed.tokens, std::ssize(packed.rows));
    if (couples && single) coupling = couple(algorithm, update, {batch}, team);
    const Loss loss = algorithm.loss(batch, couples ? &coupling : nullptr);
    for (const auto& [name, value] : loss.metrics) part.sums[name] += value;
    part.entropy += sum_of(batch.entropy);
    part.mismatch.add(batch, update.samples[which.front()].old_is_recorded);
    ++part.microbatches;
    times.forward += forward_clock.seconds();
    const Clock backward_clock;
    loss.value.backward();
    times.backward += backward_clock.seconds();
  };
  at::Tensor& gradient = passes.run(rounds, state.is_slice(), before, pass);
  const Clock optimizer_clock;
  PartNumbers all = sum_of_parts(team, numbers);
  times.work = all.work;
  all.sums.insert(coupling.metrics.begin(), coupling.metrics.end());
  if (on_gradient) on_gradient(decoder);
  const UpdateResult result =
      apply_update(decoder, state, gradient, optimizer, learning_rate, team.trainers);
  times.optimizer = optimizer_clock.seconds();
  times.write(decoder, team.trainers.size(), metrics);
  const Observation seen = write_down(update, all, result, metrics);
  if (result.applied) algorithm.observe(seen);
  return result;
}

namespace {

// No two examples share a prompt, so each has a segment to itself.
void place(const std::vector<Example>& examples, const std::vector<size_t>& which,
           PackedTokens& tokens) {
  const auto moved = [](const Example& one) { return one.scale != 1 || one.offset != 0; };
  if (std::none_of(examples.begin(), examples.end(), moved)) return;
  ensure(tokens.segments() == std::ssize(which), "a segment for each example");
  for (size_t s = 0; s < which.size(); ++s)
    for (int64_t p = 0; p < tokens.starts[s + 1] - tokens.starts[s]; ++p) {
      const Example& one = examples[which[s]];
      tokens.rope_positions.push_back(
          static_cast<float>((static_cast<double>(p) + one.offset) / one.scale));
    }
}

}  // namespace

UpdateResult sft_step(Decoder& decoder, OptimizerState& state, const std::vector<Example>& examples,
                      double divisor, int64_t max_tokens, const OptimizerConfig& optimizer,
                      double learning_rate, Metrics& metrics, const Team& team) {
  std::vector<Sequence> sequences;
  std::vector<std::vector<size_t>> shares(static_cast<size_t>(team.rounds()));
  double tokens = 0;
  for (const auto& [prompt, response, scale, offset] : examples) {
    const int64_t part = std::ssize(sequences) * team.parts() / std::ssize(examples);
    if (team.rank_of(part) == team.trainers.rank())
      shares[static_cast<size_t>(part / team.trainers.size())].push_back(sequences.size());
    sequences.push_back({&prompt, response.data(), static_cast<int64_t>(response.size())});
    tokens += static_cast<double>(response.size());
  }
  std::vector<Batches> rounds;
  for (const std::vector<size_t>& some : shares)
    rounds.push_back(split_some(sequences, some, max_tokens));
  std::vector<PartNumbers> numbers(rounds.size());
  Passes passes(decoder, team);
  StepTimes& times = passes.times;
  const auto pass = [&](size_t round, const std::vector<size_t>& which) {
    PartNumbers& part = numbers[round];
    pulse::beat();
    const Clock forward_clock;
    PackedBatch packed = pack(sequences, which);
    place(examples, which, packed.tokens);
    part.work.add(packed.tokens, std::ssize(packed.rows));
    const at::Tensor sum = packed_logprobs(decoder, packed, 1.0).logprob.sum();
    part.sums["nll"] -= sum.item<double>();
    times.forward += forward_clock.seconds();
    const Clock backward_clock;
    (-sum / divisor).backward();
    times.backward += backward_clock.seconds();
  };
  at::Tensor& gradient = passes.run(
      rounds, state.is_slice(), [](bool) {}, pass);
  const Clock optimizer_clock;
  PartNumbers all = sum_of_parts(team, numbers);
  times.work = all.work;
  const double total = all.sums["nll"];
  const UpdateResult result =
      apply_update(decoder, state, gradient, optimizer, learning_rate, team.trainers);
  times.optimizer = optimizer_clock.seconds();
  times.write(decoder, team.trainers.size(), metrics);
  metrics.set("loss", total / divisor);
  metrics.set("nll", total / tokens);
  metrics.set("num_tokens", tokens);
  metrics.set("grad_norm", result.grad_norm);
  metrics.set("learning_rate", result.learning_rate);
  return result;
}

}  // namespace vernier
