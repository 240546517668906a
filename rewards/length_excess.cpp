// Right answers less what they are longer than a minimal sufficient one.
//
//   r_i = c_i exp(-max(0, L_i - B) / s)
//
// B: the row's `baseline_len` in `unit`, or the length of its text `baseline`; with reference =
// "shortest" the shortest right answer to the prompt of earlier steps (B = L before the first, so
// that r = c). s: scale. Correctness is part of the value, which is what YapScore lacks: there an
// empty answer is the best. Abstains where reference = "row" and the row has neither column.
// Source: YapBench, arXiv:2601.00624 (excess over a baseline, in characters of the visible answer);
// the reward's form is ours.
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/json.h"
#include "rewards/judged.h"
#include "rewards/units.h"

namespace vernier {
namespace {

constexpr const char* kNoBaseline = "the row has neither baseline_len nor baseline";

class LengthExcess final : public Reward {
 public:
  LengthExcess(Binder& config, const ScoringContext& context) : memory_(*context.memory) {
    config.choice("unit", unit_, length_units(), "of lengths");
    config.text("after", after_, "only the text after the last of these counts; not with tokens");
    config.only_if("after", unit_ != "tokens", "unit = \"tokens\"");
    config.choice("reference", reference_, {"row", "shortest"},
                  "columns baseline_len or baseline of the row, or the prompt's shortest right "
                  "answer so far");
    config.number("scale", scale_, 1e-6, 1e9, "excess that leaves 1/e of the value");
    if (!config.has("scale")) config.error("scale", "is needed, in the unit of the lengths");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override {
    return Pressure{.key = "scale",
                    .value = scale_,
                    .low = scale_ / 1000,
                    .high = scale_ * 1000,
                    .smaller_is_more = true,
                    .none = 1e9};
  }
  void set_pressure(double value) override { scale_ = value; }

  std::string abstains_on(const Prompt& prompt) const override {
    return reference_ == "shortest" || baseline_of(prompt) ? "" : kNoBaseline;
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::optional<double> baseline = baseline_of(group.prompt);
    for (const auto& [i, tokens, correct] : judged(group, scores)) {
      if (!baseline && reference_ == "row") {
        scores[i].abstain = kNoBaseline;
        continue;
      }
      const double length = response_length(group.responses[i], unit_, after_);
      const double excess = std::max(0.0, length - baseline.value_or(length));
      scores[i].value = correct ? std::exp(-excess / scale_) : 0;
      scores[i].explain = cat(length, " ", unit_, ", ", excess, " too many");
    }
  }

  std::vector<Note> observe(const Group& group) const override {
    if (reference_ == "row" || !group.role.empty()) return {};
    std::vector<Note> notes;
    for (const Judged& one : judged(group))
      if (one.correct)
        notes.push_back({"shortest", response_length(group.responses[one.place], unit_, after_),
                         group.prompt.id});
    return notes;
  }

  bool learns() const override { return reference_ == "shortest"; }
  void learn(const std::vector<Note>& notes) override {
    for (const Note& note : notes) {
      const double before = memory_.of_prompt("shortest", note.prompt).value_or(note.value);
      memory_.set_of_prompt("shortest", note.prompt, std::min(before, note.value));
    }
  }

 private:
  std::optional<double> baseline_of(const Prompt& prompt) const {
    if (reference_ == "shortest") return memory_.of_prompt("shortest", prompt.id);
    if (const auto number = row_number(prompt, "baseline_len")) return number;
    if (prompt.baseline.empty()) return std::nullopt;
    const Json text = parse_json(prompt.baseline, cat("prompt ", prompt.id));
    if (!text.is_string())
      fail("prompt ", prompt.id, ": baseline: ", prompt.baseline.substr(0, 60), " is not a text");
    if (unit_ == "tokens")
      fail("prompt ", prompt.id,
           ": baseline is a text, whose tokens cannot be counted here; give "
           "baseline_len, or another unit");
    return text_length(text.get<std::string>(), unit_);
  }

  RewardMemory& memory_;
  std::string unit_ = "characters", after_, reference_ = "row";
  double scale_ = 1;
};

const RewardRegistry::Entry entry{
    "length_excess",
    {"right answers less their excess over a minimal one", "r = c exp(-max(0, L - B) / s)",
     "tokens, characters, words, steps", "YapBench, arXiv:2601.00624; the reward's form is ours"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<LengthExcess>(config, context);
    }};

}  // namespace
}  // namespace vernier
