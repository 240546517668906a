#include "tools/score_comparison.h"

#include <cmath>

#include "core/base/text.h"
#include "core/metrics/statistics.h"

namespace vernier {
namespace {

double share(int64_t part, int64_t whole) {
  return whole == 0 ? kUndefined : static_cast<double>(part) / static_cast<double>(whole);
}

// Pearson's correlation from sums; NaN where one side does not vary.
double correlation(double n, double x, double y, double xx, double yy, double xy) {
  const double vx = n * xx - x * x, vy = n * yy - y * y;
  return vx > 0 && vy > 0 ? (n * xy - x * y) / std::sqrt(vx * vy) : kUndefined;
}

}  // namespace

void ScoreComparison::add(size_t which, const Group& group, const Response& response) {
  if (!group.role.empty()) return;
  waiting_[which].push_back(
      {.rewarded = response.reward.has_value() && !response.left_out && group.dropped.empty(),
       .right = response.correct.value_or(false),
       .reward = response.reward.value_or(0),
       .advantage = response.advantage,
       .length = static_cast<double>(response.num_tokens),
       .step = group.step,
       .group = group.id});
  while (!waiting_[0].empty() && !waiting_[1].empty()) {
    const Pair pair{waiting_[0].front(), waiting_[1].front()};
    if (!group_.empty() && (group_.front().first.group != pair.first.group ||
                            group_.front().first.step != pair.first.step))
      end_group();
    group_.push_back(pair);
    waiting_[0].pop_front();
    waiting_[1].pop_front();
  }
}

void ScoreComparison::end_group() {
  for (const Pair& pair : group_) {
    ++responses_;
    const Side sides[2] = {pair.first, pair.second};
    for (size_t k = 0; k < 2; ++k) {
      if (!sides[k].rewarded) continue;
      ++rewarded_[k];
      right_[k] += sides[k].right;
      pushed_down_[k] += sides[k].right && sides[k].advantage < 0;
    }
    if (!pair.first.rewarded || !pair.second.rewarded) continue;
    ++both_;
    const double a = pair.first.advantage, b = pair.second.advantage;
    rewards_[0] += pair.first.reward;
    rewards_[1] += pair.second.reward;
    different_ += pair.first.reward != pair.second.reward;
    opposite_ += a * b < 0;
    x_ += a;
    y_ += b;
    xx_ += a * a;
    yy_ += b * b;
    xy_ += a * b;
  }
  for (size_t k = 0; k < 2; ++k) {
    double n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (const Pair& pair : group_) {
      const Side& side = k == 0 ? pair.first : pair.second;
      if (!side.rewarded) continue;
      n += 1;
      x += side.advantage;
      y += side.length;
      xx += side.advantage * side.advantage;
      yy += side.length * side.length;
      xy += side.advantage * side.length;
    }
    const double found = correlation(n, x, y, xx, yy, xy);
    if (!std::isfinite(found)) continue;
    push_[k] += found;
    ++groups_[k];
  }
  group_.clear();
}

Json ScoreComparison::json() {
  end_group();
  const auto mean = [](double sum, int64_t count) {
    return json_number(count == 0 ? kUndefined : sum / static_cast<double>(count));
  };
  const auto both = [&](const auto& of) { return Json::array({of(0), of(1)}); };
  Json out;
  out["responses"] = responses_;
  out["rewarded"] = both([&](size_t k) { return Json(rewarded_[k]); });
  out["rewarded_by_both"] = both_;
  out["reward"] = both([&](size_t k) { return mean(rewards_[k], both_); });
  out["different"] = json_number(share(different_, both_));
  out["advantage_correlation"] =
      json_number(correlation(static_cast<double>(both_), x_, y_, xx_, yy_, xy_));
  out["opposite"] = json_number(share(opposite_, both_));
  out["right_pushed_down"] =
      both([&](size_t k) { return json_number(share(pushed_down_[k], right_[k])); });
  out["length_push"] = both([&](size_t k) { return mean(push_[k], groups_[k]); });
  return out;
}

std::string ScoreComparison::text(const std::string& first, const std::string& second) {
  const Json all = json();
  const auto shown = [](const Json& value) {
    return value.is_null()             ? std::string("-")
           : value.is_number_integer() ? cat(value.get<int64_t>())
                                       : fixed(value.get<double>(), 4);
  };
  const auto pair = [&](const char* what, const char* key) {
    return cat("  ", what, shown(all[key][0]), "   ", shown(all[key][1]), "\n");
  };
  return cat("first:  ", first, "\nsecond: ", second, "\n  responses                  ",
             shown(all["responses"]), "\n", pair("rewarded                   ", "rewarded"),
             "  rewarded by both           ", shown(all["rewarded_by_both"]), "\n",
             pair("mean reward, of those      ", "reward"), "  rewards differ             ",
             shown(all["different"]), "\n  advantages correlate       ",
             shown(all["advantage_correlation"]), "\n  advantages opposed         ",
             shown(all["opposite"]), "\n", pair("right answers pushed down  ", "right_pushed_down"),
             pair("push on length             ", "length_push"));
}

}  // namespace vernier
