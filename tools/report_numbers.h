// Numbers of a report as text. "–" stands for "undefined".
#pragma once

#include <cstdint>
#include <string>

namespace vernier {

/// A share in percent, one digit: "97.6".
std::string percent_text(double share);
/// With separators: "12,345".
std::string whole_text(int64_t value);
/// "47.2"; from 1,000 on without decimals and with separators.
std::string tokens_text(double value);
/// "3 min 05 s".
std::string seconds_text(double value);

}  // namespace vernier
