#include "rewards/composition.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"
#include "rewards/judged.h"

namespace vernier {
namespace {

constexpr double kMaxFactor = 1e6;
constexpr double kEps = 1e-6;  // beside a standard deviation, as in the group-relative advantage

}  // namespace

void Composition::bind(Binder& config, const std::vector<std::string>& earlier) {
  config.text("only_if", only_if,
              "an earlier reward: where its value is not above 0, this one is 0");
  config.number("min_solve_rate", min_solve_rate, 0.0, 1.0,
                "share of right responses that a group needs, or this one is 0");
  config.choice("normalize", normalize, {"none", "group"},
                "group: (value - mean) / std over the group before the weight");
  config.list("schedule_steps", schedule_steps, 0, int64_t{1} << 40,
              "steps at which the weight has the factors of schedule_factors");
  config.list("schedule_factors", schedule_factors, -kMaxFactor, kMaxFactor, "of the weight");
  config.choice("schedule_shape", schedule_shape, {"linear", "steps"}, "between two such steps");
  const bool scheduled = !schedule_steps.empty();
  config.only_if("schedule_shape", scheduled, "schedule_steps = []");
  config.only_if("schedule_factors", scheduled, "schedule_steps = []");
  if (scheduled && schedule_steps.size() != schedule_factors.size())
    config.error("schedule_steps", cat(schedule_steps.size(), " steps, but schedule_factors has ",
                                       schedule_factors.size(), " numbers"));
  for (size_t k = 1; k < schedule_steps.size(); ++k)
    if (schedule_steps[k] <= schedule_steps[k - 1])
      config.error("schedule_steps", cat(schedule_steps[k], " comes after ", schedule_steps[k - 1],
                                         "; steps have to rise"));
  if (!only_if.empty() && std::find(earlier.begin(), earlier.end(), only_if) == earlier.end())
    config.error("only_if",
                 cat("\"", only_if, "\" is no earlier [[reward]]", suggestion(only_if, earlier),
                     earlier.empty() ? "" : "; before it: ", join(earlier)));
}

double Composition::factor(int64_t step) const {
  if (schedule_steps.empty()) return 1;
  const auto next = std::upper_bound(schedule_steps.begin(), schedule_steps.end(), step);
  const auto k = static_cast<size_t>(next - schedule_steps.begin());
  if (k == 0) return schedule_factors.front();
  if (k == schedule_steps.size() || schedule_shape == "steps") return schedule_factors[k - 1];
  const auto from = static_cast<double>(schedule_steps[k - 1]);
  const double share =
      (static_cast<double>(step) - from) / (static_cast<double>(schedule_steps[k]) - from);
  return schedule_factors[k - 1] + share * (schedule_factors[k] - schedule_factors[k - 1]);
}

bool Composition::pauses() const {
  const auto rises = [](double factor) { return factor > 0; };
  const auto falls = [](double factor) { return factor < 0; };
  return !std::ranges::all_of(schedule_factors, rises) &&
         !std::ranges::all_of(schedule_factors, falls);
}

Gate gate_of(const Composition& composition, const Group& group, const Response& response) {
  Gate gate;
  if (!composition.only_if.empty()) {
    const auto part = std::ranges::find(response.rewards, composition.only_if, &RewardPart::name);
    ensure(part != response.rewards.end(), "an earlier reward has a part");
    if (!part->abstained.empty())
      gate.abstained = cat(part->name, " abstained");
    else if (!(part->value > 0))
      gate.closed = cat(part->name, " is ", part->value);
  }
  if (composition.min_solve_rate > 0 && gate.closed.empty()) {
    const std::vector<Judged> all = judged(group);
    const auto right = std::ranges::count_if(all, &Judged::correct);
    const auto wanted = composition.min_solve_rate * static_cast<double>(all.size());
    if (static_cast<double>(right) < wanted || all.empty())
      gate.closed = cat(right, " of ", all.size(), " are right");
  }
  return gate;
}

void normalize_values(std::span<double> values, std::span<const char> counts) {
  double sum = 0, squares = 0, count = 0;
  for (size_t i = 0; i < values.size(); ++i)
    if (counts[i] != 0) {
      sum += values[i];
      count += 1;
    }
  const double mean = count > 0 ? sum / count : 0;
  for (size_t i = 0; i < values.size(); ++i)
    if (counts[i] != 0) squares += (values[i] - mean) * (values[i] - mean);
  const double std = count > 1 ? std::sqrt(squares / (count - 1)) : 0;
  for (size_t i = 0; i < values.size(); ++i)
    if (counts[i] != 0) values[i] = (values[i] - mean) / (std + kEps);
}

}  // namespace vernier
