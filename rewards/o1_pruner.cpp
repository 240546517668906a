// Shorter than the start policy's own answers, and at least as often right.
//
//   r_i = (mean_ref(L) / L_i - 1) + lambda (c_i - mean_ref(c))
//
// mean_ref: over responses of the start policy to the same prompt, that were drawn before training:
// `reference_generations` of them for each prompt that the run meets (they are kept with the
// checkpoint), or the row's columns reference_length and reference_accuracy. Abstains where a
// prompt has neither. L: tokens, end token included. Wrong answers are shaped too: a short wrong
// one can be worth more than a long right one (at lambda 2: where it is less than a third as long).
// The paper then brings the values to mean 0 and deviation 1 over its data (normalize or a
// batch-wide algo.scale_rewards stand for it here) and learns by a clipped loss with the sequence's
// ratio.
// Source: O1-Pruner, arXiv:2501.12570, and StarDewXXX/O1-Pruner: the code has an integer alpha (5
// in its example) for lambda and holds r to [-2, 4]; lambda 2 of the paper was not read in its
// text.
#include <algorithm>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class O1Pruner final : public Reward {
 public:
  O1Pruner(Binder& config, const ScoringContext& context) : memory_(*context.memory) {
    config.number("lambda", lambda_, 0.0, 1e6, "of correctness against length");
    config.number("reference_generations", reference_generations_, 0, 4096,
                  "responses of the start policy to a prompt, before it is trained on; 0: the row "
                  "has reference_length and reference_accuracy");
    config.flag("clip", clip_, "hold the value to [-2, 4], as the code does");
  }

  bool needs_group() const override { return false; }

  SamplingPlan plan() const override {
    SamplingPlan plan;
    plan.reference_generations = reference_generations_;
    return plan;
  }
  bool lacks_reference(const Prompt& prompt) const override {
    return reference_generations_ > 0 &&
           !memory_.of_prompt("reference_tried", prompt.id).has_value() && !knows(prompt);
  }
  std::string abstains_on(const Prompt& prompt) const override {
    if (knows(prompt) || reference_generations_ > 0) return "";
    return "no columns reference_length and reference_accuracy, and reference_generations = 0";
  }
  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override {
    return Pressure{.key = "lambda",
                    .value = lambda_,
                    .low = 0.1,
                    .high = 1000,
                    .smaller_is_more = true,
                    .none = 1e6};
  }
  void set_pressure(double value) override { lambda_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const auto length = known(memory_, group.prompt, "reference_length");
    const auto accuracy = known(memory_, group.prompt, "reference_accuracy");
    for (const auto& [i, tokens, correct] : judged(group, scores)) {
      if (!length || !accuracy)
        scores[i].abstain = "no reference_length and reference_accuracy of the prompt";
      else if (tokens <= 0)
        scores[i].abstain = "has no token";
      if (!scores[i].abstain.empty()) continue;
      const double value = (*length / tokens - 1) + lambda_ * ((correct ? 1 : 0) - *accuracy);
      scores[i].value = clip_ ? std::clamp(value, -2.0, 4.0) : value;
      scores[i].explain = cat(tokens, " tokens for ", *length, ", solved ", *accuracy);
    }
  }

  std::vector<Note> observe(const Group& group) const override {
    const std::vector<Judged> all = judged(group);
    if (group.role != "reference") return {};
    if (all.empty()) return {{"reference_tried", 1, group.prompt.id}};  // once is enough
    return {{"reference_length", lengths_of(all).mean, group.prompt.id},
            {"reference_accuracy", solve_rate(all), group.prompt.id}};
  }

  bool learns() const override { return true; }
  void learn(const std::vector<Note>& notes) override {
    for (const Note& note : notes) memory_.set_of_prompt(note.name, note.prompt, note.value);
  }

 private:
  // Looks at both, so that a column that is no number is named.
  bool knows(const Prompt& prompt) const {
    const auto length = known(memory_, prompt, "reference_length");
    const auto accuracy = known(memory_, prompt, "reference_accuracy");
    return length && accuracy;
  }

  RewardMemory& memory_;
  int64_t reference_generations_ = 12;
  double lambda_ = 2;
  bool clip_ = false;
};

const RewardRegistry::Entry entry{
    "o1_pruner",
    {"shorter than the start policy, and as often right",
     "r = (mean_ref(L) / L - 1) + lambda (c - mean_ref(c))", "tokens",
     "O1-Pruner, arXiv:2501.12570 (lambda not read); StarDewXXX/O1-Pruner"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<O1Pruner>(config, context);
    }};

}  // namespace
}  // namespace vernier
