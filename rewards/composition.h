// How the value of a reward enters the sum: when, how strongly, and on which scale.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/types.h"

namespace vernier {

/// The keys that every [[reward]] has beside its own.
///
///   part_i = weight f(step) g_i n(value_i)
///
///   f   1, or the line through (schedule_steps, schedule_factors), constant outside them; with
///       schedule_shape = "steps" the factor of the last place reached
///   g   0 where only_if names an earlier reward whose value is not above 0, or where fewer of the
///       group are right than min_solve_rate says (Short-RL, ConciseR and GRPO-lambda gate their
///       penalties so; their formulas were not read); else 1
///   n   the value; with normalize = "group" (value - mean) / (std + 1e-6) over it (n - 1)
struct Composition {
  std::string only_if;
  double min_solve_rate = 0;
  std::string normalize = "none";
  std::vector<int64_t> schedule_steps;
  std::vector<double> schedule_factors;
  std::string schedule_shape = "linear";

  /// `earlier`: names of the rewards before this one.
  void bind(Binder& config, const std::vector<std::string>& earlier);

  /// f of the step that a group was drawn in, from 1 on.
  double factor(int64_t step) const;
  /// Whether f may be 0 in a step.
  bool pauses() const;
  bool is_gated() const { return !only_if.empty() || min_solve_rate > 0; }
};

/// Why a part of a response is 0, or abstains: what only_if and min_solve_rate say. `open`:
/// neither.
struct Gate {
  std::string closed, abstained;
};
Gate gate_of(const Composition& composition, const Group& group, const Response& response);

/// Brings the values that count to mean 0 and deviation 1; one alone, or equal ones, to 0.
void normalize_values(std::span<double> values, std::span<const char> counts);

}  // namespace vernier
