// What a run asks for prompts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/types.h"

namespace vernier {

/// What became of a group of a step, for sources that follow it.
struct SourceOutcome {
  int32_t source = 0;    // Prompt::source
  double pass_rate = 0;  // share of its judged responses that are right
};

/// Which prompts next. What a source gives depends on the place and on state() alone, so a resumed
/// run asks for the same prompts.
class PromptSource {
 public:
  virtual ~PromptSource() = default;

  /// `count` prompts from place `first` on, in the order of training; `first` is no earlier than
  /// where the last step ended. Text without chat format.
  virtual std::vector<Prompt> take(int64_t first, int64_t count) const = 0;

  /// Prompts of one epoch; 0 where they never repeat.
  virtual int64_t size() const = 0;

  /// What it carries from step to step; null where it has nothing.
  virtual Json state() const { return nullptr; }
  /// Throws UsageError where the state is not of these sources.
  virtual void restore(const Json&) {}
  /// A step has ended before place `next`, with these outcomes.
  virtual void learn(int64_t /*next*/, std::span<const SourceOutcome> /*outcomes*/) {}
  /// For the metrics of a step.
  virtual std::vector<std::pair<std::string, double>> numbers() const { return {}; }
};

}  // namespace vernier
