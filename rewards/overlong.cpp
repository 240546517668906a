// Soft overlong punishment: the last tokens before the limit cost more and more.
//
//   b = l_max - cache
//   r = 0                              L <= b
//   r = -(L - b) / cache               b < L <= l_max
//   r = -1                             l_max < L            (form trl, as the paper has it)
//   r = -factor min(L - b, cache) / cache   b < L           (form openrlhf: the same, times factor)
//   r = -factor (L - b) / cache             b < L           (form verl: no floor; it relies on
//                                                            sampling to stop at l_max)
//
// L: tokens, end token included. Blind to correctness: never abstains. The paper adds it to 1 for
// right and -1 for wrong, which is weight = 2 of `accuracy` beside it.
// Source: DAPO, arXiv:2503.14476, equation 13 (l_max 20480, cache 4096); TRL, verl, OpenRLHF.
#include <algorithm>
#include <memory>

#include "rewards/reward.h"

namespace vernier {
namespace {

constexpr int64_t kCacheShare = 5;  // of l_max, as in the paper

class Overlong final : public Reward {
 public:
  Overlong(Binder& config, const ScoringContext& context) {
    config.number("l_max", l_max_, 0, int64_t{1} << 30,
                  "tokens; 0 takes the run's max_completion_length");
    config.number("cache", cache_, 0, int64_t{1} << 30,
                  "tokens before l_max over which the punishment grows; 0 takes a fifth of l_max");
    config.choice("form", form_, {"trl", "verl", "openrlhf"},
                  "beyond l_max: -1 (the paper), further down, or -factor");
    config.number("factor", factor_, 0.0, 1e6, "punishment at l_max");
    config.only_if("factor", form_ != "trl", "form = \"trl\"");
    if (l_max_ == 0) l_max_ = context.max_completion_length;
    if (cache_ == 0) cache_ = std::max<int64_t>(l_max_ / kCacheShare, 1);
    if (l_max_ <= 0)
      config.error("l_max", "is 0 and the run has no max_completion_length; set it, in tokens");
    else if (cache_ > l_max_)
      config.error("cache", cat(cache_, " is more than l_max = ", l_max_));
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const int64_t length = group.responses[i].num_tokens, over = length - (l_max_ - cache_);
      scores[i].value = punishment(static_cast<double>(over) / static_cast<double>(cache_));
      scores[i].explain = cat(length, " of ", l_max_, " tokens, ", std::max<int64_t>(over, 0),
                              " in the last ", cache_);
    }
  }

 private:
  // `over`: tokens past b over cache.
  double punishment(double over) const {
    if (over <= 0) return 0;
    if (form_ == "trl") return -std::min(over, 1.0);
    return -factor_ * (form_ == "openrlhf" ? std::min(over, 1.0) : over);
  }

  int64_t l_max_ = 0, cache_ = 0;
  std::string form_ = "trl";
  double factor_ = 1;
};

const RewardRegistry::Entry entry{
    "overlong",
    {"punishes the last tokens before the limit (DAPO's soft overlong punishment)",
     "r = 0 if L <= b, -(L - b) / cache beyond, -1 past l_max; b = l_max - cache", "tokens",
     "DAPO, arXiv:2503.14476, equation 13; TRL, verl, OpenRLHF"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<Overlong>(config, context);
    }};

}  // namespace
}  // namespace vernier
