#include "core/kernels/sample.h"

#include <algorithm>
#include <array>
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

// Not a weight of its own: what the draw takes for the banned token.
constexpr float kNever = -std::numeric_limits<float>::infinity();

// The weights exp((z - top) / temperature) of a row, in blocks whose sums are known: a draw looks
// at the sums, and at the weights of one block.
class Weights {
 public:
  Weights(const float* logits, int64_t vocabulary, int32_t banned, float scale)
      : logits_(logits), vocabulary_(vocabulary), banned_(banned), scale_(scale) {
    float top = kNever;
    for_blocks(
        [&](const float* block, int64_t count) { top = std::max(top, largest(block, count)); });
    top_ = top;
    sums().clear();
    for_blocks([&](const float* block, int64_t count) {
      sums().push_back(weigh(block, top_, scale_, weights().data(), count));
      total_ += sums().back();
    });
  }

  float top() const { return top_; }
  /// Of all weights. NaN where nothing can be drawn: a logit is NaN, or none is finite.
  double total() const { return total_; }

  /// The smallest id whose cumulative weight exceeds `target`, or the last that has any.
  int32_t at(double target) const {
    double sum = 0;
    int64_t block = 0;
    int64_t last = 0;  // block with a weight
    for (; block < std::ssize(sums()); ++block) {
      const double next = sum + sums()[static_cast<size_t>(block)];
      if (next > sum) last = block;
      if (next > target) break;
      sum = next;
    }
    if (block == std::ssize(sums())) block = last;
    int32_t found = 0;
    bool done = false;
    const int64_t first = block * kBlock, count = std::min(kBlock, vocabulary_ - first);
    weigh(copied(first, count), top_, scale_, weights().data(), count);
    for (int64_t i = 0; i < count && !done; ++i) {
      const float weight = weights()[static_cast<size_t>(i)];
      if (weight <= 0) continue;
      sum += weight;
      found = static_cast<int32_t>(first + i);
      done = sum > target;
    }
    return found;
  }

  /// The smallest id with the top logit.
  int32_t most_probable() const {
    for (int64_t id = 0; id < vocabulary_; ++id)
      if (logits_[id] == top_ && id != banned_) return static_cast<int32_t>(id);
    return banned_ == 0 ? 1 : 0;  // no logit is a number
  }

 private:
  static constexpr int64_t kBlock = 256;

  // A row's working memory, one a thread.
  static std::vector<float>& sums() {
    thread_local std::vector<float> memory;
    return memory;
  }
  static std::array<float, kBlock>& weights() {
    thread_local std::array<float, kBlock> memory;
    return memory;
  }
  static std::array<float, kBlock>& without() {
    thread_local std::array<float, kBlock> memory;
    return memory;
  }

  // The logits of a block; without the banned one where it lies there.
  const float* copied(int64_t first, int64_t count) const {
    if (banned_ < first || banned_ >= first + count) return logits_ + first;
    std::copy_n(logits_ + first, count, without().begin());
    without()[static_cast<size_t>(banned_ - first)] = kNever;
    return without().data();
  }

  template <class Body>
  void for_blocks(const Body& body) const {
    for (int64_t first = 0; first < vocabulary_; first += kBlock) {
      const int64_t count = std::min(kBlock, vocabulary_ - first);
      body(copied(first, count), count);
    }
  }

  const float* logits_;
  int64_t vocabulary_;
  int32_t banned_;
  float scale_, top_ = 0;
  double total_ = 0;
};

// Ids that the filters may keep, in no order: all whose logit reaches a bound that is lowered until
// it leaves enough, so that few of a large vocabulary need an order.
void collect(const float* logits, int64_t vocabulary, const SamplingParams& params, int32_t banned,
             const Weights& row, std::vector<int32_t>& ids) {
  const double inverse = 1.0 / params.temperature;
  for (double depth = 8;; depth *= 4) {
    const double bound = depth > 1000 ? -std::numeric_limits<double>::infinity()
                                      : row.top() - depth * params.temperature;
    ids.clear();
    double mass = 0;
    for (int32_t id = 0; id < vocabulary; ++id) {
      if (logits[id] < bound || id == banned) continue;
      ids.push_back(id);
      mass += std::exp((logits[id] - row.top()) * inverse);
    }
    const bool enough = params.top_k > 0     ? static_cast<int64_t>(ids.size()) >= params.top_k
                        : params.top_p < 1.0 ? mass * (1 - 1e-6) > params.top_p * row.total()
                                             : std::exp(-depth) < params.min_p;
    if (enough || depth > 1000) return;
  }
}

