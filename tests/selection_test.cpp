// Choosing among answers: closed forms, brute force, and the numbers of numpy
// (tools/golden_statistics.py).
#include "core/metrics/selection.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/testing.h"

namespace vernier {
namespace {

using Doubles = std::vector<double>;

std::vector<Candidate> candidates_of(const std::vector<std::pair<std::string, int64_t>>& all) {
  std::vector<Candidate> out;
  for (const auto& [answer, length] : all) out.push_back({length, answer, answer == "right"});
  return out;
}

// Calls body(places) for every choice of k of n.
template <class Body>
void for_choices(size_t n, size_t k, const Body& body) {
  std::vector<bool> chosen(n, false);
  std::fill(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(k), true);
  do {
    std::vector<size_t> places;
    for (size_t i = 0; i < n; ++i)
      if (chosen[i]) places.push_back(i);
    body(places);
  } while (std::prev_permutation(chosen.begin(), chosen.end()));
}

TEST_CASE("pass@k is the share of all choices that hold a right answer") {
  CHECK(pass_at_k(5, 2, 2) == doctest::Approx(0.7));
  CHECK(pass_at_k(4, 0, 3) == 0);
  CHECK(pass_at_k(4, 4, 1) == 1);
  CHECK(pass_at_k(4, 2, 3) == 1);  // only two are wrong
  CHECK(std::isnan(pass_at_k(4, 2, 5)));
  for (size_t n = 1; n <= 9; ++n)
    for (size_t right = 0; right <= n; ++right)
      for (size_t k = 1; k <= n; ++k) {
        double hits = 0, all = 0;
        for_choices(n, k, [&](const std::vector<size_t>& places) {
          all += 1;
          hits += places.front() < right ? 1 : 0;  // the first ones are right
        });
        CHECK(pass_at_k(static_cast<int64_t>(n), static_cast<int64_t>(right),
                        static_cast<int64_t>(k)) == doctest::Approx(hits / all));
      }
}

TEST_CASE("best of k is the mean over all choices; equal scores share") {
  const Doubles scores = {3, 1, 3, 2, 1, 0, 3}, values = {1, 0, 0, 1, 1, 0, 0.5};
  for (size_t k = 1; k <= scores.size(); ++k) {
    double sum = 0, all = 0;
    for_choices(scores.size(), k, [&](const std::vector<size_t>& places) {
      double best = -1, value = 0, tied = 0;
      for (const size_t i : places) {
        if (scores[i] < best) continue;
        if (scores[i] > best) value = tied = 0;
        best = scores[i];
        value += values[i];
        tied += 1;
      }
      sum += value / tied;
      all += 1;
    });
    CHECK(best_of_k(scores, values, static_cast<int64_t>(k)) == doctest::Approx(sum / all));
  }
  CHECK(std::isnan(best_of_k(scores, values, 8)));
}

TEST_CASE("a majority: ties share, no answer casts no vote") {
  CHECK(majority(candidates_of({{"right", 3}, {"a", 3}, {"right", 3}})) == 1);
  CHECK(majority(candidates_of({{"right", 3}, {"a", 3}})) == 0.5);
  CHECK(majority(candidates_of({{"right", 3}, {"", 3}, {"", 3}})) == 1);
  CHECK(majority(candidates_of({{"", 3}, {"", 3}})) == 0);
  CHECK(majority({}) == 0);
  CHECK(majority(candidates_of({{"right", 3}, {"a", 3}, {"b", 3}, {"b", 1}, {"a", 1}})) == 0);
}

double mean_majority(const std::vector<Candidate>& all, int64_t k) {
  double sum = 0, count = 0;
  for_choices(all.size(), static_cast<size_t>(k), [&](const std::vector<size_t>& places) {
    std::vector<Candidate> some;
    for (const size_t i : places) some.push_back(all[i]);
    sum += majority(some);
    count += 1;
  });
  return sum / count;
}

TEST_CASE("a majority of k: all choices, or as many as asked for") {
  auto all = candidates_of(
      {{"right", 1}, {"right", 1}, {"right", 1}, {"a", 1}, {"a", 1}, {"a", 1}, {"b", 1}, {"", 1}});
  for (int64_t k = 1; k <= 8; ++k)
    CHECK(majority_at_k(all, k, {}, 7) == doctest::Approx(mean_majority(all, k)).epsilon(1e-12));
  CHECK(majority_at_k(all, 8, {.seed = 1, .draws = 1}, 0) == majority(all));
  CHECK(std::isnan(majority_at_k(all, 9, {}, 7)));
  // 3,432 choices; and the draws are those of their seed and key.
  all.insert(all.end(), all.begin(), all.begin() + 6);
  const Bootstrap draws{.seed = 4, .draws = 3000};
  const double found = majority_at_k(all, 7, draws, 7);
  CHECK(std::abs(found - mean_majority(all, 7)) < 0.04);
  CHECK(found == majority_at_k(all, 7, draws, 7));
  CHECK(found != majority_at_k(all, 7, draws, 8));
}

TEST_CASE("the width of buckets") {
  Doubles lengths(1000);
  std::iota(lengths.begin(), lengths.end(), 0.0);
  CHECK(bucket_width(lengths) == doctest::Approx(2 * 499.5 / 10));
  CHECK(bucket_width({5, 5, 5}) == 1);
  CHECK(bucket_width({}) == 1);
}

TEST_CASE("a length-filtered vote listens to the lengths that agree") {
  // Short and long answers scatter, the middle ones agree: plain majority is wrong.
  auto all = candidates_of({{"a", 10},
                            {"a", 11},
                            {"a", 12},
                            {"a", 13},
                            {"b", 14},
                            {"c", 15},
                            {"right", 50},
                            {"right", 51},
                            {"right", 52},
                            {"d", 95},
                            {"e", 96},
                            {"f", 97},
                            {"g", 98}});
  CHECK(majority(all) == 0);
  CHECK(length_filtered_vote(all, {.width = 20, .num_kept = 1}) == 1);
  // With enough buckets all vote.
  CHECK(length_filtered_vote(all, {.width = 20, .num_kept = 3}) == majority(all));
  // One that is alone agrees with itself, and is not heard by itself: it joins its neighbour.
  all.push_back({53, "x", false});
  all.push_back({400, "alone", false});
  CHECK(length_filtered_vote(all, {.width = 20, .num_kept = 1}) == 1);
  CHECK(length_filtered_vote(all, {.width = 20, .num_kept = 1, .min_answers = 1}) == 0);
  CHECK(length_filtered_vote({}, {.width = 20}) == 0);
  // Its control, of one bucket of three: right in one of them; of all: the majority.
  CHECK(random_bucket_vote(all, {.width = 20, .num_kept = 1}, {}, 1) == doctest::Approx(1.0 / 3));
  CHECK(random_bucket_vote(all, {.width = 20, .num_kept = 3}, {}, 1) == majority(all));
  CHECK(random_bucket_vote({}, {.width = 20}, {}, 1) == 0);
  std::vector<Candidate> unknown = all;
  unknown.front().answer_known = false;
  CHECK(std::isnan(majority(unknown)));
  CHECK(std::isnan(random_bucket_vote(unknown, {.width = 20}, {}, 1)));
}

TEST_CASE("exact fractions, and the quantiles of numpy") {
  const Json golden = testing::golden("metrics/statistics.json");
  for (const Json& one : golden.at("pass_at_k"))
    CHECK(pass_at_k(one.at("n"), one.at("right"), one.at("k")) ==
          doctest::Approx(one.at("value").get<double>()).epsilon(1e-12));
  for (const Json& one : golden.at("quantile"))
    for (const Json& want : one.at("quantiles"))
      CHECK(quantile_of(one.at("values"), want.at("q")) ==
            doctest::Approx(want.at("value").get<double>()).epsilon(1e-12));
}

}  // namespace
}  // namespace vernier
