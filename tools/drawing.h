// What generate and eval share: a model, prompts, and how responses are drawn.
#pragma once

#include <string>
#include <vector>

#include "core/model/model.h"
#include "rollout/engine.h"
#include "tools/commands.h"

namespace vernier {

struct Drawing {
  Model model;
  std::vector<Prompt> prompts;
  RolloutConfig config;
};

/// By the options of the command line. Throws UsageError where they contradict each other.
Drawing prepare(const DrawOptions& options);

/// `logprobs_kind` of the rows.
std::string kind_of(const RolloutConfig& config);
/// The rows of the groups as JSONL.
std::string rows_of(const std::vector<Group>& groups, const std::string& kind);

}  // namespace vernier
