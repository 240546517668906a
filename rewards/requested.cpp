#include "rewards/requested.h"

#include <cmath>

#include "core/base/json.h"

namespace vernier {

std::optional<Requested> requested_length(const Prompt& prompt, double configured) {
  if (prompt.target_length.empty())
    return configured > 0 ? std::optional<Requested>({configured, false}) : std::nullopt;
  const Json value = parse_json(prompt.target_length, cat("prompt ", prompt.id));
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() == 0)
    fail("prompt ", prompt.id, ": target_length: ", prompt.target_length.substr(0, 60),
         " is not a number of tokens: above 0, or below 0 for at most so many");
  return Requested{std::abs(value.get<double>()), value.get<double>() < 0};
}

}  // namespace vernier
