// What rewards keep from step to step: the one store behind lambda, moving targets and what is
// known of a prompt.
//
// Within a step nothing of it changes. Every scored group gives notes; when the step is scored,
// each reward makes its new numbers of the notes of all groups, in order of the groups' ids, so
// that it does not matter which group was done first or which rank had it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"

namespace vernier {

/// The numbers of one reward. They are part of a checkpoint and come back bit for bit.
class RewardMemory {
 public:
  /// `otherwise` until it is set.
  double number(const std::string& name, double otherwise) const;
  std::optional<double> of_prompt(const std::string& name, const std::string& prompt) const;

  /// BugError on a value that is not finite.
  void set(const std::string& name, double value);
  void set_of_prompt(const std::string& name, const std::string& prompt, double value);

  const std::map<std::string, double>& numbers() const { return numbers_; }

  /// From mark() on what is set can be undone: roll_back() makes the numbers those of the mark
  /// again.
  void mark() { undo_.emplace(); }
  void roll_back();

  /// {"numbers": {name: value}, "prompts": {name: {prompt: value}}}; null where there is nothing.
  Json state() const;
  /// Goes on from a state(). Throws UsageError, opened by `where`, on another shape.
  void restore(const Json& state, const std::string& where);

 private:
  struct Change {
    std::string name;
    std::optional<std::string> prompt;
    double before;  // NaN: nothing
  };

  std::map<std::string, double> numbers_;
  std::map<std::string, std::map<std::string, double>> prompts_;
  std::optional<std::vector<Change>> undo_;  // since the mark, the newest last
};

/// A number that a group adds to what its step teaches a reward.
struct Note {
  std::string name;
  double value = 0;
  std::string prompt;  // where it is of a prompt
};

/// The notes of a step, by reward and group.
class StepNotes {
 public:
  void add(const std::string& reward, int64_t group, std::vector<Note> notes);
  /// Takes in those of another rank. No group may be on both.
  void merge(const StepNotes& other);
  /// For another rank, and back. Throws RunError, opened by `what`, on bytes that are none.
  std::string to_bytes() const;
  static StepNotes from_bytes(std::string_view bytes, const std::string& what);
  /// In order of the groups' ids.
  std::vector<Note> of(const std::string& reward) const;

 private:
  std::map<std::string, std::map<int64_t, std::vector<Note>>> groups_;
};

/// Sum and number of the notes of a name.
struct NoteSum {
  double sum = 0;
  int64_t count = 0;
  double mean() const { return sum / static_cast<double>(count); }
};
NoteSum sum_of(const std::vector<Note>& notes, const std::string& name);

}  // namespace vernier
