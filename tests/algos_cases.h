// Tables and batches for the tests of algorithms.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "algos/algorithm.h"
#include "algos/parts.h"
#include "tests/testing.h"

namespace vernier::testing {

using Doubles = std::vector<double>;

constexpr double kSixDigits = 6e-7;  // values that the specification gives to six decimals

inline std::unique_ptr<Algorithm> make(const std::string& name, const std::string& keys = "",
                                       int64_t max_completion_length = 16) {
  ConfigFile file = ConfigFile::parse(keys, "test");
  std::unique_ptr<Algorithm> out;
  file.bind([&](Binder& root) {
    out = AlgorithmRegistry::all().at(name).make(root, {8, max_completion_length});
  });
  return out;
}

inline void add_response(GroupTable& table, double reward, int correct, int64_t length) {
  table.reward.push_back(reward);
  table.correct.push_back(correct);
  table.length.push_back(length);
  table.tokens.push_back(length);
  table.mean_logprob.push_back(-0.3);
  table.active.push_back(1);
}

inline void end_group(GroupTable& table) {
  table.offsets.push_back(static_cast<int64_t>(table.size()));
}

/// Groups of rewards; a reward of 1 is right. `lengths` in order, 10 tokens each where it is empty.
inline GroupTable table_of(const std::vector<Doubles>& groups,
                           const std::vector<int64_t>& lengths = {}) {
  GroupTable table;
  for (const Doubles& group : groups) {
    for (const double reward : group) {
      const int64_t length = lengths.empty() ? 10 : lengths[table.size()];
      add_response(table, reward, reward == 1 ? 1 : 0, length);
    }
    end_group(table);
  }
  return table;
}

/// A batch from nested values; `logprob` carries the gradient.
inline TokenBatch batch_of(const std::vector<Doubles>& lp, const std::vector<Doubles>& old,
                           const std::vector<Doubles>& reference,
                           const std::vector<Doubles>& advantage) {
  const auto flat = [](const std::vector<Doubles>& rows) {
    Doubles out;
    for (const Doubles& row : rows) out.insert(out.end(), row.begin(), row.end());
    return at::tensor(out);
  };
  TokenBatch batch;
  batch.logprob = flat(lp).requires_grad_(true);
  batch.entropy = at::zeros_like(batch.logprob);
  batch.old = flat(old);
  batch.reference = flat(reference);
  batch.advantage = flat(advantage);
  std::vector<int64_t> sequence;
  for (size_t i = 0; i < lp.size(); ++i) {
    batch.lengths.push_back(static_cast<int64_t>(lp[i].size()));
    batch.sequences.push_back(static_cast<int64_t>(i));
    sequence.insert(sequence.end(), lp[i].size(), static_cast<int64_t>(i));
  }
  batch.sequence = at::tensor(sequence);
  const auto count = static_cast<int64_t>(lp.size());
  batch.totals = {batch.logprob.numel(), count, count, 4};
  return batch;
}

/// The update of three responses, of 4, 2 and 3 tokens, that the golden losses are of.
struct ThreeResponses {
  std::vector<Doubles> lp = {{-0.5, -1.0, -2.0, -0.1}, {-1.5, -0.3}, {-0.8, -0.9, -1.1}};
  std::vector<Doubles> old = {{-0.7, -0.9, -2.5, -0.25}, {-1.0, -0.9}, {-0.8, -2.4, -1.0}};
  std::vector<Doubles> rollout = {{-0.6, -1.3, -2.4, -0.2}, {-1.2, -0.8}, {-0.9, -1.0, -2.0}};
  std::vector<Doubles> reference = {{-0.6, -1.2, -1.8, -0.2}, {-1.4, -0.5}, {-1.0, -1.0, -1.0}};
  std::vector<Doubles> advantage = {{1, 1, 1, 1}, {-0.5, -0.5}, {-1.5, -1.5, -1.5}};
  std::vector<Doubles> entropy = {{0.1, 0.9, 0.4, 0.3}, {0.8, 0.5}, {0.7, 0.2, 0.6}};

  /// The responses at `places`, with the totals of all.
  TokenBatch batch(const std::vector<size_t>& places = {0, 1, 2}) const {
    const auto pick = [&](const std::vector<Doubles>& rows) {
      std::vector<Doubles> out;
      for (const size_t i : places) out.push_back(rows[i]);
      return out;
    };
    const std::vector<Doubles> rolled = pick(rollout), spread = pick(entropy);
    TokenBatch out = batch_of(pick(lp), pick(old), pick(reference), pick(advantage));
    out.rollout = batch_of(rolled, rolled, rolled, rolled).old;
    out.entropy = batch_of(spread, spread, spread, spread).logprob;
    out.sequences.assign(places.begin(), places.end());
    out.totals = {9, 3, 3, 4};
    return out;
  }

  /// One group of all three.
  static GroupTable table() { return table_of({{1, 0, 0}}, {4, 2, 3}); }
};

/// The batch without its graph, as couple_tokens() gets it.
inline TokenBatch detached(TokenBatch batch) {
  batch.logprob = batch.logprob.detach();
  batch.entropy = batch.entropy.detach();
  return batch;
}

/// Loss of `batch`, which is the whole update of `table` where the algorithm couples tokens.
inline at::Tensor loss_of(const Algorithm& algorithm, const TokenBatch& batch,
                          const GroupTable& table) {
  if (algorithm.coupled() == Coupled::nothing) return algorithm.loss(batch, nullptr).value;
  const Coupling coupling = algorithm.couple_tokens(table, detached(batch));
  return algorithm.loss(batch, &coupling).value;
}

inline Doubles gradient_of(const Algorithm& algorithm, TokenBatch& batch, const Coupling* coupling,
                           double* value) {
  const Loss loss = algorithm.loss(batch, coupling);
  loss.value.backward();
  if (value != nullptr) *value = loss.value.item<double>();
  return numbers_of(batch.logprob.grad());
}

}  // namespace vernier::testing
