// What the length rewards share: the responses of a group that may be compared, and their lengths.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rewards/reward.h"

namespace vernier {

/// A response that may be compared with the others of its group.
struct Judged {
  size_t place;   // in the group
  double length;  // tokens, end token included
  bool correct;
};

/// Those that the policy ended and that have a verdict, in order of the group. The others abstain.
std::vector<Judged> judged(const Group& group, std::span<Score> scores);
/// The same for who only looks.
std::vector<Judged> judged(const Group& group);

/// Share of right ones; 0 of none.
double solve_rate(const std::vector<Judged>& responses);

/// Lengths of some responses. Of none all is 0.
struct Lengths {
  size_t count = 0;
  double mean = 0, shortest = 0, longest = 0;
  double squares = 0;  // sum of (length - mean)^2

  double variance() const;    // over n
  double std() const;         // over n
  double sample_std() const;  // over n - 1; 0 of one
};
Lengths lengths_of(const std::vector<Judged>& responses);
Lengths right_lengths_of(const std::vector<Judged>& responses);

/// A length ("length") and a verdict ("correct") for every response that may be compared: what a
/// multiplier learns from. None of a group that is not trained on.
std::vector<Note> judged_notes(const Group& group);

/// A multiplier after a step with these judged_notes(): clip(lambda + rate (mean L / target - 1),
/// low, high). As it is where nothing was judged.
double next_multiplier(double lambda, const std::vector<Note>& notes, double rate, int64_t target,
                       double low, double high);

/// A number of the prompt's row under `key`, which may be absent. Throws UsageError where it is
/// something else or not finite.
std::optional<double> row_number(const Prompt& prompt, const std::string& key);

/// What the memory has of the prompt under `key`, else row_number().
std::optional<double> known(const RewardMemory& memory, const Prompt& prompt,
                            const std::string& key);

/// A key that makes a reward press harder the larger it is.
Pressure growing(const char* key, double value, double low, double high);
/// A number of tokens that responses are held to: it presses harder the smaller it is.
Pressure token_target(const char* key, int64_t value);

}  // namespace vernier
