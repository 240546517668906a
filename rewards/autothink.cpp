// Lets the policy choose whether to think: what either mode earns, length within the group, and a
// balance of the two modes over the step.
//
//   base      think: 1 right, 0 wrong; no think: 2 right, -1 wrong;
//             0 without the closing tag or the form
//   length    right: + exp(-alpha z) - 1;  wrong: + 1 - exp(-beta z)
//             z = (L - mean) / std over the right or the wrong ones of the group (n - 1; std at
//             least 1e-6), both modes together; nothing where there is but one
//   balance   where a mode's share q of the step is above gamma, its rewards become
//             (1 - a) r + a w,  a = clip(2 (q - gamma), 0, 1)
//             w: thinking 0 right, -1 wrong; not thinking 1 right, -2 wrong
//
// A response thinks unless there is only white space before the closing tag. The prompt has to end
// so that the model chooses ("<think>\n...\n"). The paper's three stages: gamma 0.5, alpha = beta =
// 0; gamma 1 (no balance); gamma 1, alpha = beta = 0.05, with longer limits. The value of a
// response needs the modes of the whole step. L: tokens, end token included. Correctness is part of
// the value. Dynamic sampling has to look at accuracy.
// Source: AutoThink, arXiv:2505.10832, and TU2021/AutoThink.
#include <algorithm>
#include <cmath>
#include <memory>

#include "rewards/form.h"
#include "rewards/judged.h"
#include "rewards/thinking.h"

namespace vernier {
namespace {

constexpr double kLeastStd = 1e-6;

class AutoThink final : public Reward {
 public:
  explicit AutoThink(Binder& config) {
    config.number("gamma", gamma_, 0.0, 1.0, "share of a mode from which on it is held back");
    config.number("alpha", alpha_, 0.0, 100.0, "of length among right answers");
    config.number("beta", beta_, 0.0, 100.0, "of length among wrong answers");
    config.text("think_start", think_start_, "tag that opens thinking, where the response has it");
    config.text("think_end", think_end_, "tag that closes thinking");
    bind_format(config, format_, "form without which a response is worth 0");
    if (think_end_.empty()) config.error("think_end", "is empty; it tells the two modes apart");
  }

  bool depends_on_length() const override { return alpha_ > 0 || beta_ > 0; }
  std::optional<Pressure> pressure() const override { return growing("alpha", alpha_, 1e-3, 10); }
  void set_pressure(double value) override { alpha_ = value; }
  bool spans_step() const override { return gamma_ < 1; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    std::vector<Judged> formed;
    for (const Judged& one : all)
      if (mode(group.responses[one.place]) != Thinking::open) formed.push_back(one);
    for (const Judged& one : all) {
      const Thinking chosen = mode(group.responses[one.place]);
      Score& score = scores[one.place];
      score.explain = chosen == Thinking::open   ? "no closing tag, or not its form"
                      : chosen == Thinking::some ? "thought"
                                                 : "did not think";
      if (chosen == Thinking::open) continue;
      const bool thinks = chosen == Thinking::some;
      const double base = thinks ? (one.correct ? 1 : 0) : (one.correct ? 2 : -1);
      score.value = balanced(base + length_term(formed, one), thinks, one.correct);
    }
  }

  std::vector<Note> observe(const Group& group) const override {
    std::vector<Note> notes;
    if (!group.role.empty()) return notes;
    for (const Judged& one : judged(group))
      if (const Thinking chosen = mode(group.responses[one.place]); chosen != Thinking::open)
        notes.push_back({"thinks", chosen == Thinking::some ? 1.0 : 0.0, ""});
    return notes;
  }

  void prepare_step(const std::vector<Note>& notes) override {
    const NoteSum thinks = sum_of(notes, "thinks");
    think_share_ = thinks.count > 0 ? std::optional<double>(thinks.mean()) : std::nullopt;
  }

 private:
  Thinking mode(const Response& response) const {
    if (lacks_format(format_, response.text)) return Thinking::open;
    return thinking_of(response.text, think_start_, think_end_);
  }

  double length_term(const std::vector<Judged>& formed, const Judged& one) const {
    std::vector<Judged> alike;
    for (const Judged& other : formed)
      if (other.correct == one.correct) alike.push_back(other);
    if (alike.size() < 2) return 0;
    const Lengths lengths = lengths_of(alike);
    const double z = (one.length - lengths.mean) / std::max(lengths.sample_std(), kLeastStd);
    return one.correct ? std::exp(-alpha_ * z) - 1 : 1 - std::exp(-beta_ * z);
  }

  double balanced(double value, bool thinks, bool correct) const {
    if (!think_share_) return value;
    const double share = thinks ? *think_share_ : 1 - *think_share_;
    const double a = std::clamp(2 * (share - gamma_), 0.0, 1.0);
    const double held = thinks ? (correct ? 0 : -1) : (correct ? 1 : -2);
    return (1 - a) * value + a * held;
  }

  double gamma_ = 0.5, alpha_ = 0, beta_ = 0;
  std::string think_start_ = "<think>", think_end_ = "</think>", format_ = "boxed";
  std::optional<double> think_share_;  // of the step that is being finished
};

const RewardRegistry::Entry entry{
    "autothink",
    {"what thinking and not thinking earn, held in balance over the step",
     "think 1/0, no think 2/-1; + exp(-alpha z) - 1 right, + 1 - exp(-beta z) wrong; a mode above "
     "gamma moves towards 0/-1 or 1/-2",
     "tokens", "AutoThink, arXiv:2505.10832; TU2021/AutoThink"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<AutoThink>(config);
    }};

}  // namespace
}  // namespace vernier
