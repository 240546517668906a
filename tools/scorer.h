// What a configuration makes of stored groups, one after the other.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/text/tokenizer.h"
#include "rewards/memory.h"
#include "trainer/run_config.h"

namespace vernier {

/// A configuration for scoring alone, with the tokenizer of its model.
struct ScoringSetup {
  std::unique_ptr<RunConfig> config;
  std::shared_ptr<const Tokenizer> tokenizer;  // null where the model is not there
};

/// Throws UsageError as ConfigFile and RunConfig do. No weights are read. `only_read`: nothing will
/// be scored by rewards from outside, and none is started (ScoringContext::only_read).
ScoringSetup load_scoring(const std::vector<std::string>& paths,
                          const std::vector<std::string>& overrides, bool only_read = false);

/// Scores groups in the order of their steps, as the run did: what was only measured first, then
/// the rest, and what the step taught at its end.
class Scorer {
 public:
  /// Gets every response once its advantage is known, with its row: what it came with, and the
  /// scores.
  using Sink = std::function<void(const Group&, const Response&, Json&& row)>;

  /// `explain`: rows tell every step of the sum.
  Scorer(RunConfig& config, bool explain, Sink sink);

  /// Takes a group of `path`. Where advantages or values depend on a step its groups are needed
  /// together. Throws UsageError where steps are out of order and something depends on that.
  void take(Group&& group, const std::string& path);

  /// Ends the last step: to be called when there is no more.
  void end_step();

  int64_t responses() const { return responses_; }

 private:
  void begin_step(const Group& group, const std::string& path, bool by_step);
  void measure(Group&& group, const std::string& path);
  void drop(Group& group) const;
  void finish();
  std::vector<Json> credit(std::vector<Group>& groups, const std::vector<Group>& as_sampled) const;
  void hand_over(const Group& group, const Response& response, const Json& last_steps);

  RunConfig& config_;
  bool explain_, keeps_sampled_;
  Sink sink_;
  std::vector<Group> open_, as_sampled_;  // of one step, or one group
  std::set<int64_t> steps_;
  std::optional<int64_t> step_, last_;  // that is being read, and the one before
  bool begun_ = false;                  // the step has groups that are trained on
  StepNotes measured_, notes_;
  int64_t responses_ = 0;  // handed over
};

}  // namespace vernier
