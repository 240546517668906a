// Values as TOML writes them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/text.h"

namespace vernier {

inline std::string toml_value(bool value) { return value ? "true" : "false"; }
inline std::string toml_value(int64_t value) { return cat(value); }
std::string toml_value(double value);
std::string toml_value(const std::string& value);
std::string toml_value(const std::map<int64_t, double>& values);

template <class T>
std::string toml_value(const std::vector<T>& values) {
  std::string out = "[";
  for (const T& value : values) out += cat(out.size() > 1 ? ", " : "", toml_value(value));
  return out + "]";
}

}  // namespace vernier
