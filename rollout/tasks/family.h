// What the algorithmic task families share: tiers of lengths, a split into train and test, and
// demonstrations with or without a chain of thought.
//
// An instance of length n is asked for in a few characters ("12+345=") or in English. A response is
// right when what stands behind its last "#" is the answer ("#357."). Length generalisation is
// trained on one tier and measured on others, after TAIL, whose ranges the tiers
// are.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/rng.h"
#include "rollout/tasks/chain.h"
#include "rollout/tasks/task.h"

namespace vernier {

/// One instance with its solution.
struct Problem {
  std::string question;            // in short form, as "12+345="
  std::string answer;              // without "#"
  std::vector<ChainState> states;  // of the algorithm; empty where they were not asked for
  std::string response;            // of a demonstration, in families with a format of their own
  // Which instance this is, the same however it is written: by it train and test are apart. Empty
  // where the question tells it already.
  std::string instance = {};
  // The same at greater length, the question itself first; of families with rounds.
  std::vector<std::string> rounds = {};
};

/// Draws an instance of length `length`. The states are filled where `with_states`; the instance
/// is the same either way.
using DrawProblem = std::function<Problem(Rng& rng, int64_t length, bool with_states)>;

/// The longest instance that most families can be asked for.
constexpr int64_t kLongestInstance = 1000;

/// What distinguishes a family.
struct FamilyInfo {
  std::string name;
  std::string area;           // of TAIL's eight classes, or of the study that it is from
  std::string unit;           // that a length counts: "digits"
  std::array<Tier, 3> tiers;  // S, M, L
  // What `lengths` may ask for: less where letters run out, numbers overflow or work explodes.
  int64_t longest = kLongestInstance;
  std::vector<int64_t> lengths = {};  // that instances can have, in order; empty: all
  std::string request;                // in English, with {problem} for the short form
  bool has_points = false;            // answers may have a full stop in them
  int64_t num_rounds = 1;             // in which an instance may be told
  const char* verify = "marked";
  const char* end = ".";  // default of what closes a demonstration
  // Questions and responses have a format of their own: no English, no "#", no chain of states.
  bool has_format = false;
};

/// The task of a family under the keys of its table: tiers, form, chain and so on.
std::unique_ptr<Task> family_task(Binder& config, const FamilyInfo& info, DrawProblem draw);

/// Registers a family without keys of its own.
TaskRegistry::Entry family_entry(const FamilyInfo& info, Doc doc, DrawProblem draw);

/// Numbers with commas between them: how lists are written.
std::string list_text(const std::vector<int64_t>& values);

/// `length` letters of the first `alphabet` of a to z.
std::string draw_word(Rng& rng, int64_t length, int64_t alphabet = 26);
/// A number of `length` digits, the first of them not 0.
std::string draw_digits(Rng& rng, int64_t length);

}  // namespace vernier
