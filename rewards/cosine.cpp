// Half a cosine over length: right answers lose with every token, wrong ones lose less.
//
//   r_i = at_limit + (at_0 - at_limit) (1 + cos(pi min(L_i / l_max, 1))) / 2
//
// with (at_0, at_limit) of right or of wrong answers; r_i = exceed where L_i + margin >= l_max and
// `exceed` is given. L: tokens, end token included. The defaults are TRL's: 1 to 0.5 for right, -1
// to -0.5 for wrong, no exceed. The paper's run: right 2 to 1, wrong -10 to 0, margin 16, exceed
// -10. Correctness is part of the value.
// Beware: a policy that is seldom right is paid for long wrong answers (which is the paper's
// point); watch the truncation rate. Dynamic sampling has to look at accuracy.
// Source: "Demystifying long chain-of-thought", arXiv:2502.03373, and eddycmu/demystify-long-cot;
// TRL get_cosine_scaled_reward. The paper's dense penalty on repeated tokens is not here.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>

#include "rewards/judged.h"

namespace vernier {
namespace {

class Cosine final : public Reward {
 public:
  Cosine(Binder& config, const ScoringContext& context) {
    config.number("l_max", l_max_, 0, int64_t{1} << 30,
                  "tokens; 0 takes the run's max_completion_length");
    config.number("correct_at_0", correct_at_0_, -1e6, 1e6, "of a right answer without a token");
    config.number("correct_at_limit", correct_at_limit_, -1e6, 1e6, "of one of l_max tokens");
    config.number("wrong_at_0", wrong_at_0_, -1e6, 1e6, "of a wrong answer without a token");
    config.number("wrong_at_limit", wrong_at_limit_, -1e6, 1e6, "of one of l_max tokens");
    config.number("margin", margin_, 0, int64_t{1} << 30, "tokens before l_max that exceed covers");
    config.number("exceed", exceed_, -1e6, 1e6, "of a response within margin of l_max, if given");
    exceeds_ = config.has("exceed");
    config.only_if("margin", exceeds_, "no exceed");
    if (l_max_ == 0) l_max_ = context.max_completion_length;
    if (l_max_ <= 0)
      config.error("l_max", "is 0 and the run has no max_completion_length; set it, in tokens");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override {
    return Pressure{.key = "correct_at_limit",
                    .value = correct_at_limit_,
                    .low = correct_at_0_ - 10,
                    .high = correct_at_0_,
                    .smaller_is_more = true,
                    .none = correct_at_0_};
  }
  void set_pressure(double value) override { correct_at_limit_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const auto limit = static_cast<double>(l_max_);
    for (const auto& [i, length, correct] : judged(group, scores)) {
      const bool over = exceeds_ && length + static_cast<double>(margin_) >= limit;
      const double start = correct ? correct_at_0_ : wrong_at_0_;
      const double end = correct ? correct_at_limit_ : wrong_at_limit_;
      const double share = std::min(length / limit, 1.0);
      scores[i].value =
          over ? exceed_ : end + (start - end) * (1 + std::cos(std::numbers::pi * share)) / 2;
      scores[i].explain = cat(length, " of ", l_max_, " tokens", over ? ": too many" : "");
    }
  }

 private:
  int64_t l_max_ = 0, margin_ = 0;
  double correct_at_0_ = 1, correct_at_limit_ = 0.5, wrong_at_0_ = -1, wrong_at_limit_ = -0.5;
  double exceed_ = -10;
  bool exceeds_ = false;
};

const RewardRegistry::Entry entry{
    "cosine",
    {"half a cosine over length, one for right and one for wrong answers",
     "r = end + (start - end) (1 + cos(pi min(L / l_max, 1))) / 2", "tokens",
     "arXiv:2502.03373; eddycmu/demystify-long-cot; TRL"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<Cosine>(config, context);
    }};

}  // namespace
}  // namespace vernier
