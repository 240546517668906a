// Says the same things again: a penalty for n-grams that occur more than once.
//
//   r_i = -penalty (1 - distinct n-grams / n-grams)      0 of fewer than n tokens
//
// Over token ids, or over white-space words in lower case. Blind to correctness: never abstains,
// unless token ids are asked for and a stored response has none. Added to other rewards; it shapes
// wrong answers too (only_if limits it).
// Source: "Demystifying long chain-of-thought", arXiv:2502.03373 (words); TRL
// get_repetition_penalty_reward (n 3, penalty 1); HAPO.
#include <memory>

#include "rewards/repeats.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

class Repetition final : public Reward {
 public:
  explicit Repetition(Binder& config) {
    config.number("n", n_, 1, 1024, "tokens or words of an n-gram");
    config.number("penalty", penalty_, 0.0, 1e6, "of a response that says one thing only");
    config.choice("unit", unit_, {"tokens", "words"}, "what n-grams are made of");
  }

  bool needs_group() const override { return false; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const Response& response = group.responses[i];
      if (unit_ == "tokens" && response.ids.empty() && response.num_tokens > 0) {
        scores[i].abstain = "the response has no token ids";
        continue;
      }
      const double distinct = unit_ == "words"
                                  ? distinct_share(numbered_words(response.text), size())
                                  : distinct_share(response.ids, size());
      scores[i].value = penalty_ * (distinct - 1);
      scores[i].explain = cat(distinct, " of its ", n_, "-grams are distinct");
    }
  }

 private:
  size_t size() const { return static_cast<size_t>(n_); }

  int64_t n_ = 3;
  double penalty_ = 1;
  std::string unit_ = "tokens";
};

const RewardRegistry::Entry entry{
    "repetition",
    {"a penalty for repeated n-grams", "r = -penalty (1 - distinct n-grams / n-grams)",
     "tokens, words", "arXiv:2502.03373; TRL get_repetition_penalty_reward"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Repetition>(config);
    }};

}  // namespace
}  // namespace vernier
