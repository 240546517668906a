// The samples of an update, and the table that credit and coupling read.
#pragma once

#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "algos/algorithm.h"
#include "core/metrics/metrics.h"
#include "core/types.h"
#include "trainer/packing.h"

namespace vernier {

/// A response on its way into an update.
struct Sample {
  const std::vector<int32_t>* prompt_ids = nullptr;
  const Response* response = nullptr;  // its first num_tokens tokens enter, less forced ones
  double advantage = 0;
  int64_t place = 0;  // in the update's table
  size_t group = 0;   // of the step, in the order of its groups
  std::vector<float> old,
      reference;                 // log-probabilities of what enters; no `old`: the current policy's
  bool old_is_recorded = false;  // `old` is what the engine recorded
};

/// The samples of one update with the table that credit and coupling read.
struct Update {
  GroupTable table;             // of all ranks, as the totals
  std::vector<Sample> samples;  // that are computed here
  UpdateTotals totals;
  std::vector<std::vector<size_t>> rounds;  // places in `samples` of each part that is, in order
  // What other ranks drew of them; the prompts by group.
  std::deque<Response> received = {};
  std::map<size_t, std::vector<int32_t>> prompts = {};
};

/// Whether tokens of a response enter an update: it has a reward (with `by_channel`, a part of
/// one), is not masked, holds a drawn token, and the policy ended it.
bool enters(const Response& response, bool by_channel);

/// The table of scored groups. With `by_channel` (Algorithm::uses_channels) a response of which
/// some parts of the reward abstained is active; it has no reward either way.
GroupTable make_table(std::span<const Group> groups, bool by_channel = false);

/// The samples of groups with the advantages that the responses carry. Responses
/// that are not active in make_table() (without a reward, masked, not ended by the policy) are left
/// out (and counted by the caller). All are in one round; share_samples() (trainer/sharing.h) deals
/// them out.
Update make_update(std::span<const Group> groups, int64_t max_completion_length,
                   bool by_channel = false);
/// The same of the groups [first, last) of a step, which Sample::group counts.
Update make_update(const std::vector<Group>& groups, size_t first, size_t last,
                   int64_t max_completion_length, bool by_channel = false);

/// Notes in the metrics what becomes of the responses of a step: what was issued, which is `issued`
/// responses, is trained on, masked or dropped, and samples/trained counts the first where it is
/// there. It is an error of the program where these do not add up.
void account(std::span<const Group> groups, int64_t issued, bool by_channel, Metrics& metrics);

/// Prompt and response of every sample, in order.
std::vector<Sequence> sequences_of(const Update& update);

}  // namespace vernier
