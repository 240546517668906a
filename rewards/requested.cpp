#include "rewards/requested.h"

#include <algorithm>
#include <cmath>

#include "core/base/json.h"

namespace vernier {
namespace {

bool is_positive(const Json& value) {
  return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0;
}

std::string problem_of(const Prompt& prompt, std::string_view allowed) {
  return cat("prompt ", prompt.id, ": target_length: ", prompt.target_length.substr(0, 60),
             " is none of ", allowed);
}

}  // namespace

std::optional<Requested> requested_length(const Prompt& prompt, double configured) {
  if (prompt.target_length.empty())
    return configured > 0 ? std::optional<Requested>({configured, false}) : std::nullopt;
  const Json value = parse_json(prompt.target_length, cat("prompt ", prompt.id));
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() == 0)
    fail("prompt ", prompt.id, ": target_length: ", prompt.target_length.substr(0, 60),
         " is not a number of tokens: above 0, or below 0 for at most so many");
  return Requested{std::abs(value.get<double>()), value.get<double>() < 0};
}

std::optional<RequestedInterval> requested_interval(const Prompt& prompt, std::string& problem) {
  if (prompt.target_length.empty()) return std::nullopt;
  const Json asked = parse_json(prompt.target_length, cat("prompt ", prompt.id));
  if (is_positive(asked))
    return RequestedInterval{0.8 * asked.get<double>(), 1.2 * asked.get<double>()};
  if (asked.is_array() && asked.size() == 2 && is_positive(asked[0]) && is_positive(asked[1]) &&
      asked[0].get<double>() <= asked[1].get<double>())
    return RequestedInterval{asked[0].get<double>(), asked[1].get<double>()};
  if (asked.is_object() && asked.size() == 1 && is_positive(*asked.begin())) {
    const double n = asked.begin()->get<double>();
    if (asked.contains("about")) return RequestedInterval{0.8 * n, 1.2 * n};
    if (asked.contains("above")) return RequestedInterval{n, 1.5 * n};
    if (asked.contains("below")) return RequestedInterval{0.5 * n, n};
  }
  problem =
      problem_of(prompt, "n, [x, y], {\"about\": n}, {\"above\": n}, {\"below\": n}, above 0");
  return std::nullopt;
}

double interval_score(double length, const RequestedInterval& interval) {
  if (length < interval.low) return std::max(0.0, 2 * length / interval.low - 1);
  if (length > interval.high) return std::max(0.0, 3 - 2 * length / interval.high);
  return 1;
}

}  // namespace vernier
