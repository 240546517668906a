#include "rewards/thinking.h"

#include "rewards/verify/scan.h"

namespace vernier {

Thinking thinking_of(std::string_view text, std::string_view start, std::string_view end) {
  const size_t close = text.find(end);
  if (close == std::string_view::npos) return Thinking::open;
  std::string_view thought = trimmed(text.substr(0, close));
  if (!start.empty() && thought.starts_with(start)) thought = trimmed(thought.substr(start.size()));
  return thought.empty() ? Thinking::none : Thinking::some;
}

}  // namespace vernier
