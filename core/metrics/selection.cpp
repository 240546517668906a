#include "core/metrics/selection.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "core/base/rng.h"

namespace vernier {
namespace {

// C(n - some, k) / C(n, k): share of the draws of k that hold none of `some`.
double share_without(int64_t n, int64_t some, int64_t k) {
  double share = 1;
  for (int64_t i = 0; i < k; ++i)
    share *= std::max(0.0, static_cast<double>(n - some - i)) / static_cast<double>(n - i);
  return share;
}

// C(n, k), rounded.
double choices(int64_t n, int64_t k) {
  double count = 1;
  for (int64_t i = 0; i < k; ++i)
    count = std::round(count * static_cast<double>(n - i) / static_cast<double>(i + 1));
  return count;
}

// The next choice of k of 0 ... n - 1, ascending, in the first places; false behind the last one.
bool next_choice(std::vector<size_t>& places, int64_t k, int64_t n) {
  for (int64_t i = k - 1; i >= 0; --i) {
    auto place = places.begin() + i;
    if (*place == static_cast<size_t>(n - k + i)) continue;
    std::iota(place, places.begin() + k, *place + 1);
    return true;
  }
  return false;
}

using Votes = std::map<std::string_view, std::pair<int64_t, bool>>;  // of an answer; it is right

template <class Each>
double most_frequent(int64_t count, const Each& each) {
  Votes votes;
  for (int64_t i = 0; i < count; ++i) {
    const Candidate& one = each(i);
    if (one.answer.empty() && !one.correct) continue;
    auto& [number, right] = votes[one.answer];
    ++number;
    right = right || one.correct;
  }
  int64_t most = 0;
  double tied = 0, right = 0;
  for (const auto& [answer, vote] : votes) {
    if (vote.first < most) continue;
    if (vote.first > most) tied = right = 0;
    most = vote.first;
    tied += 1;
    right += vote.second ? 1 : 0;
  }
  return tied > 0 ? right / tied : 0.0;
}

// The mean of `value` over all choices of k of n, or of as many random ones as are asked for.
double mean_over_choices(int64_t n, int64_t k, const Bootstrap& draws, uint64_t key,
                         const std::function<double(std::span<const size_t>)>& value) {
  std::vector<size_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), size_t{0});
  const auto chosen = std::span(order).first(static_cast<size_t>(k));
  double sum = 0;
  if (const double all = choices(n, k); all <= static_cast<double>(draws.draws)) {
    do sum += value(chosen);
    while (next_choice(order, k, n));
    return sum / all;
  }
  for (int64_t draw = 0; draw < draws.draws; ++draw) {
    Rng rng(draws.seed, Stream::selection, key, static_cast<uint64_t>(k),
            static_cast<uint64_t>(draw));
    for (int64_t i = 0; i < k; ++i)
      std::swap(order[static_cast<size_t>(i)],
                order[static_cast<size_t>(i + rng.next_below(n - i))]);
    sum += value(chosen);
  }
  return sum / static_cast<double>(draws.draws);
}

bool all_known(std::span<const Candidate> candidates) {
  return std::ranges::all_of(candidates, &Candidate::answer_known);
}

struct Bucket {
  int64_t number = 0;  // floor(length / width) of its first answers
  std::vector<const Candidate*> answers;
};

double median_length(std::span<const Candidate> candidates) {
  std::vector<double> lengths;
  for (const Candidate& one : candidates) lengths.push_back(static_cast<double>(one.num_tokens));
  return quantile_of(std::move(lengths), 0.5);
}

// In order of length; those with too few answers have joined the neighbour nearer the median.
std::vector<Bucket> buckets_of(std::span<const Candidate> candidates, const LengthFilter& filter) {
  std::map<int64_t, Bucket> by_number;
  for (const Candidate& one : candidates) {
    const auto number =
        static_cast<int64_t>(std::floor(static_cast<double>(one.num_tokens) / filter.width));
    Bucket& bucket = by_number[number];
    bucket.number = number;
    bucket.answers.push_back(&one);
  }
  std::vector<Bucket> out;
  for (auto& [number, bucket] : by_number) out.push_back(std::move(bucket));
  const int64_t least = filter.min_answers > 0 ? filter.min_answers
                                               : std::max<int64_t>(3, std::ssize(candidates) / 16);
  const auto middle = static_cast<int64_t>(std::floor(median_length(candidates) / filter.width));
  // From the outside in, so that what joins a neighbour counts for it.
  const auto distance = [&](const Bucket& bucket) { return std::abs(bucket.number - middle); };
  while (out.size() > 1) {
    auto small = out.end();
    for (auto at = out.begin(); at != out.end(); ++at)
      if (std::ssize(at->answers) < least &&
          (small == out.end() || distance(*at) > distance(*small)))
        small = at;
    if (small == out.end()) break;
    const bool has_left = small != out.begin(), has_right = small + 1 != out.end();
    const auto to = !has_right || (has_left && distance(*(small - 1)) <= distance(*(small + 1)))
                        ? small - 1
                        : small + 1;
    to->answers.insert(to->answers.end(), small->answers.begin(), small->answers.end());
    out.erase(small);
  }
  return out;
}

