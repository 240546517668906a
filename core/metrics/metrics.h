// Numbers about a step: gathered by name, summed up once, written as one row.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/types.h"

namespace vernier {

/// What one key of a metrics row says. `<name>` in a name stands for that of a reward.
struct MetricDoc {
  std::string name, unit, meaning;
};

/// Describes metrics, beside the code that writes them, by a static object: `vernier reference
/// metrics` prints them all, and a test holds every key of a run's rows to it.
class MetricDocs {
 public:
  MetricDocs(std::initializer_list<MetricDoc> docs);
  static const std::map<std::string, MetricDoc>& all();
};

/// One metrics row in the making. Keys keep the order of their first use.
class Metrics {
 public:
  void set(const std::string& name, double value) { row_[name] = value; }
  void set(const std::string& name, Json value) { row_[name] = std::move(value); }
  /// Undefined: there was nothing to measure. Written as null, never as 0.
  void set_undefined(const std::string& name) { row_[name] = nullptr; }
  /// Undefined where the value is not finite.
  void set_finite(const std::string& name, double value);
  const Json& row() const { return row_; }
  /// NaN where the name is missing or undefined.
  double get(const std::string& name) const;

 private:
  Json row_ = Json::object();
};

/// Means over the updates of a step, of every name that one of them set: of the defined values, and
/// undefined where there is none. A name that ends in "/max" keeps the largest, in "/min" the
/// smallest.
void add_means(const std::vector<Metrics>& updates, Metrics& metrics);

/// Lengths, verdicts and rewards of finished groups, under TRL's names, with the split of length by
/// verdict. Only responses that ended by themselves or at their limit count in a length.
void add_completion_metrics(const std::vector<Group>& groups, Metrics& metrics);

}  // namespace vernier
