#include "core/kernels/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/errors.h"
#include "core/kernels/kernels.h"

namespace vernier::kernels {
namespace {

// Orders ids by falling logit, then rising id.
struct MoreProbable {
  const float* logits;
  bool operator()(int32_t a, int32_t b) const {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  }
};

int32_t most_probable(const float* logits, int64_t vocabulary, int32_t banned) {
  int32_t best = banned == 0 ? 1 : 0;
  for (int32_t id = best + 1; id < vocabulary; ++id)
    if (id != banned && logits[id] > logits[best]) best = id;
  return best;
}

// Logits that something can be drawn from: no NaN, and a finite top. -inf is a probability of 0.
bool is_distribution(const float* logits, int64_t vocabulary, float top) {
  return std::isfinite(top) &&
         std::none_of(logits, logits + vocabulary, [](float z) { return std::isnan(z); });
}

// Draws from `ids` (in rising order) by their weights exp((z - top) / temperature).
int32_t draw(const float* logits, const std::vector<int32_t>& ids, double top, double inverse,
             double uniform) {
  double total = 0;
  for (const int32_t id : ids) total += std::exp((logits[id] - top) * inverse);
  const double target = uniform * total;
  double sum = 0;
  for (const int32_t id : ids) {
    sum += std::exp((logits[id] - top) * inverse);
    if (sum > target) return id;
  }
  return ids.back();  // rounding left nothing above the target
}

// The kept ids in rising order. `ids` holds the candidates.
void apply_filters(const float* logits, const SamplingParams& params, double top,
                   std::vector<int32_t>& ids) {
  const MoreProbable order{logits};
  const double inverse = 1.0 / params.temperature;
  const auto weight = [&](int32_t id) { return std::exp((logits[id] - top) * inverse); };
  if (params.top_k > 0 && params.top_k < static_cast<int64_t>(ids.size())) {
    std::nth_element(ids.begin(), ids.begin() + params.top_k - 1, ids.end(), order);
    ids.resize(static_cast<size_t>(params.top_k));
  }
  if (params.top_p < 1.0) {
    std::sort(ids.begin(), ids.end(), order);
    double total = 0, sum = 0;
    for (const int32_t id : ids) total += weight(id);
    size_t kept = 0;
    while (kept < ids.size() && (kept == 0 || sum < params.top_p * total))
      sum += weight(ids[kept++]);
    ids.resize(kept);
  }
  if (params.min_p > 0) std::erase_if(ids, [&](int32_t id) { return weight(id) < params.min_p; });
  std::sort(ids.begin(), ids.end());
}

}  // namespace

Drawn sample_token(const float* logits, int64_t vocabulary, const SamplingParams& params,
                   int32_t banned, double uniform, std::vector<int32_t>& scratch) {
  const bool greedy = params.temperature == 0;
  const float scale = greedy ? 1.0f : static_cast<float>(1.0 / params.temperature);
  Drawn drawn;
  const int32_t best = most_probable(logits, vocabulary, banned);
  if (greedy) {
    drawn.id = best;
  } else if (!is_distribution(logits, vocabulary, logits[best])) {
    // NaN has no place in an order, and a sort by it is undefined. The engine stops at the NaN.
    return {.id = best, .logprob = std::numeric_limits<float>::quiet_NaN()};
  } else {
    scratch.resize(static_cast<size_t>(vocabulary));
    std::iota(scratch.begin(), scratch.end(), 0);
    if (banned >= 0 && banned < vocabulary) scratch.erase(scratch.begin() + banned);
    const double top = logits[best];
    if (params.top_k > 0 || params.top_p < 1.0 || params.min_p > 0)
      apply_filters(logits, params, top, scratch);
    drawn.id = draw(logits, scratch, top, 1.0 / params.temperature, uniform);
  }
  float log_sum = 0;
  log_softmax(logits, &drawn.id, scale, &log_sum, &drawn.logprob, nullptr, 1, vocabulary);
  return drawn;
}

namespace ref {

std::vector<double> filtered_probabilities(const float* logits, int64_t vocabulary,
                                           const SamplingParams& params, int32_t banned) {
  std::vector<int32_t> order(static_cast<size_t>(vocabulary));
  std::iota(order.begin(), order.end(), 0);
  std::erase(order, banned);
  std::sort(order.begin(), order.end(), MoreProbable{logits});
  std::vector<double> p(static_cast<size_t>(vocabulary), 0.0);
  if (params.temperature == 0) {
    p[static_cast<size_t>(order[0])] = 1;
    return p;
  }
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < order.size())
    order.resize(static_cast<size_t>(params.top_k));
  const auto normalise = [&] {
    double total = 0;
    std::fill(p.begin(), p.end(), 0.0);
    for (const int32_t id : order)
      total += p[static_cast<size_t>(id)] =
          std::exp((double{logits[id]} - logits[order[0]]) / params.temperature);
    for (double& value : p) value /= total;
  };
  normalise();
  if (params.top_p < 1.0) {
    double sum = 0;
    size_t kept = 0;
    while (kept < order.size() && (kept == 0 || sum < params.top_p))
      sum += p[static_cast<size_t>(order[kept++])];
    order.resize(kept);
    normalise();
  }
  const double least = params.min_p * p[static_cast<size_t>(order[0])];
  std::erase_if(order, [&](int32_t id) { return p[static_cast<size_t>(id)] < least; });
  normalise();
  return p;
}

}  // namespace ref
}  // namespace vernier::kernels
