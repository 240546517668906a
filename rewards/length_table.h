// Lengths that prompts ask for, and what counts as keeping to them: tables in TOML.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"

namespace vernier {

/// More than `low` and not more than `high`, which may be infinite.
struct LengthBounds {
  double low = 0, high = 0;

  bool hold(double length) const { return length > low && length <= high; }
};

/// A length that may be asked for.
struct LengthTarget {
  std::string name;   // as a row's target_length and a control token have it: "10", ">800"
  std::string text;   // as a sentence has it: "10", "more than 800"
  int64_t level = 0;  // by which scores are reported
  LengthBounds precise, flexible;
  // Of the demonstrations that ask for it, both bounds included; none has the table without them.
  std::optional<LengthBounds> training;
};

/// What configs/lengths/*.toml hold. "ruler" is the table of Ruler (github.com/Geaming2002/Ruler),
/// which is configs/lengths/ruler.toml and is carried in the program; anything else is a path.
class LengthTable {
 public:
  /// Throws UsageError with every mistake of the file.
  static std::shared_ptr<const LengthTable> read(const std::string& name);

  const std::string& unit() const { return unit_; }  // one of length_units()
  const std::vector<LengthTarget>& targets() const { return targets_; }

  /// That of the row's target_length. Null without the column; where it is none of the table's,
  /// null too, and `problem` says why.
  const LengthTarget* of(const Prompt& prompt, std::string& problem) const;
  /// That whose demonstrations have such a length; null where there is none.
  const LengthTarget* taught_by(double length) const;

 private:
  std::string unit_ = "tokens";
  std::vector<LengthTarget> targets_;
};

}  // namespace vernier
