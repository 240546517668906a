// The first half of an RL step: draws groups, scores them, and says which are trained on.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/comm/ranks.h"
#include "core/metrics/metrics.h"
#include "rollout/engine.h"
#include "rollout/group_stream.h"
#include "trainer/gradient_sum.h"
#include "trainer/trainee.h"

namespace vernier {

class GroupScorer;

/// The groups of one step.
struct Collected {
  std::vector<Group> measured;  // of a sampling plan: roles "monitor" and "reference", in order
  std::vector<Group> groups;  // first those that are trained on, each part in order of its prompts
  size_t kept = 0;            // of them
  int64_t next_prompt = 0;    // place in the source that the next step begins at
  double pass_rate = 0;       // share that the filter let through, before any surplus was cut
  StepNotes notes;            // of `groups`, for the rewards to learn from when the step is over

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
  /// `reference`: the engine of the start policy, asked for when responses of it are needed.
  /// `stream`: where groups are drawn ahead (rollout.max_staleness), else null.
  Collector(RunConfig& config, const Trainee& trainee, const PromptSource& prompts,
            const Team& team, std::function<Engine&()> reference, GroupStream* stream,
            const std::atomic<bool>* stop)
      : config_(config),
        trainee_(trainee),
        prompts_(prompts),
        team_(team),
        ranks_(team.ranks),
        reference_(std::move(reference)),
        stream_(stream),
        plan_(config.chain.plan()),
        stop_(stop) {}

  /// Draws and scores the groups of the trainee's next step, without their advantages. What is
  /// drawn depends on seed, step and the places of the prompts. What the rewards' plan measures is
  /// drawn and learned from before. Of several ranks each draws and scores its share; the groups of
  /// the others are there by their numbers, and Interrupted is thrown on all. Throws Interrupted
  /// soon after `stop` becomes true.
  Collected collect(Engine& engine, Metrics& metrics) const;

 private:
  // Numbers of the transforms, by group: what is summed must not depend on which was done first.
  using Numbers = std::map<int64_t, std::vector<std::pair<std::string, double>>>;

  RolloutConfig drawing_of_step() const;
  std::vector<Prompt> prompts_at(int64_t first, int64_t count) const;
  void measure(Engine& engine, std::vector<Prompt> prompts, const std::string& role,
               int64_t num_generations, Collected& step) const;
  void add_plan_metrics(const Collected& step, Metrics& metrics) const;
  void draw(Engine& engine, int64_t count, Collected& step, Numbers& numbers,
            double& scoring_s) const;
  void draw_stream(const Collected& step, int64_t count, int64_t first_id, GroupScorer& scorer,
                   double& scoring_s) const;
  void finish_step(Collected& step) const;
  void add_staleness(const Collected& step, Metrics& metrics) const;
  void draw_greedy(Engine& engine, std::vector<Prompt> prompts, Collected& step,
                   double& scoring_s) const;
  void add_engine_metrics(const EngineStats& stats, double seconds, Metrics& metrics) const;

  RunConfig& config_;
  const Trainee& trainee_;
  const PromptSource& prompts_;
  const Team& team_;
  Ranks& ranks_;
  std::function<Engine&()> reference_;
  GroupStream* stream_;
  SamplingPlan plan_;
  const std::atomic<bool>* stop_;
};

}  // namespace vernier
