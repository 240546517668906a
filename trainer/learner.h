// From scored groups to new weights: credit, the updates of a step, the reference policy.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "trainer/trainee.h"
#include "trainer/update.h"

namespace vernier {

/// What an RL step does once its groups are there, wherever they come from.
class Learner {
 public:
  /// `stop` (may be null) ends a step as long as none of its updates is in the weights.
  Learner(const RunConfig& config, Trainee& trainee, const Team& team,
          const std::atomic<bool>* stop)
      : config_(config), trainee_(trainee), team_(team), stop_(stop) {}

  /// Holds a frozen copy of the trainee's weights, or the model of `checkpoint`, where the run
  /// needs its start policy; with adapters that begin with RL the trainee itself has it, and ranks
  /// that draw with parts of a model do without.
  void freeze_reference();
  void load_reference(const fs::path& checkpoint);

  /// The start policy, where RunConfig::needs_reference(); null elsewhere.
  Decoder* reference();

  /// Sets the advantages of all responses.
  void credit(std::span<Group> groups, Metrics& metrics);

  /// The optimizer steps on groups [0, count), with the advantages that their responses carry: one
  /// on all of them, or several on trainer.samples_per_update responses each. The learning rate is
  /// that of the trainee's step. Throws Interrupted, with the weights as they were, soon after
  /// `stop` becomes true, and UsageError where the configuration asks for recorded
  /// log-probabilities that a response lacks.
  void update(const std::vector<Group>& groups, size_t count, Metrics& metrics);

  /// Called with every accumulated gradient of a process that is alone, before it is clipped. May
  /// be empty.
  std::function<void(Decoder&)> on_gradient;
  /// What a rank that only samples does while the others learn, for as long as `they_learn` holds.
  /// Empty: it waits.
  std::function<void(const std::function<bool()>& they_learn)> meanwhile;

 private:
  void learn(std::vector<Update>& updates, size_t count, Metrics& metrics);
  void fill_old(std::vector<Update>& updates);
  void tell_samplers(bool interrupted);
  void hear_trainers();
  bool base_is_reference() const;

  const RunConfig& config_;
  Trainee& trainee_;
  const Team& team_;
  const std::atomic<bool>* stop_;
  std::unique_ptr<Decoder> reference_;
  std::unique_ptr<ShardedWeights> reference_weights_;  // where the ranks share them out
};

}  // namespace vernier
