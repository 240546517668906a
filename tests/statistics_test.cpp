// Intervals and tests: closed forms, simulated data, and the numbers of numpy and scipy
// (tools/golden_statistics.py).
#include "core/metrics/statistics.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/metrics/curve_fits.h"
#include "core/metrics/paired.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using Doubles = std::vector<double>;

TEST_CASE("bootstrap: a constant has an interval of no width, and prompts are drawn whole") {
  const std::vector<std::vector<Tally>> constant(20, {Tally{2, 4}});
  const Estimate found = bootstrap_means(constant, {})[0];
  CHECK(found.value == 0.5);
  CHECK(found.low == 0.5);
  CHECK(found.high == 0.5);
  std::vector<std::vector<Tally>> clustered, single;
  for (int i = 0; i < 20; ++i) clustered.push_back({Tally{i % 2 == 0 ? 10.0 : 0.0, 10}});
  for (int i = 0; i < 200; ++i) single.push_back({Tally{i % 2 == 0 ? 1.0 : 0.0, 1}});
  const Estimate wide = bootstrap_means(clustered, {})[0], narrow = bootstrap_means(single, {})[0];
  CHECK(wide.high - wide.low > 2 * (narrow.high - narrow.low));
}

TEST_CASE("bootstrap: intervals of clustered answers cover what they claim") {
  // Prompts of different difficulty, 8 answers each. Independent answers would have intervals half
  // as wide: those must not cover.
  constexpr int kTrials = 600, kPrompts = 80, kAnswers = 8;
  int covered = 0, covered_as_single = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    Rng rng(11, Stream::task, static_cast<uint64_t>(trial));
    std::vector<std::vector<Tally>> prompts, single;
    for (int i = 0; i < kPrompts; ++i) {
      const double chance = rng.next_uniform();  // mean 1/2
      double right = 0;
      for (int k = 0; k < kAnswers; ++k) {
        const double one = rng.next_uniform() < chance ? 1 : 0;
        right += one;
        single.push_back({{one, 1}});
      }
      prompts.push_back({{right, kAnswers}});
    }
    const auto holds = [](const Estimate& found) { return found.low <= 0.5 && 0.5 <= found.high; };
    covered += holds(bootstrap_means(prompts, {.seed = 3, .draws = 500})[0]) ? 1 : 0;
    if (trial < 100)
      covered_as_single += holds(bootstrap_means(single, {.seed = 3, .draws = 500})[0]) ? 1 : 0;
  }
  CAPTURE(covered);
  CHECK(covered >= 0.93 * kTrials);
  CHECK(covered <= 0.97 * kTrials);
  CAPTURE(covered_as_single);
  CHECK(covered_as_single < 85);
}

TEST_CASE("sign flips: closed forms") {
  CHECK(sign_flip_p({}, {}) == 1);
  CHECK(sign_flip_p(Doubles{0, 0}, {}) == 1);
  CHECK(sign_flip_p(Doubles{3}, {}) == 1);
  CHECK(sign_flip_p(Doubles{1, 1, 1, 1, 1}, {}) == 2.0 / 32);
  CHECK(sign_flip_p(Doubles{-1, -1, 0, -1, -1, -1}, {}) == 2.0 / 32);  // zeros say nothing
  CHECK(sign_flip_p(Doubles{0.1, 0.2, -0.3}, {}) == 1);                // but for rounding
  // Drawn ones: never 0, and those of their seed.
  const Doubles many(40, 1.0);
  CHECK(sign_flip_p(many, {.seed = 1, .draws = 99}) == 1.0 / 100);
  Doubles mixed = testing::normal<double>(40, 5, 0.2);
  const double p = sign_flip_p(mixed, {});
  CHECK(p == sign_flip_p(mixed, {}));
  std::ranges::transform(mixed, mixed.begin(), std::negate<>());
  CHECK(p == sign_flip_p(mixed, {}));
}

