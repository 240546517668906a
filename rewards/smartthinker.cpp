// Right answers longer than the length at which answers are likeliest to be right pay for it.
//
//   L*: all right: min L; none right: max L; else, with mean and variance (over n) of all lengths
//       and of the right ones,
//         |v_C - v| < 1e-6:  max L where mu_C < mu, else min L
//         v_C > v:           min L
//         else               clip((v_C mu - v mu_C) / (v_C - v), min L, max L)
//   e_i = |L_i - L*| where right and L_i > L*, else 0
//   r_i = c_i - alpha e_i,  alpha = strength (1 - p) / (max_C e - mean e + 1e-6)
//
// L* is where the ratio of two Gaussians, of right lengths over all, is largest. alpha = 0 where
// all or none are right. L: tokens, end token included. Wrong answers are not shaped. Correctness
// is part of the value. Dynamic sampling has to look at accuracy.
// Source: SmartThinker, arXiv:2603.08000, and SJTU-RTEAS/SmartThinker (GRPO with std). The older
// SmartThinker, arXiv:2507.04348, needs a model of the importance of steps and is another method.
#include <algorithm>
#include <cmath>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

constexpr double kEps = 1e-6;

double optimal_length(const std::vector<Judged>& all) {
  const Lengths whole = lengths_of(all), right = right_lengths_of(all);
  if (right.count == whole.count) return whole.shortest;
  if (right.count == 0) return whole.longest;
  const double v = whole.variance(), v_right = right.variance();
  if (std::abs(v_right - v) < kEps) return right.mean < whole.mean ? whole.longest : whole.shortest;
  if (v_right > v) return whole.shortest;
  return std::clamp((v_right * whole.mean - v * right.mean) / (v_right - v), whole.shortest,
                    whole.longest);
}

class SmartThinker final : public Reward {
 public:
  explicit SmartThinker(Binder& config) {
    config.number("strength", strength_, 0.0, 1e3, "factor of the penalty; 1: the paper's");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override {
    return growing("strength", strength_, 0.01, 100);
  }
  void set_pressure(double value) override { strength_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    if (all.empty()) return;
    const double best = optimal_length(all), p = solve_rate(all);
    std::vector<double> excess;
    double largest = 0, sum = 0;
    for (const Judged& one : all) {
      excess.push_back(one.correct && one.length > best ? one.length - best : 0);
      largest = std::max(largest, excess.back());
      sum += excess.back();
    }
    const double mean = sum / static_cast<double>(all.size());
    const bool mixed = p > 0 && p < 1;
    const double alpha = mixed ? strength_ * (1 - p) / (largest - mean + kEps) : 0;
    for (size_t k = 0; k < all.size(); ++k) {
      Score& score = scores[all[k].place];
      score.value = (all[k].correct ? 1 : 0) - alpha * excess[k];
      score.explain = cat(all[k].length, " tokens; best is ", best, ", alpha ", alpha);
    }
  }

 private:
  double strength_ = 1;
};

const RewardRegistry::Entry entry{
    "smartthinker",
    {"right answers less their excess over the likeliest length",
     "r = c - alpha e, e = max(0, L - L*) of right ones, alpha = (1 - p) / (max e - mean e)",
     "tokens", "SmartThinker, arXiv:2603.08000; SJTU-RTEAS/SmartThinker"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<SmartThinker>(config);
    }};

}  // namespace
}  // namespace vernier
