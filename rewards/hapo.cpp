// Shorter than the prompt's own history of right answers.
//
//   h: of the prompt, the shortest right answer of earlier steps (mode min), or the mean of all of
//      them (mode mean); none before the first
//   f(L) = cos(pi/2 L / h)      L < 2 h, else -1                                (form cosine)
//   f(L) = 1 - L / h            L < h;  0 below (1 + t) h;  else -(L - (1 + t) h) / h   (linear)
//   r_i = c_i + w max(f, -0.7)  right
//   r_i = c_i + w min(f, 0)     wrong; linear: not below -1
//
// r_i = c_i without a history. t: tolerance; w: term_weight. L: tokens, end token included. All of
// a group sees h from before its step; afterwards the step's right answers enter it, over all ranks
// by the least of them, or by their sum and number. Correctness is part of the value; repetition
// has a reward of its own.
// Beware: the history never grows (mode min): a prompt that was once solved by a lucky short guess
// keeps that mark. Dynamic sampling has to look at accuracy.
// Source: HAPO, arXiv:2505.11225, and HCY123902/HAPO.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>

#include "rewards/judged.h"

namespace vernier {
namespace {

constexpr double kWorstOfRight = -0.7;

class Hapo final : public Reward {
 public:
  Hapo(Binder& config, const ScoringContext& context) : memory_(*context.memory) {
    config.number("term_weight", term_weight_, 0.0, 1e6, "of the length term");
    config.choice("form", form_, {"cosine", "linear"}, "of the length term");
    config.number("tolerance", tolerance_, 0.0, 10.0, "linear: share of h that is free");
    config.only_if("tolerance", form_ == "linear", "form = \"cosine\"");
    config.choice("mode", mode_, {"min", "mean"}, "what the history keeps of right answers");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override {
    return growing("term_weight", term_weight_, 0.01, 100);
  }
  void set_pressure(double value) override { term_weight_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::optional<double> history = memory_.of_prompt("h", group.prompt.id);
    for (const auto& [i, length, correct] : judged(group, scores)) {
      const double term = history ? term_of(correct, length, *history) : 0;
      scores[i].value = (correct ? 1 : 0) + term_weight_ * term;
      scores[i].explain = history ? cat(length, " tokens; history ", *history, ": ", term)
                                  : cat(length, " tokens; no history");
    }
  }

  std::vector<Note> observe(const Group& group) const override {
    const Lengths right = right_lengths_of(judged(group));
    if (right.count == 0 || right.shortest <= 0 || !group.role.empty()) return {};
    const auto count = static_cast<double>(right.count);
    const std::string& prompt = group.prompt.id;
    if (mode_ == "min") return {{"shortest", right.shortest, prompt}};
    return {{"sum", right.mean * count, prompt}, {"count", count, prompt}};
  }

  bool learns() const override { return true; }
  void learn(const std::vector<Note>& notes) override {
    for (const Note& note : notes) {
      if (note.name == "shortest") {
        const double before = memory_.of_prompt("h", note.prompt).value_or(note.value);
        memory_.set_of_prompt("h", note.prompt, std::min(before, note.value));
        continue;
      }
      const double before = memory_.of_prompt(note.name, note.prompt).value_or(0);
      memory_.set_of_prompt(note.name, note.prompt, before + note.value);
      if (note.name == "count")
        memory_.set_of_prompt("h", note.prompt,
                              *memory_.of_prompt("sum", note.prompt) / (before + note.value));
    }
  }

 private:
  double term_of(bool correct, double length, double history) const {
    if (form_ == "cosine") {
      const double f =
          length < 2 * history ? std::cos(std::numbers::pi / 2 * length / history) : -1;
      return correct ? std::max(f, kWorstOfRight) : std::min(f, 0.0);
    }
    const double free = (1 + tolerance_) * history;
    if (length < free) return correct && length < history ? 1 - length / history : 0;
    return std::max(correct ? kWorstOfRight : -1.0, -(length - free) / history);
  }

  RewardMemory& memory_;
  double term_weight_ = 1, tolerance_ = 0.1;
  std::string form_ = "cosine", mode_ = "min";
};

const RewardRegistry::Entry entry{
    "hapo",
    {"right, and shorter than the prompt's history of right answers",
     "r = c + w max(cos(pi/2 L / h), -0.7) if right, c + w min(cos(pi/2 L / h), 0) if wrong; h: "
     "shortest right answer before",
     "tokens", "HAPO, arXiv:2505.11225; HCY123902/HAPO"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<Hapo>(config, context);
    }};

}  // namespace
}  // namespace vernier
