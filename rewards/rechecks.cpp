#include "rewards/rechecks.h"

#include <string>

#include "rewards/verify/scan.h"

namespace vernier {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; }

}  // namespace

int64_t recheck_markers(std::string_view text) {
  std::string low(text);
  for (char& c : low)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  int64_t count = 0;
  for (size_t at = 0; at < low.size();) {
    size_t taken = 0;
    if (at == 0 || !is_letter(low[at - 1]))
      for (const std::string_view marker : kRecheckMarkers) {
        const size_t end = at + marker.size();
        if (marker.size() > taken && std::string_view(low).substr(at).starts_with(marker) &&
            (end == low.size() || !is_letter(low[end])))
          taken = marker.size();
      }
    count += taken > 0 ? 1 : 0;
    at += taken > 0 ? taken : 1;
  }
  return count;
}

}  // namespace vernier
