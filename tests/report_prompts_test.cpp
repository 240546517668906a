// Numbers of a report that follow prompts: areas, optima, difficulty. Closed forms.
#include "tools/report_prompts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tools/report_stats.h"

namespace vernier {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("frontier area: closed forms") {
  const std::vector<TradeOff> one = {{8, 0.5}};
  CHECK(frontier_area(one, 8, 32) == 0.5);
  CHECK(frontier_area(one, 2, 32) == 0.25);  // nothing reaches the shorter half
  const std::vector<TradeOff> two = {{8, 0.4}, {16, 0.8}, {20, 0.7}};
  CHECK(frontier_area(two, 8, 32) == doctest::Approx(0.6));
  CHECK(frontier_area(two, 16, 32) == doctest::Approx(0.8));
  CHECK(std::isnan(frontier_area(two, 8, 8)));
  CHECK(std::isnan(frontier_area({}, 8, 32)));
}

TEST_CASE("length optimum: the peak of what the answers follow") {
  // Right with probability 0.9 - 0.3 log2(L / 40)^2, by fixed shares of 100 answers a length.
  std::vector<JudgedAnswer> answers;
  const auto add = [&](int64_t group, int64_t length, double share) {
    for (int64_t i = 0; i < 100; ++i)
      answers.push_back({group, length, static_cast<double>(i) < std::round(100 * share), {}});
  };
  int64_t group = 0;
  for (const int64_t length : {20, 28, 40, 57, 80})
    add(group++, length, 0.9 - 0.3 * std::pow(std::log2(static_cast<double>(length) / 40), 2));
  const LengthOptimum pooled = length_optimum(answers, false, {.draws = 50});
  CHECK(pooled.length.value == doctest::Approx(40).epsilon(0.02));
  CHECK(pooled.num_prompts == 5);
  // Within a question: an easy one with short answers and a hard one with long ones, whose pooled
  // accuracy only falls, each with its peak at 40.
  answers.clear();
  for (const int64_t length : {10, 20, 40})
    add(0, length, 0.95 - 0.1 * std::pow(std::log2(static_cast<double>(length) / 40), 2));
  for (const int64_t length : {40, 80, 160})
    add(1, length, 0.45 - 0.1 * std::pow(std::log2(static_cast<double>(length) / 40), 2));
  CHECK(length_optimum(answers, true, {.draws = 20}).length.value ==
        doctest::Approx(40).epsilon(0.05));
  // Accuracy that only rises has none.
  answers.clear();
  for (const int64_t length : {10, 20, 40, 80}) add(0, length, static_cast<double>(length) / 100);
  const LengthOptimum rising = length_optimum(answers, false, {.draws = 20});
  CHECK(std::isnan(rising.length.value));
  CHECK(rising.support == 0);
}

TEST_CASE("difficulty: bands are fixed, and the alarm is for hard prompts that only shrink") {
  const auto step_of = [](int64_t step, double easy, double hard, int64_t hard_length) {
    std::vector<JudgedAnswer> answers;
    for (int64_t group = 0; group < 20; ++group)
      for (int64_t i = 0; i < 10; ++i) {
        const bool is_hard = group >= 10;
        const bool right = static_cast<double>(i) < 10 * (is_hard ? hard : easy);
        answers.push_back(
            {group, is_hard ? hard_length + group : 20 + group, right, is_hard ? 8.0 : 2.0});
      }
    return TalliedStep{step, tally_prompts(answers)};
  };
  const Bootstrap bootstrap{.draws = 200};
  const std::vector<TalliedStep> shrinks = {step_of(0, 0.9, 0.5, 100), step_of(5, 0.9, 0.3, 50)};
  const DifficultyPanel panel = difficulty_panel(shrinks, bootstrap);
  REQUIRE(panel.bands.size() == 2);
  CHECK(panel.source == "difficulty of the data");
  CHECK(panel.bands[1].label == "difficulty 8");
  CHECK(panel.bands[1].points[1].accuracy.value == doctest::Approx(0.3));
  CHECK(panel.bands[1].accuracy_change.value == doctest::Approx(-0.2));
  CHECK(panel.bands[1].length_change.value == doctest::Approx(64.5 / 114.5 - 1));
  CHECK(has(panel.alarm, "Hard prompts (difficulty 8, 10) are answered shorter than at first"));
  // Shorter and more often right is what was wanted.
  const std::vector<TalliedStep> learns = {step_of(0, 0.9, 0.5, 100), step_of(5, 0.9, 0.8, 50)};
  CHECK(difficulty_panel(learns, bootstrap).alarm.empty());
  // Without difficulties the pass rate of the first step is the band, whatever becomes of it.
  std::vector<TalliedStep> plain = shrinks;
  for (TalliedStep& step : plain)
    for (PromptTally& prompt : step.prompts) prompt.difficulty.reset();
  const DifficultyPanel by_rate = difficulty_panel(plain, bootstrap);
  REQUIRE(by_rate.bands.size() == 2);
  CHECK(by_rate.source == "pass rate at step 0");
  CHECK(by_rate.bands[0].label == "right at first 90 %");
  CHECK(by_rate.bands[1].num_prompts == 10);
  // Areas over the same prompts. Where all answers of a prompt are as long as each other's, a draw
  // moves lengths and bounds alike: with the same accuracy everywhere the area has no width.
  std::vector<TalliedStep> even;
  for (const int64_t factor : {1, 2}) {
    std::vector<JudgedAnswer> answers;
    for (int64_t group = 0; group < 12; ++group)
      for (int64_t i = 0; i < 2; ++i)
        answers.push_back({group, factor * (10 + 10 * group), i == 0, {}});
    even.push_back({factor, tally_prompts(answers)});
  }
  const Estimate area = area_of_steps(even, 65, 130, bootstrap);
  CHECK(area.value == doctest::Approx(0.5));
  CHECK(area.low == doctest::Approx(0.5));
  CHECK(area.high == doctest::Approx(0.5));
  // Two thirds of the prompts have the least difficulty: they are a band, and not all of them.
  std::vector<JudgedAnswer> skewed;
  for (int64_t group = 0; group < 30; ++group)
    for (int64_t i = 0; i < 2; ++i)
      skewed.push_back({group, 10, i == 0, static_cast<double>(std::max<int64_t>(0, group - 22))});
  const std::vector<TalliedStep> one_step = {{0, tally_prompts(skewed)}};
  const DifficultyPanel two = difficulty_panel(one_step, bootstrap);
  REQUIRE(two.bands.size() == 2);
  CHECK(two.bands[0].num_prompts == 23);
  CHECK(two.bands[1].label == "difficulty 1–7");
}

}  // namespace
}  // namespace vernier
