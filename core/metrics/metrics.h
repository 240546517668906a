// Numbers about a step: gathered by name, summed up once, written as one row.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/types.h"

namespace vernier {

/// One metrics row in the making. Keys keep the order of their first use.
class Metrics {
 public:
  void set(const std::string& name, double value) { row_[name] = value; }
  void set(const std::string& name, Json value) { row_[name] = std::move(value); }
  /// Undefined: there was nothing to measure. Written as null, never as 0.
  void set_undefined(const std::string& name) { row_[name] = nullptr; }
  const Json& row() const { return row_; }
  /// NaN where the name is missing or undefined.
  double get(const std::string& name) const;

 private:
  Json row_ = Json::object();
};

/// Lengths, verdicts and rewards of finished groups, under TRL's names, with the split of length by
/// verdict. Only responses that ended by themselves or at their limit count in a length.
void add_completion_metrics(const std::vector<Group>& groups, Metrics& metrics);

}  // namespace vernier
