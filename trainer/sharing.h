// What the ranks of a job tell each other of a step, so that each knows the numbers of all its
// responses and the tokens of those that it works on.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/comm/ranks.h"
#include "core/types.h"
#include "rewards/memory.h"
#include "rollout/engine.h"
#include "trainer/gradient_sum.h"

namespace vernier {

struct Update;

/// Runs a draw of which this rank does its share, where it draws at all. Where a signal ends it on
/// one rank, Interrupted is thrown on all. The share gives every prompt to one rank that asks, or
/// to those that draw as one.
void draw_together(const Team& team, const std::function<void(const PromptShare&)>& draw);

/// Holds as long as another rank is not done with its share; called from when this one is.
using OthersDraw = std::function<bool()>;

/// The same where a rank goes on with later groups when its share is done.
void draw_together_ahead(
    const Team& team,
    const std::function<void(const PromptShare& share, const OthersDraw& others)>& draw);

/// The groups of this rank, whole, and the numbers of those of the others, in order of their ids.
void share_groups(Ranks& ranks, std::vector<Group>& groups);

/// The notes of all ranks.
void share_notes(Ranks& ranks, StepNotes& notes);

/// The entries of all ranks; a key is on one rank alone.
template <class V>
void share_map(Ranks& ranks, std::map<int64_t, V>& entries, const char* what);

/// Sums by name over the ranks.
std::map<std::string, int64_t> sum_counts(Ranks& ranks, std::map<std::string, int64_t> counts);

/// The part, of `parts`, of every sample of an update whose samples have so many tokens (in order,
/// those of a prompt one after the other: `groups` is the group of each). Where it is to be
/// deterministic equal counts of neighbours; else whole groups, with about as many tokens in each.
std::vector<int64_t> parts_of(int64_t parts, bool deterministic, std::span<const int64_t> tokens,
                              std::span<const size_t> groups);

/// Of updates with all their samples: each rank is left with those it computes, by rounds, and has
/// their tokens.
void share_samples(const Team& team, const std::vector<Group>& groups,
                   std::vector<Update>& updates);

/// Calls `write` on rank 0 with every group, in order, and what `rows` gives for it on the rank
/// that drew it, some groups at a time.
void collect_rows(Ranks& ranks, std::span<const Group> groups,
                  const std::function<std::vector<std::string>(const Group&)>& rows,
                  const std::function<void(const Group&, const std::vector<std::string>&)>& write);

template <class V>
void share_map(Ranks& ranks, std::map<int64_t, V>& entries, const char* what) {
  if (ranks.alone()) return;
  for (const std::string& bytes : ranks.gather(bytes_of(entries), what))
    entries.merge(from_bytes<std::map<int64_t, V>>(bytes, what));
}

}  // namespace vernier
