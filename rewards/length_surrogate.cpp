// Format and length in place of a ground truth: right form first, then a length worth its tokens.
//
//   x = L / l_max, held to [0, 1]           L: tokens of the response, end token included
//   R = 1 - (1 - x/p)^2                     x <= p   (quadratic: 0 at 0, 1 at p, -1 at 1)
//   R = 1 - 2 ((x - p) / (1 - p))^2         x > p
//   R = x/p;  1 - 2 (x - p) / (1 - p)       the same points joined by lines (polyline)
//
//   code:   r = w (T + F) + R  where F = 1,  min(0, R)      where F = 0
//   paper:  r = F + R          where F = 1,  min(0, F + R)  where F = 0
//
// F: the answer has its form; T: a <think> block occurs; w: format_weight. `code` with w = 0.5 is
// what the published runs used; the original does not hold x to 1. Blind to correctness: never
// abstains. Source: arXiv:2505.19439 (equations 3 to 5) and its code.
#include <algorithm>
#include <memory>

#include "rewards/reward.h"
#include "rewards/verify/math_format.h"

namespace vernier {
namespace {

class LengthSurrogate final : public Reward {
 public:
  LengthSurrogate(Binder& config, const ScoringContext& context) {
    config.number("p", p_, 0.001, 0.999, "share of l_max that is worth most");
    config.number("l_max", l_max_, 0, int64_t{1} << 30,
                  "tokens; 0 takes the run's max_completion_length");
    config.choice("shape", shape_, {"quadratic", "polyline"}, "of the length term");
    config.number("format_weight", format_weight_, 0.0, 1e6, "factor of the format terms");
    config.choice("combination", combination_, {"code", "paper"}, "how form and length are joined");
    config.choice("format", format_, {"boxed", "hash"}, "which form the answer must have");
    config.flag("strict_sympy_compat", strict_,
                "boxed: refuse what SymPy cannot parse, half-open intervals for one");
    config.only_if("format_weight", combination_ == "code", "combination = \"paper\"");
    config.only_if("strict_sympy_compat", format_ == "boxed", "format = \"hash\"");
    if (l_max_ == 0) l_max_ = context.max_completion_length;
    if (l_max_ <= 0)
      config.error("l_max", "is 0 and the run has no max_completion_length; set it, in tokens");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const Response& response = group.responses[i];
      const bool formed = format_ == "hash" ? response.text.find('#') != std::string::npos
                                            : has_math_answer(response.text, strict_);
      const bool thought = combination_ == "code" && has_think_block(response.text);
      const double length = length_term(response.num_tokens);
      scores[i].value = joined(formed, thought, length);
      scores[i].explain =
          cat(format_, formed ? ": found" : ": not found", thought ? ", thought" : "", ", ",
              response.num_tokens, " of ", l_max_, " tokens: ", length);
    }
  }

 private:
  double length_term(int32_t num_tokens) const {
    const double x = std::clamp(num_tokens / static_cast<double>(l_max_), 0.0, 1.0);
    const double rise = 1 - x / p_, fall = (x - p_) / (1 - p_);
    if (shape_ == "polyline") return x <= p_ ? 1 - rise : 1 - 2 * fall;
    return x <= p_ ? 1 - rise * rise : 1 - 2 * fall * fall;
  }

  double joined(bool formed, bool thought, double length) const {
    if (!formed) return std::min(0.0, length);
    if (combination_ == "paper") return 1 + length;
    return format_weight_ * (thought ? 2 : 1) + length;
  }

  double p_ = 0.5, format_weight_ = 0.5;
  int64_t l_max_ = 0;
  std::string shape_ = "quadratic", combination_ = "code", format_ = "boxed";
  bool strict_ = true;
};

const RewardRegistry::Entry entry{
    "length_surrogate",
    {"format and length, without ground truth",
     "code: r = w (T + F) + R if F else min(0, R); paper: r = F + R if F else min(0, F + R); R: 1 "
     "at p l_max, 0 at 0, -1 at l_max",
     "tokens", "arXiv:2505.19439 and its code"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<LengthSurrogate>(config, context);
    }};

}  // namespace
}  // namespace vernier
