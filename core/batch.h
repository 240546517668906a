// The tokens of one micro-batch as an algorithm sees them: packed, responses only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace vernier {

/// Counts over the whole update: every micro-batch of every rank. Loss normalisers use these, never
/// the counts of one micro-batch, so that the split does not change the gradient.
struct UpdateTotals {
  int64_t tokens = 0;     // response tokens that enter the loss
  int64_t sequences = 0;  // responses with at least one such token
  int64_t responses = 0;  // those and the masked ones: all that have a reward
  int64_t max_completion_length = 0;
};

/// T response tokens of B responses, one response after the other, none masked. Tokens that the
/// engine forced are not among them.
struct TokenBatch {
  at::Tensor logprob;    // [T], of the drawn token under the current policy; carries the gradient
  at::Tensor entropy;    // [T], nats, carries the gradient
  at::Tensor old;        // [T], log-probability at the start of the update, constant
  at::Tensor reference;  // [T], under the frozen reference policy; undefined without one
  at::Tensor rollout;    // [T], as the engine recorded it; undefined where a response has none
  at::Tensor advantage;  // [T]
  at::Tensor sequence;   // [T] int64, response of each token, 0 .. B-1
  std::vector<int64_t> lengths;    // [B]
  std::vector<int64_t> sequences;  // [B], place of each response in the update
  UpdateTotals totals;
};

}  // namespace vernier
