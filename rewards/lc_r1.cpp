// Shorter than the longest right answer, and a token's credit for thinking no further than needed.
//
//   r_i = f_i + c_i + w (1 - L_i / (max_C L + 1e-4))    of every response, wrong ones too
//   r_i = f_i + c_i                                     where no response of the group is right
//
//   bonus at the closing tag, where f_i = c_i = 1:
//       1 - L_valid / L_think   L_valid: thinking tokens up to where the answer is first right
//       -1                      where the answer is nowhere in the thinking
//
// f: 1 where the closing tag occurs exactly once; c: 1 when right; max_C: over right answers; L:
// tokens, end token included. The bonus, times `bonus_weight`, is added to that one token's
// advantage; a run needs rollout.think_end for it. The method's advantage is r less the group's
// mean: algo.scale_rewards = "none". L_valid is where the row's rule of correctness first holds
// (Response::first_correct); the paper has a small model look for it, and trains on the sequence
// cropped there, which is not done here. Correctness is part of the value. Beware: long wrong
// answers get a term below 0, right ones one of at least 0, which can make a right answer's
// advantage negative only through the mean. Dynamic sampling has to look at accuracy.
// Source: LC-R1, arXiv:2506.14755, and zxiangx/LC-R1.
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

constexpr double kEps = 1e-4;

class LcR1 final : public Reward {
 public:
  LcR1(Binder& config, const ScoringContext& context) {
    config.number("length_weight", length_weight_, 0.0, 1e6, "of the length term");
    config.number("bonus_weight", bonus_weight_, 0.0, 1e6, "of the closing tag's bonus");
    config.text("think_end", think_end_,
                "tag that closes thinking; empty: no format term, no bonus");
    if (context.counts && bonus_weight_ > 0 && !think_end_.empty() && context.think_end &&
        context.think_end->empty())
      config.error("bonus_weight",
                   cat(bonus_weight_,
                       " is of a bonus for the length of the thinking, and rollout.think_end, "
                       "which marks it, is empty; set it, or bonus_weight = 0"));
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override {
    return growing("length_weight", length_weight_, 0.01, 100);
  }
  void set_pressure(double value) override { length_weight_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    const Lengths right = right_lengths_of(all);
    for (const auto& [i, length, correct] : all) {
      const Response& response = group.responses[i];
      const bool formed = !think_end_.empty() && occurs_once(response.text);
      const double term =
          right.count > 0 ? length_weight_ * (1 - length / (right.longest + kEps)) : 0;
      scores[i].value = (formed ? 1 : 0) + (correct ? 1 : 0) + term;
      scores[i].explain =
          cat(formed ? "formed, " : "", length, " of ", right.longest, " tokens: ", term);
      if (formed && correct && bonus_weight_ > 0) add_bonus(response, scores[i]);
    }
  }

 private:
  bool occurs_once(std::string_view text) const {
    const size_t first = text.find(think_end_);
    return first != std::string_view::npos &&
           text.find(think_end_, first + think_end_.size()) == std::string_view::npos;
  }

  void add_bonus(const Response& response, Score& score) const {
    const auto [begin, end] = response.think;
    if (begin < 0 || end <= begin || end >= response.num_tokens) return;
    const bool inside = response.first_correct && *response.first_correct <= end;
    const double valid = inside ? *response.first_correct - begin : 0;
    score.token_bonus.assign(static_cast<size_t>(response.num_tokens), 0.0);
    const double bonus = inside ? 1 - valid / (end - begin) : -1;
    score.token_bonus[static_cast<size_t>(end)] = bonus_weight_ * bonus;
    score.explain += cat("; bonus ", bonus, " at token ", end);
  }

  double length_weight_ = 1, bonus_weight_ = 1;
  std::string think_end_ = "</think>";
};

const RewardRegistry::Entry entry{
    "lc_r1",
    {"format, right, and shorter than the longest right answer; a bonus at the closing tag",
     "r = f + c + w (1 - L / (max_C L + 1e-4)); bonus 1 - L_valid / L_think at </think>", "tokens",
     "LC-R1, arXiv:2506.14755; zxiangx/LC-R1"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<LcR1>(config, context);
    }};

}  // namespace
}  // namespace vernier
