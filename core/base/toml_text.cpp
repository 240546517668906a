#include "core/base/toml_text.h"

#include <cmath>
#include <string_view>

namespace vernier {

std::string toml_value(double value) {
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string out = cat(value);
  if (out.find_first_of(".en") == std::string::npos) out += ".0";
  return out;
}
std::string toml_value(const std::string& value) {
  std::string out = "\"";
  for (const char c : value) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          constexpr std::string_view kHex = "0123456789ABCDEF";
          out += cat("\\u00", kHex[static_cast<unsigned char>(c) >> 4], kHex[c & 15]);
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}
std::string toml_value(const std::map<int64_t, double>& values) {
  std::string out;
  for (const auto& [id, value] : values)
    out += cat(out.empty() ? " " : ", ", toml_value(cat(id)), " = ", toml_value(value));
  return out.empty() ? "{}" : cat("{", out, " }");
}

}  // namespace vernier
