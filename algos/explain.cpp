#include "algos/explain.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"

namespace vernier {
namespace {

// The table as it would be if length had no part in the rewards.
GroupTable without_length(const Algorithm& algorithm, GroupTable out,
                          std::span<const std::string> length_parts) {
  for (RewardChannel& channel : out.channels) {
    if (std::find(length_parts.begin(), length_parts.end(), channel.name) == length_parts.end())
      continue;
    for (size_t i = 0; i < out.size(); ++i) {
      if (!std::isfinite(channel.value[i])) continue;
      out.reward[i] -= channel.weight * channel.value[i];
      channel.value[i] = 0;
    }
  }
  if (algorithm.pressure() && !out.length.empty())
    std::fill(out.length.begin(), out.length.end(), out.length.front());
  return out;
}

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

Json explain_pushes(const Algorithm& algorithm, const GroupTable& table,
                    const GroupTable& as_sampled, std::span<const std::string> length_parts) {
  ensure(table.offsets == as_sampled.offsets, "the same responses");
  const Credit push = algorithm.credit(table);
  const Credit rest = algorithm.credit(without_length(algorithm, as_sampled, length_parts));
  Json out = Json::array();
  for (size_t i = 0; i < table.size(); ++i) {
    Json parts = Json::object();
    for (const RewardChannel& channel : table.channels)
      parts[channel.name] = number_or_null(channel.weight * channel.value[i]);
    Json warnings = Json::array();
    if (as_sampled.correct[i] == 1 && push.response[i] < 0)
      warnings.push_back(rest.response[i] < 0 ? "right answer pushed down"
                                              : "right answer pushed down by its length");
    out.push_back({{"parts", parts},
                   {"reward", number_or_null(table.reward[i])},
                   {"push", push.response[i]},
                   {"due_to_length", push.response[i] - rest.response[i]},
                   {"warnings", warnings}});
  }
  return out;
}

}  // namespace vernier
