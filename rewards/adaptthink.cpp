// Not thinking is worth a little more, as long as the prompt is solved as often as before.
//
//   r_i = c_i - p_ref + delta [no think]
//
// p_ref: share of right answers of the start policy to the same prompt, from
// `reference_generations` of them that are drawn before the prompt is first trained on (kept with
// the checkpoint), or the row's column reference_accuracy. Abstains where a prompt has neither. A
// response does not think where there is only white space before its closing tag. Half of each
// group is forced to begin with that tag (`forced_share`), so that the policy sees both ways; its
// first token then counts with log-probability ln 1/2 in either half. The advantage is r itself: a
// run insists on algo.advantage = "naive", and on no normalize. Correctness is part of the value;
// length has no part in it. A wrong short answer of a prompt that is never solved gains delta.
// Dynamic sampling has to look at accuracy.
// Source: AdaptThink, arXiv:2505.13417, and THU-KEG/AdaptThink (delta 0.05, 16 references, K 16).
#include <memory>

#include "rewards/judged.h"
#include "rewards/thinking.h"

namespace vernier {
namespace {

class AdaptThink final : public Reward {
 public:
  AdaptThink(Binder& config, const ScoringContext& context) : memory_(*context.memory) {
    config.number("delta", delta_, 0.0, 1e3, "what not thinking is worth");
    config.number("reference_generations", reference_generations_, 0, 4096,
                  "responses of the start policy to a prompt, before it is trained on; 0: the row "
                  "has reference_accuracy");
    config.number("forced_share", forced_share_, 0.0, 1.0,
                  "of each group that begins with think_end, in whole responses: at least one of "
                  "either kind, unless it is 0 or 1");
    config.text("think_start", think_start_, "tag that opens thinking, where the response has it");
    config.text("think_end", think_end_, "tag that closes thinking");
    if (think_end_.empty()) config.error("think_end", "is empty; it tells the two modes apart");
  }

  bool needs_group() const override { return false; }
  bool is_advantage() const override { return true; }

  SamplingPlan plan() const override {
    SamplingPlan plan;
    plan.reference_generations = reference_generations_;
    plan.forced_share = forced_share_;
    plan.forced_text = think_end_;
    return plan;
  }
  bool lacks_reference(const Prompt& prompt) const override {
    return reference_generations_ > 0 &&
           !memory_.of_prompt("reference_tried", prompt.id).has_value() &&
           !known(memory_, prompt, "reference_accuracy");
  }
  std::string abstains_on(const Prompt& prompt) const override {
    if (known(memory_, prompt, "reference_accuracy") || reference_generations_ > 0) return "";
    return "no column reference_accuracy, and reference_generations = 0";
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const auto reference = known(memory_, group.prompt, "reference_accuracy");
    for (const auto& [i, length, correct] : judged(group, scores)) {
      if (!reference) {
        scores[i].abstain = "no reference_accuracy of the prompt";
        continue;
      }
      const bool none =
          thinking_of(group.responses[i].text, think_start_, think_end_) == Thinking::none;
      scores[i].value = (correct ? 1 : 0) - *reference + (none ? delta_ : 0);
      scores[i].explain = cat(none ? "did not think" : "thought", ", reference ", *reference);
    }
  }

  std::vector<Note> observe(const Group& group) const override {
    const std::vector<Judged> all = judged(group);
    if (group.role != "reference") return {};
    if (all.empty()) return {{"reference_tried", 1, group.prompt.id}};  // once is enough
    return {{"reference_accuracy", solve_rate(all), group.prompt.id}};
  }

  bool learns() const override { return true; }
  void learn(const std::vector<Note>& notes) override {
    for (const Note& note : notes) memory_.set_of_prompt(note.name, note.prompt, note.value);
  }

 private:
  RewardMemory& memory_;
  int64_t reference_generations_ = 16;
  double delta_ = 0.05, forced_share_ = 0.5;
  std::string think_start_ = "<think>", think_end_ = "</think>";
};

const RewardRegistry::Entry entry{
    "adaptthink",
    {"right, against the start policy, and a little for not thinking",
     "r = c - p_ref + delta [no think]", "responses that do not think",
     "AdaptThink, arXiv:2505.13417; THU-KEG/AdaptThink"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<AdaptThink>(config, context);
    }};

}  // namespace
}  // namespace vernier
