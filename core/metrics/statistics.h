// Estimates with intervals.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "core/base/json.h"

namespace vernier {

inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// A number with its 95 % interval. NaN stands for "undefined".
struct Estimate {
  double value = kUndefined, low = kUndefined, high = kUndefined;
};

/// null where it is not finite.
Json json_number(double value);
/// Adds a number with its interval to an object, as `key`, `key`_low and `key`_high.
void add_estimate(Json& object, const std::string& key, const Estimate& estimate);

/// How intervals are drawn; part of every output, so that they can be drawn again.
struct Bootstrap {
  uint64_t seed = 1;
  int64_t draws = 2000;
};

Json bootstrap_json(const Bootstrap& bootstrap);

/// Sum and number of one prompt's values.
struct Tally {
  double sum = 0, count = 0;
};

/// Means of the columns of `prompts` [prompts][columns], each the ratio of summed sums to summed
/// counts, with percentile intervals. Whole prompts are drawn, since answers to one prompt are
/// alike. A draw that leaves a column without values is left out of its interval.
std::vector<Estimate> bootstrap_means(const std::vector<std::vector<Tally>>& prompts,
                                      const Bootstrap& bootstrap);

/// Any number of `num_prompts` prompts, from the places of those that are drawn (from all, once
/// each, for the value itself), with a percentile interval of whole prompts as above. A draw whose
/// number is NaN is left out of its interval.
Estimate bootstrap_value(int64_t num_prompts, const Bootstrap& bootstrap,
                         const std::function<double(std::span<const size_t>)>& value);

/// The value below which a share `q` of the values lies, linear between order statistics.
/// NaN for an empty list.
double quantile_of(std::vector<double> values, double q);
double mean_of(const std::vector<double>& values);
/// Standard deviation with n - 1; 0 for one value, NaN for none.
double std_of(const std::vector<double>& values);

}  // namespace vernier
