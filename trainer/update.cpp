#include "trainer/update.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/errors.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"samples/masked", "responses", "of trained groups that do not enter the loss"},
    {"samples/masked/abstained", "responses", "since a reward that counts abstained"},
    {"samples/masked/transform", "responses", "since a transform masked them"},
    {"samples/masked/left_out", "responses", "since a transform left them out"},
    {"samples/masked/aborted", "responses", "since the policy did not end them"},
    {"samples/masked/empty", "responses", "since no token of theirs was drawn"},
    {"samples/dropped", "responses", "of groups that the filter left out"},
    {"samples/dropped/flat", "responses", "by its cause, as filter/dropped"},
    {"samples/dropped/outside", "responses", "likewise"},
    {"samples/dropped/empty", "responses", "likewise"},
    {"samples/dropped/surplus", "responses", "likewise"}};

bool scored(const Response& response, bool by_channel) {
  if (response.left_out) return response.left_out_in_batch;
  if (response.reward) return true;
  return by_channel && std::any_of(response.rewards.begin(), response.rewards.end(),
                                   [](const RewardPart& part) { return part.abstained.empty(); });
}

// Adds the parts of a response's reward as its values in the channels, which are by name.
void add_channels(const Response& response, GroupTable& table) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  const size_t place = table.reward.size() - 1;
  for (const RewardPart& part : response.rewards) {
    auto channel = std::find_if(table.channels.begin(), table.channels.end(),
                                [&](const RewardChannel& one) { return one.name == part.name; });
    if (channel == table.channels.end())
      channel = table.channels.insert(channel, {part.name, part.weight, {}});
    channel->value.resize(place + 1, none);
    if (part.abstained.empty() && !response.left_out) channel->value[place] = part.value;
  }
}

}  // namespace

bool enters(const Response& response, bool by_channel) {
  return scored(response, by_channel) && !response.masked && drawn_tokens(response) > 0 &&
         policy_ended(response);
}

GroupTable make_table(std::span<const Group> groups, bool by_channel) {
  GroupTable table;
  if (!groups.empty()) table.step = groups.front().step;
  for (const Group& group : groups) {
    for (const Response& response : group.responses) {
      const bool rewarded = response.reward && !response.left_out;
      table.reward.push_back(rewarded ? *response.reward
                                      : std::numeric_limits<double>::quiet_NaN());
      const bool verdict = response.correct && !response.left_out;
      table.correct.push_back(verdict ? (*response.correct ? 1 : 0) : -1);
      table.length.push_back(response.num_tokens);
      table.tokens.push_back(drawn_tokens(response));
      table.mean_logprob.push_back(mean_logprob(response));
      table.active.push_back(enters(response, by_channel) ? 1 : 0);
      add_channels(response, table);
    }
    table.offsets.push_back(static_cast<int64_t>(table.reward.size()));
    if (group.greedy_reward) table.greedy.push_back(*group.greedy_reward);
  }
  // Some of many would stand beside the wrong groups.
  if (std::ssize(table.greedy) != table.groups()) table.greedy.clear();
  for (RewardChannel& channel : table.channels)
    channel.value.resize(table.size(), std::numeric_limits<double>::quiet_NaN());
  return table;
}

Update make_update(std::span<const Group> groups, int64_t max_completion_length, bool by_channel) {
  Update update;
  update.table = make_table(groups, by_channel);
  int64_t place = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    const Group& group = groups[g];
    for (const Response& response : group.responses) {
      const bool active = update.table.active[static_cast<size_t>(place++)] != 0;
      if (active || (response.masked && scored(response, by_channel))) ++update.totals.responses;
      if (!active) continue;
      update.samples.push_back({.prompt_ids = &group.prompt.ids,
                                .response = &response,
                                .advantage = response.advantage,
                                .place = place - 1,
                                .group = g,
                                .old = {},
                                .reference = {},
                                .old_is_recorded = false});
      update.totals.tokens += drawn_tokens(response);
      ++update.totals.sequences;
    }
  }
  std::vector<size_t>& all = update.rounds.emplace_back(update.samples.size());
  std::iota(all.begin(), all.end(), size_t{0});
  update.totals.max_completion_length = max_completion_length;
  return update;
}

Update make_update(const std::vector<Group>& groups, size_t first, size_t last,
                   int64_t max_completion_length, bool by_channel) {
  Update update = make_update(std::span(groups).subspan(first, last - first), max_completion_length,
                              by_channel);
  for (Sample& sample : update.samples) sample.group += first;
  return update;
}

namespace {

// Why a response of a group that is trained on does not enter the loss.
const char* mask_reason(const Response& response) {
  if (!policy_ended(response)) return "aborted";
  if (response.masked) return "transform";
  if (response.left_out) return "left_out";
  if (drawn_tokens(response) == 0) return "empty";
  return "abstained";
}

}  // namespace

void account(std::span<const Group> groups, int64_t issued, bool by_channel, Metrics& metrics) {
  int64_t trained = 0, masked = 0, dropped = 0;
  std::map<std::string, int64_t> reasons;
  for (const Group& group : groups)
    for (const Response& response : group.responses) {
      if (!group.dropped.empty()) {
        ++dropped;
        ++reasons["samples/dropped/" + group.dropped];
      } else if (enters(response, by_channel)) {
        ++trained;
      } else {
        ++masked;
        ++reasons[cat("samples/masked/", mask_reason(response))];
      }
    }
  metrics.set("samples/masked", Json(masked));
  metrics.set("samples/dropped", Json(dropped));
  for (const auto& [reason, count] : reasons) metrics.set(reason, Json(count));
  const double counted = metrics.get("samples/trained");
  ensure(issued == trained + masked + dropped &&
             (std::isnan(counted) || counted == static_cast<double>(trained)),
         "issued = trained + masked + dropped");
}

std::vector<Sequence> sequences_of(const Update& update) {
  std::vector<Sequence> out;
  for (const Sample& sample : update.samples)
    out.push_back(sequence_of(*sample.response, sample.prompt_ids));
  return out;
}

}  // namespace vernier
