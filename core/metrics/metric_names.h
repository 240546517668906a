// What other frameworks call the metrics of a run.
#pragma once

#include <map>
#include <string>

namespace vernier {

/// verl's names (verl/trainer/ppo/metric_utils.py and its trainers) of the metrics that mean the
/// same there, by ours. Others keep their names.
const std::map<std::string, std::string>& verl_names();

}  // namespace vernier
