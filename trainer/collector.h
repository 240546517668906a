// The first half of an RL step: draws groups, scores them, and says which are trained on.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/metrics/metrics.h"
#include "rollout/engine.h"
#include "trainer/trainee.h"

namespace vernier {

/// The groups of one step.
struct Collected {
  std::vector<Group> groups;  // first those that are trained on, each part in order of its prompts
  size_t kept = 0;            // of them
  int64_t next_prompt = 0;    // place in the source that the next step begins at
  double pass_rate = 0;       // share that the filter let through, before any surplus was cut

  /// Puts the groups first that nothing dropped, and counts them.
  void put_kept_first();
};

/// Orders a step's scored groups by their id, says in Group::dropped why one is left out, cuts what
/// is more than `target` groups ("surplus"), and counts it all under filter/ where there is a rule.
/// `by_channel`: Algorithm::uses_channels().
void apply_filter(const FilterConfig& filter, bool by_channel, int64_t target, Collected& step,
                  Metrics& metrics);

class Collector {
 public:
  Collector(const RunConfig& config, const Trainee& trainee, const PromptSource& prompts,
            const std::atomic<bool>* stop)
      : config_(config), trainee_(trainee), prompts_(prompts), stop_(stop) {}

  /// Draws and scores the groups of the trainee's next step, without their advantages. What is
  /// drawn depends on seed, step and the places of the prompts. Throws Interrupted soon after
  /// `stop` becomes true.
  Collected collect(Engine& engine, Metrics& metrics) const;

 private:
  // Numbers of the transforms, by group: what is summed must not depend on which was done first.
  using Numbers = std::map<int64_t, std::vector<std::pair<std::string, double>>>;

  void draw(Engine& engine, int64_t count, Collected& step, Numbers& numbers,
            double& scoring_s) const;
  void draw_greedy(Engine& engine, std::vector<Prompt> prompts, Collected& step,
                   double& scoring_s) const;
  void add_engine_metrics(const EngineStats& stats, double seconds, Metrics& metrics) const;

  const RunConfig& config_;
  const Trainee& trainee_;
  const PromptSource& prompts_;
  const std::atomic<bool>* stop_;
};

}  // namespace vernier
