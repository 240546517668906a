// Right answers fall off with their length among the right ones; wrong ones cost a whole point.
//
//   z_i = (L_i - mean) / (std + 1e-6)     over the right answers, std with n - 1 (1 of one answer)
//   r_i = exp(-alpha z_i)                 right
//   r_i = wrong_score                     wrong
//
// The length term is left out (r = 1 of right answers) where the three shortest responses are
// `min_length` tokens or less on average. L: tokens, end token included. The method's advantage
// weighs by difficulty: algo.advantage = "grpo_lead". Dynamic sampling has to look at accuracy.
// Source: GRPO-LEAD, arXiv:2504.09696, and aeroplanepaper/GRPO-LEAD (alpha 0.05; min_length 4000 is
// in the code alone). The code takes the answer from before "</think>"; that was not copied.
#include <algorithm>
#include <cmath>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

constexpr double kEps = 1e-6;
constexpr size_t kShortest = 3;

class GrpoLead final : public Reward {
 public:
  explicit GrpoLead(Binder& config) {
    config.number("alpha", alpha_, 0.0, 100.0, "fall of a right answer for each deviation");
    config.number("wrong_score", wrong_score_, -1e6, 1e6, "of a wrong answer");
    config.number("min_length", min_length_, 0, int64_t{1} << 30,
                  "tokens of the three shortest, on average, from which on length counts");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("alpha", alpha_, 1e-3, 10); }
  void set_pressure(double value) override { alpha_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    const Lengths right = right_lengths_of(all);
    const double std = right.count == 1 ? 1 : right.sample_std();
    const bool shaped = shortest_mean(all) > static_cast<double>(min_length_) || min_length_ == 0;
    for (const auto& [i, length, correct] : all) {
      const double z = shaped ? (length - right.mean) / (std + kEps) : 0;
      scores[i].value = correct ? std::exp(-alpha_ * z) : wrong_score_;
      if (correct) scores[i].explain = cat(length, " tokens: ", z, " deviations");
    }
  }

 private:
  static double shortest_mean(const std::vector<Judged>& all) {
    std::vector<double> lengths;
    for (const Judged& one : all) lengths.push_back(one.length);
    std::ranges::sort(lengths);
    lengths.resize(std::min(lengths.size(), kShortest));
    double sum = 0;
    for (const double one : lengths) sum += one;
    return lengths.empty() ? 0 : sum / static_cast<double>(lengths.size());
  }

  double alpha_ = 0.05, wrong_score_ = -1;
  int64_t min_length_ = 0;
};

const RewardRegistry::Entry entry{
    "grpo_lead",
    {"right answers that fall off with length, wrong ones at -1",
     "r = exp(-alpha (L - mean_C) / std_C) if right, -1 if wrong", "tokens",
     "GRPO-LEAD, arXiv:2504.09696; aeroplanepaper/GRPO-LEAD"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<GrpoLead>(config);
    }};

}  // namespace
}  // namespace vernier
