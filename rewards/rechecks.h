// Places where a text stops to look again at what it said.
#pragma once

#include <cstdint>
#include <string_view>

namespace vernier {

/// Markers of it, in lower case.
inline constexpr std::string_view kRecheckMarkers[] = {
    "wait",           "hold on",      "hmm",          "let me check",      "let me verify",
    "let me recheck", "double check", "double-check", "re-check",          "recheck",
    "check again",    "verify again", "reconsider",   "on second thought", "alternatively"};

/// How often one of them stands in a text as words of its own, whatever its case (ASCII). A place
/// counts once: of "let me double-check" one, not two.
int64_t recheck_markers(std::string_view text);

}  // namespace vernier
