#include "trainer/step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/errors.h"
#include "trainer/packing.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"loss", "loss", "of the update, under the algorithm's normaliser; sft: over loss_divisor"},
    {"nll", "nats", "sft: mean negative log-probability of a response token"},
    {"grad_norm", "loss", "global norm of the gradient before clipping"},
    {"learning_rate", "", "of the update"},
    {"microbatches", "passes", "forward and backward passes of the update"},
    {"entropy", "nats", "mean of the policy's entropy at the trained tokens"},
    {"sampling/sampling_logp_difference/mean", "nats",
     "mean gap between the log-probabilities of the step's start policy and those recorded while "
     "sampling; with old_logprobs = \"rollout\" of the policy that each update starts from"},
    {"sampling/sampling_logp_difference/max", "nats", "largest such gap; 0: the same numbers"}};

at::Tensor concatenated(const Update& update, const std::vector<size_t>& which,
                        std::vector<float> Sample::*field) {
  std::vector<float> all;
  for (const size_t i : which) {
    const std::vector<float>& values = update.samples[i].*field;
    all.insert(all.end(), values.begin(), values.end());
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
    advantage.insert(advantage.end(), static_cast<size_t>(drawn),
                     static_cast<float>(sample.advantage));
  }
  batch.logprob = forward.logprob;
  batch.entropy = forward.entropy;
  const bool fresh = update.samples[which.front()].old.empty();
  batch.old = fresh ? forward.logprob.detach() : concatenated(update, which, &Sample::old);
  if (!update.samples[which.front()].reference.empty())
    batch.reference = concatenated(update, which, &Sample::reference);
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
  double sum = 0, largest = 0;
  int64_t count = 0;

  void add(const TokenBatch& batch, const Update& update, const std::vector<size_t>& which) {
    const bool recorded = update.samples[which.front()].old_is_recorded;
    const at::Tensor start = recorded ? batch.logprob.detach() : batch.old;
    const float* now = start.const_data_ptr<float>();
    for (const size_t i : which) {
      const Response& response = *update.samples[i].response;
      if (response.logprobs.empty()) {
        now += drawn_tokens(response);
        continue;
      }
      sequence_of(response, nullptr).for_drawn([&](int64_t t) {
        const double gap = std::abs(double{*now++} - response.logprobs[static_cast<size_t>(t)]);
        sum += gap;
        if (!(gap <= largest)) largest = gap;  // NaN stays
        ++count;
      });
    }
  }
};

SequenceScalars empty_scalars(const Update& update) {
  const std::vector<double> zeros(update.table.size(), 0.0);
  return {zeros, zeros};
}

// From the order of the batch into that of the update.
void scatter(const SequenceScalars& some, const TokenBatch& batch, SequenceScalars& all) {
  for (size_t b = 0; b < batch.sequences.size(); ++b) {
    const auto place = static_cast<size_t>(batch.sequences[b]);
    all.score[place] = some.score[b];
    all.drift[place] = some.drift[b];
  }
}

// Scalars of every sequence of the update, from a pass without gradient.
SequenceScalars gather_scalars(Decoder& decoder, const Algorithm& algorithm, const Update& update,
                               const std::vector<Sequence>& sequences,
                               const std::vector<std::vector<size_t>>& batches,
                               double temperature) {
  const at::NoGradGuard no_grad;
  SequenceScalars all = empty_scalars(update);
  for (const auto& which : batches) {
    const TokenBatch batch =
        make_batch(update, which, packed_logprobs(decoder, sequences, which, temperature));
    scatter(algorithm.scalars(batch), batch, all);
  }
  return all;
}

bool enters(const Response& response) {
  return response.reward.has_value() && !response.masked && drawn_tokens(response) > 0 &&
         policy_ended(response);
}

}  // namespace

GroupTable make_table(std::span<const Group> groups) {
  GroupTable table;
  for (const Group& group : groups) {
    for (const Response& response : group.responses) {
      table.reward.push_back(response.reward.value_or(std::numeric_limits<double>::quiet_NaN()));
      table.correct.push_back(response.correct ? (*response.correct ? 1 : 0) : -1);
      table.length.push_back(response.num_tokens);
      double sum = std::numeric_limits<double>::quiet_NaN();
      if (!response.logprobs.empty() && drawn_tokens(response) > 0) {
        sum = 0;
        sequence_of(response, nullptr).for_drawn([&](int64_t t) {
          sum += response.logprobs[static_cast<size_t>(t)];
        });
        sum /= drawn_tokens(response);
      }
      table.mean_logprob.push_back(sum);
      table.active.push_back(enters(response) ? 1 : 0);
    }
    table.offsets.push_back(static_cast<int64_t>(table.reward.size()));
  }
  return table;
}

