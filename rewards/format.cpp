// Pays the form of a response; needs no ground truth.
//
//   r_i = 1   where response i has the form, else 0
//
//   hash         a "#" occurs (the answers of chain_sum)
//   boxed        an answer that reads as mathematics (rewards/verify/math_format.h)
//   think_tags   "<think>" occurs, and "</think>" after it
#include <memory>

#include "rewards/form.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

class Format final : public Reward {
 public:
  explicit Format(Binder& config) {
    config.choice("kind", kind_, forms(), "which form");
    config.flag("strict_sympy_compat", strict_,
                "boxed: refuse what SymPy cannot parse, half-open intervals for one");
    config.only_if("strict_sympy_compat", kind_ == "boxed", cat("kind = \"", kind_, "\""));
  }

  bool needs_group() const override { return false; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const bool formed = has_form(kind_, group.responses[i].text, strict_);
      scores[i].value = formed ? 1.0 : 0.0;
      scores[i].explain = cat(kind_, formed ? ": found" : ": not found");
    }
  }

 private:
  std::string kind_ = "boxed";
  bool strict_ = true;
};

const RewardRegistry::Entry entry{
    "format",
    {"1 for the right form", "r = [the response has the form]", "forms",
     "arXiv:2505.19439 (boxed)"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Format>(config);
    }};

}  // namespace
}  // namespace vernier
