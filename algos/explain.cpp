#include "algos/explain.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"
#include "core/metrics/statistics.h"

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
  if (!algorithm.pressure()) return out;
  const int64_t longest = std::ranges::max(out.length);
  for (int64_t& length : out.length)
    if (length > 0) length = longest;  // one without a token has no part in it
  return out;
}

}  // namespace

Json explain_pushes(const Algorithm& algorithm, const GroupTable& table,
                    const GroupTable& as_sampled, std::span<const std::string> length_parts) {
  ensure(table.offsets == as_sampled.offsets, "the same responses");
  if (table.size() == 0) return Json::array();
  const std::vector<double> advantage = algorithm.credit(table).response;
  const std::vector<double> other =
      algorithm.credit(without_length(algorithm, as_sampled, length_parts)).response;
  Json out = Json::array();
  for (size_t i = 0; i < table.size(); ++i) {
    Json parts = Json::object();
    for (const RewardChannel& channel : table.channels)
      parts[channel.name] = json_number(channel.weight * channel.value[i]);
    const double push = table.active[i] != 0 ? advantage[i] : 0;
    const double rest = as_sampled.active[i] != 0 ? other[i] : 0;
    Json warnings = Json::array();
    if (as_sampled.correct[i] == 1 && push < 0)
      warnings.push_back(rest < 0 ? "right answer pushed down"
                                  : "right answer pushed down by its length");
    out.push_back({{"parts", parts},
                   {"reward", json_number(table.reward[i])},
                   {"push", push},
                   {"due_to_length", push - rest},
                   {"warnings", warnings}});
  }
  return out;
}

}  // namespace vernier
