#include "algos/mismatch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "algos/parts.h"
#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr double kBound = 20;  // of a log-weight

at::Tensor weight_of(const at::Tensor& log_weight) {
  return log_weight.clamp(-kBound, kBound).exp();
}

at::Tensor gap_of(const TokenBatch& b) {
  return b.old.detach().to(at::kDouble) - b.rollout.to(at::kDouble);
}

// [B] -> [T], in fp64.
at::Tensor each_token(const at::Tensor& sequence, const TokenBatch& b) {
  return sequence.index_select(0, b.sequence);
}

at::Tensor inside(const at::Tensor& value, double low, double high) {
  return (value >= low).logical_and(value <= high).to(at::kDouble);
}

at::Tensor largest_by_sequence(const at::Tensor& token, const TokenBatch& b) {
  const std::vector<double> values = numbers_of(token);
  std::vector<double> largest;
  auto next = values.begin();
  for (const int64_t length : b.lengths) {
    largest.push_back(*std::max_element(next, next + length));
    next += length;
  }
  return at::tensor(largest, at::kDouble);
}

// The statistic of a rule, for every token.
at::Tensor statistic(const std::string& rule, const at::Tensor& x, const TokenBatch& b) {
  const at::Tensor token = rule.ends_with("k1")   ? -x
                           : rule.ends_with("k2") ? x.square() / 2
                                                  : x.exp() - 1.0 - x;
  if (rule.starts_with("token")) return token;
  if (rule.starts_with("seq_sum")) return each_token(sum_by_sequence(token, b), b);
  if (rule.starts_with("seq_mean")) return each_token(mean_by_sequence(token, b), b);
  return each_token(largest_by_sequence(token, b), b);
}

}  // namespace

const std::vector<std::string>& corrections() {
  static const std::vector<std::string> names = {"none",       "token_tis",     "sequence_tis",
                                                 "token_mask", "sequence_mask", "seq_mask_tis"};
  return names;
}

const std::vector<std::string>& rejection_rules() {
  static const std::vector<std::string> names = {
      "token_k1",    "token_k2",    "token_k3",    "seq_sum_k1", "seq_sum_k2", "seq_sum_k3",
      "seq_mean_k1", "seq_mean_k2", "seq_mean_k3", "seq_max_k2", "seq_max_k3"};
  return names;
}

bool bounds_ratio(const std::string& rule) { return rule.ends_with("k1"); }

CorrectionOptions correction_defaults(const std::string& kind) {
  CorrectionOptions out;
  out.kind = kind;
  if (kind == "token_mask" || kind == "seq_mask_tis") {
    out.low = 0.5;
    out.high = 5;
  }
  if (kind == "sequence_mask") out.high = 3;
  return out;
}

at::Tensor correction_weights(const TokenBatch& b, const CorrectionOptions& o) {
  if (o.kind == "none") return at::ones_like(b.old, at::kDouble);
  const at::Tensor x = gap_of(b), w = weight_of(x);
  if (o.kind == "token_tis") return w.clamp(o.low, o.high);
  if (o.kind == "token_mask") return w * inside(w, o.low, o.high);
  if (o.kind == "seq_mask_tis") {
    const at::Tensor geometric = weight_of(mean_by_sequence(x, b));
    return w * each_token(inside(geometric, o.low, o.high), b);
  }
  const at::Tensor sequence = weight_of(sum_by_sequence(x, b));
  if (o.kind == "sequence_tis") return each_token(sequence.clamp(o.low, o.high), b);
  ensure(o.kind == "sequence_mask", "a known correction");
  return each_token(sequence * inside(sequence, o.low, o.high), b);
}

at::Tensor rejection_mask(const TokenBatch& b, const CorrectionOptions& o) {
  at::Tensor mask = at::ones_like(b.old, at::kDouble);
  if (o.rejection.empty()) return mask;
  const at::Tensor x = gap_of(b);
  size_t ratios = 0;
  for (size_t i = 0; i < o.rejection.size(); ++i) {
    const double high = o.rejection_high[i];
    const at::Tensor found = statistic(o.rejection[i], x, b);
    if (bounds_ratio(o.rejection[i])) {
      mask = mask * inside(found, std::log(o.low_of_ratio(i, ratios++)), std::log(high));
    } else {
      mask = mask * (found <= high);
    }
  }
  return mask;
}

at::Tensor opsm_mask(const TokenBatch& b, double threshold) {
  const at::Tensor far = mean_by_sequence((b.rollout - b.logprob).detach(), b) > threshold;
  return (b.advantage >= 0).logical_or(each_token(far.logical_not(), b)).to(at::kDouble);
}

}  // namespace vernier