TEST_CASE("sign flips, Holm, length control: the numbers of scipy and numpy") {
  const Json golden = testing::golden("metrics/statistics.json");
  for (const Json& one : golden.at("sign_flip")) {
    const Doubles differences = one.at("differences");
    // Exact up to 16 that are not 0; beyond that scipy draws too.
    const bool exact = differences.size() <= 16;
    CAPTURE(differences.size());
    CHECK(std::abs(sign_flip_p(differences, {.seed = 1, .draws = 50'000}) -
                   one.at("p").get<double>()) < (exact ? 1e-12 : 0.01));
  }
  for (const Json& one : golden.at("holm"))
    CHECK(testing::worst_gap(holm(Doubles(one.at("p"))), Doubles(one.at("holm"))) < 1e-15);
  CHECK(holm({}).empty());
  for (const Json& one : golden.at("length_controlled")) {
    std::vector<PairedPrompt> prompts;
    for (const Json& row : one.at("prompts")) prompts.push_back({row[0], row[1], row[2]});
    const LengthControl found = length_controlled(prompts);
    CHECK(found.win == doctest::Approx(one.at("win").get<double>()).epsilon(1e-12));
    CHECK(std::abs(found.controlled - one.at("controlled").get<double>()) < 1e-8);
    CHECK(std::abs(found.length_effect - one.at("length_effect").get<double>()) < 1e-7);
    CHECK(std::abs(found.length_error - one.at("length_error").get<double>()) < 1e-7);
  }
}

std::vector<PairedPrompt> drawn_prompts(size_t count, double better, double longer) {
  std::vector<PairedPrompt> out;
  Rng rng(17, Stream::task, count);
  for (size_t i = 0; i < count; ++i) {
    const double length = 30 + 50 * rng.next_normal(), difficulty = rng.next_normal();
    const double z = better + longer * std::tanh(length / 50);
    out.push_back({rng.next_uniform() < 1 / (1 + std::exp(-z)) ? 1.0 : 0.0, length, difficulty});
  }
  return out;
}

TEST_CASE("length control: a side against itself, a pair the other way round, and only longer") {
  const auto itself = length_controlled(std::vector<PairedPrompt>(33, {0.5, 0, 0.3}));
  CHECK(itself.win == 0.5);
  CHECK(itself.controlled == 0.5);
  CHECK(itself.length_effect == 0);
  auto prompts = drawn_prompts(257, 0.4, 0.8);
  const LengthControl one = length_controlled(prompts);
  for (PairedPrompt& prompt : prompts) {
    prompt.preference = 1 - prompt.preference;
    prompt.length_difference = -prompt.length_difference;
  }
  const LengthControl other = length_controlled(prompts);
  CHECK(one.controlled + other.controlled == doctest::Approx(1).epsilon(1e-12));
  CHECK(one.length_effect == doctest::Approx(other.length_effect).epsilon(1e-9));
  // All that makes it win is its length.
  const auto longer = drawn_prompts(20'000, 0, 2);
  const LengthControl found = length_controlled(longer);
  CHECK(found.win > 0.6);
  CHECK(std::abs(found.controlled - 0.5) < 0.03);
  CHECK(found.length_effect == doctest::Approx(2).epsilon(0.1));
  // Prompts that are there twice count twice.
  const auto some = drawn_prompts(31, 0.5, 1);
  std::vector<PairedPrompt> twice = some;
  twice.insert(twice.end(), some.begin(), some.end());
  CHECK(length_controlled(some, Doubles(31, 2.0)).win == length_controlled(twice).win);
  // All win: the penalty keeps it finite.
  const auto all = length_controlled(std::vector<PairedPrompt>(31, {1, 5, 0}));
  CHECK(all.win == 1);
  CHECK(all.controlled > 0.9);
  CHECK(std::isnan(length_controlled({}).win));
  const LengthControlEstimate estimate =
      estimate_length_control(prompts, {.seed = 1, .draws = 200});
  CHECK(estimate.win.value == other.win);
  CHECK(estimate.controlled.low < other.controlled);
  CHECK(other.controlled < estimate.controlled.high);
  CHECK(estimate.controlled.high - estimate.controlled.low < 0.2);
}

// algorithms.md G2.
TEST_CASE("AES: the golden values") {
  const auto aes = [](double accuracy, double length, double reference, double tokens) {
    return accuracy_efficiency_score(accuracy, length, reference, tokens, {});
  };
  CHECK(std::abs(aes(.624, 1527, .649, 3494) - 0.177757) < 1e-6);
  CHECK(std::abs(aes(.714, 1502, .733, 3055) - 0.249138) < 1e-6);
  CHECK(std::abs(aes(.567, 2531, .590, 3428) + 0.128162) < 1e-6);
  CHECK(std::abs(aes(.692, 2649, .702, 2975) + 0.032870) < 1e-6);
  CHECK(aes(.6, 50, .5, 100) == doctest::Approx(0.5 + 3 * 0.2));
  CHECK(std::isnan(aes(.6, 50, 0, 100)));
  CHECK(std::isnan(aes(.6, 50, kUndefined, 100)));
}

TEST_CASE("power law: its own points, those with an end above 0, and none that rise") {
  std::vector<CurvePoint> points;
  const PowerLaw law{.a = 0.8, .b = -0.5, .c = 0.05};
  for (const double n : {5.0, 10.0, 25.0, 60.0, 125.0}) points.push_back({n, law.at(n)});
  const PowerLaw found = fit_power_law(points);
  CHECK(found.a == doctest::Approx(0.8).epsilon(1e-4));
  CHECK(found.b == doctest::Approx(-0.5).epsilon(1e-4));
  CHECK(found.c == doctest::Approx(0.05).epsilon(1e-3));
  CHECK(found.rmse < 1e-6);
  points.push_back({0, 0.7});  // has no place on it
  CHECK(fit_power_law(points).b == doctest::Approx(-0.5).epsilon(1e-4));
  // One that would need c below 0 ends at 0.
  points.clear();
  for (const double n : {1.0, 2.0, 4.0, 8.0}) points.push_back({n, 0.5 - 0.1 * std::log2(n)});
  CHECK(fit_power_law(points).c == 0);
  for (CurvePoint& point : points) point.y = point.x;
  CHECK(std::isnan(fit_power_law(points).a));
  CHECK(std::isnan(fit_power_law(std::span(points).first(3)).a));
}

TEST_CASE("optimal length: the greatest of A(N), and what grows and falls with it") {
  for (const double difficulty : {2.0, 5.0, 9.0})
    for (const double capability : {1.0, 3.0})
      for (const double capacity : {20.0, 200.0}) {
        const double steps = optimal_steps(difficulty, capability, capacity);
        const auto accuracy = [&](double n) {
          return std::pow((1 - difficulty / capacity) * (1 - difficulty / (n * capability)), n);
        };
        CAPTURE(steps);
        for (const double near : {0.999, 1.001}) CHECK(accuracy(steps) > accuracy(near * steps));
        for (double n = 1.01 * difficulty / capability; n < 20 * steps; n *= 1.03)
          CHECK(accuracy(steps) >= accuracy(n));
      }
  CHECK(optimal_steps(6, 1, 50) > optimal_steps(5, 1, 50));
  CHECK(optimal_steps(5, 2, 50) < optimal_steps(5, 1, 50));
  CHECK(std::isnan(optimal_steps(50, 1, 50)));
  const OptimalLengthLaw law{.scale = 4, .capacity = 30};
  std::vector<CurvePoint> points;
  for (const double difficulty : {2.0, 3.0, 5.0, 8.0})
    points.push_back({difficulty, law.at(difficulty)});
  const OptimalLengthLaw found = fit_optimal_lengths(points);
  CHECK(found.scale == doctest::Approx(4).epsilon(1e-3));
  CHECK(found.capacity == doctest::Approx(30).epsilon(1e-3));
  CHECK(found.rmse < 1e-3);
  CHECK(std::isnan(fit_optimal_lengths(std::span(points).first(2)).scale));
}

}  // namespace
}  // namespace vernier