double entropy_of(const Bucket& bucket) {
  std::map<std::string_view, double> counts;
  for (const Candidate* one : bucket.answers) counts[one->answer] += 1;
  const auto all = static_cast<double>(bucket.answers.size());
  double entropy = 0;
  for (const auto& [answer, count] : counts) entropy -= count / all * std::log(count / all);
  return entropy;
}

}  // namespace

double pass_at_k(int64_t n, int64_t right, int64_t k) {
  return k > n ? kUndefined : 1 - share_without(n, right, k);
}

double best_of_k(std::span<const double> scores, std::span<const double> values, int64_t k) {
  const auto n = std::ssize(scores);
  if (k > n) return kUndefined;
  std::map<double, std::pair<double, int64_t>, std::greater<>> levels;  // sum of values, how many
  for (size_t i = 0; i < scores.size(); ++i) {
    auto& [sum, count] = levels[scores[i]];
    sum += values[i];
    ++count;
  }
  double mean = 0;
  int64_t above = 0;
  for (const auto& [score, level] : levels) {
    const auto& [sum, count] = level;
    mean += (share_without(n, above, k) - share_without(n, above + count, k)) * sum /
            static_cast<double>(count);
    above += count;
  }
  return mean;
}

double majority(std::span<const Candidate> candidates) {
  if (!all_known(candidates)) return kUndefined;
  return most_frequent(std::ssize(candidates), [&](int64_t i) -> const Candidate& {
    return candidates[static_cast<size_t>(i)];
  });
}

double majority_at_k(std::span<const Candidate> candidates, int64_t k, const Bootstrap& draws,
                     uint64_t key) {
  const auto n = std::ssize(candidates);
  if (k > n || !all_known(candidates)) return kUndefined;
  return mean_over_choices(n, k, draws, key, [&](std::span<const size_t> chosen) {
    return most_frequent(k, [&](int64_t i) -> const Candidate& {
      return candidates[chosen[static_cast<size_t>(i)]];
    });
  });
}

double bucket_width(const std::vector<double>& lengths) {
  if (lengths.empty()) return 1;
  const double range = quantile_of(lengths, 0.75) - quantile_of(lengths, 0.25);
  return std::max(1.0, 2 * range / std::cbrt(static_cast<double>(lengths.size())));
}

double random_bucket_vote(std::span<const Candidate> candidates, const LengthFilter& filter,
                          const Bootstrap& draws, uint64_t key) {
  if (!all_known(candidates)) return kUndefined;
  const std::vector<Bucket> buckets = buckets_of(candidates, filter);
  return mean_over_choices(
      std::ssize(buckets), std::min(filter.num_kept, std::ssize(buckets)), draws, key,
      [&](std::span<const size_t> chosen) {
        std::vector<const Candidate*> kept;
        for (const size_t place : chosen)
          kept.insert(kept.end(), buckets[place].answers.begin(), buckets[place].answers.end());
        return most_frequent(std::ssize(kept), [&](int64_t i) -> const Candidate& {
          return *kept[static_cast<size_t>(i)];
        });
      });
}

double length_filtered_vote(std::span<const Candidate> candidates, const LengthFilter& filter) {
  if (!all_known(candidates)) return kUndefined;
  std::vector<Bucket> buckets = buckets_of(candidates, filter);
  std::vector<std::pair<double, const Bucket*>> order;
  for (const Bucket& bucket : buckets) order.emplace_back(entropy_of(bucket), &bucket);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first < b.first;
    return a.second->answers.size() > b.second->answers.size();
  });
  std::vector<const Candidate*> kept;
  for (size_t i = 0; i < order.size() && static_cast<int64_t>(i) < filter.num_kept; ++i)
    kept.insert(kept.end(), order[i].second->answers.begin(), order[i].second->answers.end());
  return most_frequent(std::ssize(kept), [&](int64_t i) -> const Candidate& {
    return *kept[static_cast<size_t>(i)];
  });
}

}  // namespace vernier