// The kept ids in rising order. `ids` holds the candidates.
void apply_filters(const float* logits, const SamplingParams& params, const Weights& row,
                   std::vector<int32_t>& ids) {
  const MoreProbable order{logits};
  const double inverse = 1.0 / params.temperature;
  const auto weight = [&](int32_t id) { return std::exp((logits[id] - row.top()) * inverse); };
  double total = row.total();
  if (params.top_k > 0) {
    if (params.top_k < static_cast<int64_t>(ids.size())) {
      std::nth_element(ids.begin(), ids.begin() + params.top_k - 1, ids.end(), order);
      ids.resize(static_cast<size_t>(params.top_k));
    }
    total = 0;
    for (const int32_t id : ids) total += weight(id);
  }
  if (params.top_p < 1.0) {
    std::sort(ids.begin(), ids.end(), order);
    double sum = 0;
    size_t kept = 0;
    while (kept < ids.size() && (kept == 0 || sum < params.top_p * total))
      sum += weight(ids[kept++]);
    ids.resize(kept);
  }
  if (params.min_p > 0) std::erase_if(ids, [&](int32_t id) { return weight(id) < params.min_p; });
  std::sort(ids.begin(), ids.end());
}

// Draws from `ids` (in rising order) by their weights, whose sum it leaves in `total`.
int32_t draw(const float* logits, const std::vector<int32_t>& ids, double top, double inverse,
             double uniform, double& total) {
  total = 0;
  for (const int32_t id : ids) total += std::exp((logits[id] - top) * inverse);
  const double target = uniform * total;
  double sum = 0;
  for (const int32_t id : ids) {
    sum += std::exp((logits[id] - top) * inverse);
    if (sum > target) return id;
  }
  return ids.back();  // rounding left nothing above the target
}

// The row that is drawn from: a copy where penalty or bias change it.
const float* adjusted(const float* logits, int64_t vocabulary, const SamplingParams& params,
                      std::span<const int32_t> seen) {
  if (!params.adjusts()) return logits;
  thread_local std::vector<float> copy;
  copy.assign(logits, logits + vocabulary);
  adjust_logits(copy.data(), params, seen);
  return copy.data();
}

}  // namespace

void adjust_logits(float* logits, const SamplingParams& params, std::span<const int32_t> seen) {
  if (params.repetition_penalty != 1.0) {
    const auto penalty = static_cast<float>(params.repetition_penalty);
    for (const int32_t id : seen)
      logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
  }
  for (const auto& [id, bias] : params.logit_bias) logits[id] += static_cast<float>(bias);
}

float token_logprob(const float* logits, int64_t vocabulary, int32_t id, double temperature) {
  const float scale = temperature == 0 ? 1.0f : static_cast<float>(1.0 / temperature);
  float log_sum = 0, logprob = 0;
  log_softmax(logits, &id, scale, &log_sum, &logprob, nullptr, 1, vocabulary);
  return logprob;
}

std::vector<std::pair<int32_t, float>> top_logprobs(const float* logits, int64_t vocabulary,
                                                    int64_t count, double temperature) {
  const float scale = temperature == 0 ? 1.0f : static_cast<float>(1.0 / temperature);
  std::vector<int32_t> ids(static_cast<size_t>(vocabulary));
  std::iota(ids.begin(), ids.end(), 0);
  const auto kept = ids.begin() + std::min(count, vocabulary);
  std::partial_sort(ids.begin(), kept, ids.end(), MoreProbable{logits});
  float log_sum = 0;
  log_softmax(logits, nullptr, scale, &log_sum, nullptr, nullptr, 1, vocabulary);
  std::vector<std::pair<int32_t, float>> out;
  for (auto id = ids.begin(); id != kept; ++id)
    out.emplace_back(*id, logits[*id] * scale - log_sum);
  return out;
}

Drawn sample_token(const float* model_logits, int64_t vocabulary, const SamplingParams& params,
                   int32_t banned, double uniform, std::vector<int32_t>& scratch,
                   std::span<const int32_t> seen) {
  const float* logits = adjusted(model_logits, vocabulary, params, seen);
  const bool greedy = params.temperature == 0;
  const float scale = greedy ? 1.0f : static_cast<float>(1.0 / params.temperature);
  const double inverse = greedy ? 1.0 : 1.0 / params.temperature;
  const Weights row(logits, vocabulary, banned, scale);
  const bool filters = params.top_k > 0 || params.top_p < 1.0 || params.min_p > 0;
  Drawn drawn;
  double total = row.total();  // of the weights that were drawn from
  if (greedy) {
    drawn.id = row.most_probable();
  } else if (!std::isfinite(total) || total <= 0) {
    // NaN has no place in an order, and a sort by it is undefined. The engine stops at the NaN.
    const float nan = std::numeric_limits<float>::quiet_NaN();
    return {.id = row.most_probable(), .logprob = nan, .sampled = nan};
  } else if (filters) {
    collect(logits, vocabulary, params, banned, row, scratch);
    apply_filters(logits, params, row, scratch);
    drawn.id = draw(logits, scratch, row.top(), inverse, uniform, total);
  } else {
    drawn.id = row.at(uniform * total);
  }
  drawn.logprob = token_logprob(model_logits, vocabulary, drawn.id, params.temperature);
  if (greedy) return drawn;
  drawn.sampled =
      filters || params.adjusts() || banned >= 0
          ? static_cast<float>((logits[drawn.id] - row.top()) * inverse - std::log(total))
          : drawn.logprob;
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
