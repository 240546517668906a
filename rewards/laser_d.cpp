// LASER with a target for each difficulty, which follows the policy.
//
//   level of a group by its share p of right responses: high p >= 2/3, medium p >= 1/3, else low
//   base_i = 1 right, -0.5 wrong, -1 where the response has not its form
//   r_i = base_i + 0.5                                  right and L_i <= target(level)
//   r_i = base_i + 0.5        (laser_de only)           wrong, L_i > target(level), no repetition
//
//   target(level) = the smallest t of `grid` with floor(cov(level, t) q) >= 1
//   cov: share of the level's responses, right or wrong, with L <= t; q = floor(2 K / 3),
//   floor(K / 3), 1 for high, medium, low; K responses a group
//
// Targets are made anew from a monitoring set: `monitor_prompts` prompts of the training data, K
// responses each, drawn before step 1 and then every `monitor_every` steps. Where no t is enough
// the target is the longest response of that set; before the first set, the longest of the group.
// L: tokens, end token included. laser_de's bonus invites a wrong policy to explore; repetition is
// told by laser_repeats() over token ids, over words where a stored row has no ids. Correctness is
// part of the value. Dynamic sampling has to look at accuracy.
// Source: LASER-D and LASER-DE, arXiv:2505.15612, and hkust-nlp/Laser (500 prompts every 20 steps,
// grid 1024 to 16384 step 1024). Its monitor bins with <= where training has >=; here both have >=.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "rewards/form.h"
#include "rewards/judged.h"
#include "rewards/repeats.h"

namespace vernier {
namespace {

constexpr std::array<const char*, 3> kLevels = {"low", "medium", "high"};
constexpr int64_t kGridParts = 16;

size_t level_of(double solve_rate) {
  constexpr double kThird = 1.0 / 3;
  return solve_rate >= 2 * kThird ? 2 : solve_rate >= kThird ? 1 : 0;
}

class LaserD final : public Reward {
 public:
  LaserD(Binder& config, const ScoringContext& context, bool explores)
      : memory_(*context.memory), num_generations_(context.num_generations), explores_(explores) {
    config.list("grid", grid_, 1, int64_t{1} << 30,
                "tokens that a target may have, rising; empty: sixteenths of the run's "
                "max_completion_length");
    config.number("bonus", bonus_, 0.0, 1e3, "height of the step");
    bind_format(config, format_, "form without which a response is worth -1");
    config.number("monitor_every", monitor_every_, 1, int64_t{1} << 30,
                  "steps from one monitoring set to the next");
    config.number("monitor_prompts", monitor_prompts_, 1, int64_t{1} << 30, "of a monitoring set");
    if (!std::ranges::is_sorted(grid_, std::ranges::less_equal()))
      config.error("grid", "has to rise");
    if (grid_.empty() && context.max_completion_length > 0)
      for (int64_t part = 1; part <= kGridParts; ++part)
        grid_.push_back(std::max<int64_t>(1, context.max_completion_length * part / kGridParts));
    if (grid_.empty())
      config.error("grid", "is empty and the run has no max_completion_length; set it, in tokens");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("bonus", bonus_, 0.01, 100); }
  void set_pressure(double value) override { bonus_ = value; }

  SamplingPlan plan() const override {
    SamplingPlan plan;
    plan.monitor_every = monitor_every_;
    plan.monitor_prompts = monitor_prompts_;
    return plan;
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    const char* level = kLevels[level_of(solve_rate(all))];
    const double target = memory_.number(cat("target_", level), lengths_of(all).longest);
    for (const auto& [i, length, correct] : all) {
      const Response& response = group.responses[i];
      if (lacks_format(format_, response.text)) {
        scores[i] = {
            .value = -1, .abstain = "", .explain = cat(format_, ": not found"), .token_bonus = {}};
        continue;
      }
      const bool pays =
          correct ? length <= target : explores_ && length > target && !repeats(response);
      scores[i].value = (correct ? 1 : -0.5) + (pays ? bonus_ : 0);
      scores[i].explain = cat(length, " tokens, target of ", level, " ", target);
    }
  }

  std::vector<Note> observe(const Group& group) const override {
    if (group.role != "monitor") return {};
    const std::vector<Judged> all = judged(group);
    const std::string level = kLevels[level_of(solve_rate(all))];
    std::vector<Note> notes;
    for (const Judged& one : all) notes.push_back({level, one.length, ""});
    const auto drawn = static_cast<double>(group.responses.size());
    if (!notes.empty()) notes.push_back({"group_size", drawn, ""});
    return notes;
  }

  bool learns() const override { return true; }
  void learn(const std::vector<Note>& notes) override {
    const NoteSum sizes = sum_of(notes, "group_size");
    if (sizes.count == 0) return;
    const auto k =
        num_generations_ > 0 ? num_generations_ : static_cast<int64_t>(std::llround(sizes.mean()));
    double longest = 0;
    for (const Note& note : notes)
      if (note.name != "group_size") longest = std::max(longest, note.value);
    const std::array<int64_t, 3> slots = {1, k / 3, 2 * k / 3};
    for (size_t level = 0; level < kLevels.size(); ++level)
      memory_.set(cat("target_", kLevels[level]),
                  target(notes, kLevels[level], slots[level]).value_or(longest));
  }

 private:
  std::optional<double> target(const std::vector<Note>& notes, const std::string& level,
                               int64_t slots) const {
    const auto all = static_cast<double>(sum_of(notes, level).count);
    for (const int64_t t : grid_) {
      const auto within = std::ranges::count_if(notes, [&](const Note& note) {
        return note.name == level && note.value <= static_cast<double>(t);
      });
      if (all > 0 &&
          std::floor(static_cast<double>(within) / all * static_cast<double>(slots)) >= 1)
        return static_cast<double>(t);
    }
    return std::nullopt;
  }

  static bool repeats(const Response& response) {
    return response.ids.empty() ? laser_repeats(numbered_words(response.text))
                                : laser_repeats(response.ids);
  }

  RewardMemory& memory_;
  int64_t num_generations_;
  bool explores_;
  std::vector<int64_t> grid_;
  int64_t monitor_every_ = 20, monitor_prompts_ = 500;
  double bonus_ = 0.5;
  std::string format_ = "boxed";
};

const RewardRegistry::Entry entry_d{
    "laser_d",
    {"right, and half a point more below a target by difficulty",
     "r = base + 0.5 [right and L <= target(level)]; targets from a monitoring set", "tokens",
     "LASER-D, arXiv:2505.15612; hkust-nlp/Laser"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<LaserD>(config, context, false);
    }};

const RewardRegistry::Entry entry_de{
    "laser_de",
    {"laser_d, and as much for long wrong answers that do not repeat themselves",
     "r = base + 0.5 [right and L <= target(level)] + 0.5 [wrong, L > target(level), no "
     "repetition]",
     "tokens", "LASER-DE, arXiv:2505.15612; hkust-nlp/Laser"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<LaserD>(config, context, true);
    }};

}  // namespace
}  // namespace vernier
