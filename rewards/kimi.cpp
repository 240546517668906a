// Length within the group: the shortest response gains half a point, the longest loses one.
//
//   lambda_i = 0.5 - (L_i - L_min) / (L_max - L_min)      L_min, L_max over the whole group
//   r_i = correct_score + term_weight lambda_i            right
//   r_i = wrong_score + term_weight min(0, lambda_i)      wrong
//
// lambda = 0 for all where L_min = L_max. L: tokens, end token included (open-r1 counts
// characters). Correctness is part of the value: `accuracy` beside it would count it twice.
// Beware: a long right answer can end below the group's mean and is pushed down (the term reaches
// -0.5); the group's standard deviation blows small differences up where all are right. Dynamic
// sampling has to look at accuracy. The report begins without the penalty: schedule_steps.
// Source: Kimi k1.5, arXiv:2501.12599; open-r1 len_reward. The weight is not published: 1 here. The
// form in LASER's code is correct_score 1, wrong_score -0.5, term_weight 0.4.
#include <algorithm>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class Kimi final : public Reward {
 public:
  explicit Kimi(Binder& config) {
    config.number("term_weight", term_weight_, 0.0, 1e6, "of the length term");
    config.number("correct_score", correct_score_, -1e6, 1e6, "of a right response before it");
    config.number("wrong_score", wrong_score_, -1e6, 1e6, "of a wrong response before it");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override {
    return growing("term_weight", term_weight_, 0.01, 100);
  }
  void set_pressure(double value) override { term_weight_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    const Lengths lengths = lengths_of(all);
    const double span = lengths.longest - lengths.shortest;
    for (const auto& [i, length, correct] : all) {
      const double lambda = span > 0 ? 0.5 - (length - lengths.shortest) / span : 0;
      const double term = correct ? lambda : std::min(0.0, lambda);
      scores[i].value = (correct ? correct_score_ : wrong_score_) + term_weight_ * term;
      scores[i].explain =
          cat(length, " of ", lengths.shortest, " to ", lengths.longest, " tokens: ", term);
    }
  }

 private:
  double term_weight_ = 1, correct_score_ = 1, wrong_score_ = 0;
};

const RewardRegistry::Entry entry{
    "kimi",
    {"right or wrong, and length within the group",
     "r = c + w lambda if right, w min(0, lambda) if wrong; lambda = 0.5 - (L - L_min) / (L_max - "
     "L_min)",
     "tokens", "Kimi k1.5, arXiv:2501.12599; open-r1 len_reward"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Kimi>(config);
    }};

}  // namespace
}  // namespace vernier