Update make_update(const std::vector<Group>& groups, size_t first, size_t last,
                   int64_t max_completion_length) {
  const std::span<const Group> range = std::span(groups).subspan(first, last - first);
  Update update;
  update.table = make_table(range);
  int64_t place = 0;
  for (const Group& group : range)
    for (const Response& response : group.responses) {
      if (update.table.active[static_cast<size_t>(place++)] == 0) continue;
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

void fill_logprobs(Decoder& decoder, Update& update, double temperature, int64_t max_tokens,
                   bool reference) {
  const at::NoGradGuard no_grad;
  const std::vector<Sequence> sequences = sequences_of(update);
  for (const auto& which : split_by_tokens(sequences, max_tokens)) {
    const at::Tensor logprob = packed_logprobs(decoder, sequences, which, temperature).logprob;
    const float* next = logprob.const_data_ptr<float>();
    for (const size_t i : which) {
      Sample& sample = update.samples[i];
      const int32_t drawn = drawn_tokens(*sample.response);
      (reference ? sample.reference : sample.old).assign(next, next + drawn);
      next += drawn;
    }
  }
}

UpdateResult optimizer_step(Decoder& decoder, OptimizerState& state, const Algorithm& algorithm,
                            Update& update, double temperature, int64_t max_tokens,
                            const OptimizerConfig& optimizer, double learning_rate,
                            const std::atomic<bool>* stop, Metrics& metrics,
                            const std::function<void(Decoder&)>& on_gradient) {
  const std::vector<Sequence> sequences = sequences_of(update);
  const auto batches = split_by_tokens(sequences, max_tokens);
  Coupling coupling;
  const bool couples = algorithm.couples();
  if (couples && batches.size() > 1)
    coupling = algorithm.couple(
        update.table, gather_scalars(decoder, algorithm, update, sequences, batches, temperature));
  std::map<std::string, double> sums;
  Mismatch mismatch;
  double entropy = 0;
  for (const auto& which : batches) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Interrupted();
    const TokenBatch batch =
        make_batch(update, which, packed_logprobs(decoder, sequences, which, temperature));
    if (couples && batches.size() == 1) {
      // One micro-batch: its own forward pass has all the scalars, in another order.
      SequenceScalars all = empty_scalars(update);
      scatter(algorithm.scalars(batch), batch, all);
      coupling = algorithm.couple(update.table, all);
    }
    const Loss loss = algorithm.loss(batch, couples ? &coupling : nullptr);
    for (const auto& [name, value] : loss.metrics) sums[name] += value;
    entropy += batch.entropy.detach().sum(at::kDouble).item<double>();
    mismatch.add(batch, update, which);
    loss.value.backward();
  }
  for (const auto& [name, value] : couples ? coupling.metrics : sums) {
    if (std::isfinite(value))
      metrics.set(name, value);
    else
      metrics.set_undefined(name);
  }
  if (on_gradient) on_gradient(decoder);
  const UpdateResult result = apply_update(decoder, state, optimizer, learning_rate);
  if (std::isfinite(result.grad_norm))
    metrics.set("grad_norm", result.grad_norm);
  else
    metrics.set_undefined("grad_norm");
  metrics.set("learning_rate", result.learning_rate);
  metrics.set("microbatches", static_cast<double>(batches.size()));
  if (update.totals.tokens > 0)
    metrics.set("entropy", entropy / static_cast<double>(update.totals.tokens));
  if (mismatch.count > 0) {
    metrics.set("sampling/sampling_logp_difference/mean",
                mismatch.sum / static_cast<double>(mismatch.count));
    metrics.set("sampling/sampling_logp_difference/max", mismatch.largest);
  }
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
  for (const auto& which : split_by_tokens(sequences, max_tokens)) {
    const at::Tensor sum = packed_logprobs(decoder, sequences, which, 1.0).logprob.sum();
    total -= sum.item<double>();
    (-sum / divisor).backward();
  }
  const UpdateResult result = apply_update(decoder, state, optimizer, learning_rate);
  metrics.set("loss", total / divisor);
  metrics.set("nll", total / tokens);
  metrics.set("num_tokens", tokens);
  metrics.set("grad_norm", result.grad_norm);
  metrics.set("learning_rate", result.learning_rate);
  return result;
}

}  // namespace vernier
