// Rewards score the responses of a group; transforms change or filter a scored group.
//
// Neither ever sees a tensor. A reward that cannot score a response abstains: the response then has
// no reward, is left out of its group's statistics and of the loss. A failure never becomes 0.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/config.h"
#include "core/base/registry.h"
#include "core/pressure.h"
#include "core/types.h"
#include "rewards/composition.h"
#include "rewards/memory.h"
#include "rewards/sampling.h"

namespace vernier {

/// What a reward says of one response: a value, or why there is none.
struct Score {
  double value = 0;
  std::string abstain;  // reason; "" where the value counts
  std::string explain;  // how the value came about, for `vernier score --explain`
  // Added to the advantage of each token, where tokens are told apart: one for each of the first
  // num_tokens, or none at all. Weighted as the value is.
  std::vector<double> token_bonus;
  // Named numbers beside the value, for the metrics; no part of the sum.
  std::vector<std::pair<std::string, double>> components = {};
};

/// What rewards and transforms may know of the run.
struct ScoringContext {
  int64_t num_generations = 0;        // responses of a group as configured; 0 where not known
  int64_t max_completion_length = 0;  // tokens; 0 where not known
  RewardMemory* memory = nullptr;     // of the reward that is made; it stays where it is
  bool counts = true;                 // false: its value is only logged
  /// rollout.think_end, which marks the thinking of what is drawn to be scored; none where nothing
  /// is drawn.
  std::optional<std::string> think_end;
  /// Nothing will be scored: who asks somebody else may bind its keys and start nobody.
  bool only_read = false;
  /// Text of token ids, for rewards that look again at a response that was cut.
  std::function<std::string(std::span<const int32_t>)> decode;
};

class Reward {
 public:
  static constexpr const char* kKind = "reward";
  virtual ~Reward() = default;

  /// Scores every response of `group`, in order: `scores` has one entry a response.
  /// Response::correct is set before; it is empty where there is no verdict. What a reward says of
  /// a response that the policy did not end (policy_ended) is dropped; a reward that compares the
  /// members of a group leaves such responses out of the comparison.
  virtual void score(const Group& group, std::span<Score> scores) const = 0;

  /// Looks at a prompt before the run begins: why every response to it would abstain, "" where
  /// that is not known then. Throws UsageError where score() would refuse its row.
  virtual std::string abstains_on(const Prompt&) const { return ""; }

  /// Whether a response's value depends on the others of its group.
  virtual bool needs_group() const { return true; }

  /// Told beside sampling, before score(), that a response has ended; where needs_group() is true,
  /// when the last of its group has. A reward that asks somebody else sends its question here, so
  /// that score() finds the answer. May be called from another thread than score().
  virtual void expect(const Group&, size_t /*response*/) const {}
  /// Whether score() waits for somebody else's answer: a run then scores on a thread of its own.
  virtual bool asks_outside() const { return false; }

  /// What has been counted since the start, for the metrics: of a reward from outside, the
  /// responses that it failed to score, by cause ("failed/timeout"). From any thread.
  virtual std::map<std::string, int64_t> counters() const { return {}; }

  /// What it asks of the draw.
  virtual SamplingPlan plan() const { return {}; }
  /// Whether the prompt wants plan().reference_generations responses of the start policy now.
  virtual bool lacks_reference(const Prompt&) const { return false; }

  /// What a scored group teaches a reward that learns from step to step; reads no memory.
  virtual std::vector<Note> observe(const Group&) const { return {}; }
  /// Once a step, when all of it is scored: the notes of all its groups, in order, into the memory.
  virtual void learn(const std::vector<Note>&) {}
  /// Whether it does learn.
  virtual bool learns() const { return false; }

  /// Whether a value depends on the other groups of the step. Its values are then made twice: with
  /// the group alone, and again when prepare_step() has the notes of all groups.
  virtual bool spans_step() const { return false; }
  virtual void prepare_step(const std::vector<Note>&) {}

  /// Whether its values are advantages already, which no estimator may change.
  virtual bool is_advantage() const { return false; }
  /// Whether only_if and min_solve_rate may make it 0: not where what one response gets stands
  /// against what others get.
  virtual bool may_be_gated() const { return true; }

  /// Whether the length of a response has a part in its value, for `vernier score --explain`.
  virtual bool depends_on_length() const { return false; }

  /// The knob that trades accuracy for length, where a reward that depends on length has one of its
  /// own; without one its weight is the knob.
  virtual std::optional<Pressure> pressure() const { return std::nullopt; }
  virtual void set_pressure(double) { throw BugError("pressure of a reward without a knob"); }
};

class Transform {
 public:
  static constexpr const char* kKind = "transform";
  virtual ~Transform() = default;

  /// Runs verdict, rewards and sum again for one response that a transform has changed; the others
  /// keep theirs. `verdict` replaces the verdict of the row's rule where it holds one.
  using Rescore = std::function<void(Group&, size_t response, std::optional<bool> verdict)>;

  /// Changes a scored group in place. Returns numbers for the metrics, by name, to be summed over
  /// groups. Where Response::explain is not empty, tells there what it did (add_explanation).
  virtual std::vector<std::pair<std::string, double>> apply(Group& group,
                                                            const Rescore& rescore) const = 0;

  /// Whether the length of a response has a part in what it does, for `vernier score --explain`.
  virtual bool depends_on_length() const { return false; }

  /// Whether it changes Response::reward itself. Scoring again would undo that, so such a transform
  /// comes after all others.
  virtual bool sets_reward() const { return false; }

  /// The knob that trades accuracy for length, where the transform has one.
  virtual std::optional<Pressure> pressure() const { return std::nullopt; }
  virtual void set_pressure(double) { throw BugError("pressure of a transform without a knob"); }
};

/// A knob of a configuration.
struct Knob {
  std::string name;  // "reward.NAME.key", "transform.NAME.key", "algo.key"
  Pressure pressure;
  bool of_reward = false, of_weight = false;  // changes a reward's values, or its weight alone
  std::function<void(double)> set;
};

/// Appends `step`, one JSON object, to the list in Response::explain; does nothing where the list
/// is empty, which says that nobody asked.
void add_explanation(Response& response, std::string_view step);

using RewardRegistry = Registry<Reward, Binder&, const ScoringContext&>;
using TransformRegistry = Registry<Transform, Binder&, const ScoringContext&>;

/// That a reward has no value for any response to a prompt, and why.
struct Abstention {
  std::string reward, why;
  bool in_every_step = true;  // false: a schedule has steps in which its part does not count
};

/// The rewards and transforms of one configuration, in its order.
class ScoringChain {
 public:
  /// Reads [[reward]] and [[transform]] of the root table.
  void bind(Binder& root, const ScoringContext& context);

  /// Verdicts, rewards, weighted sums and transforms of one group, in place.
  ///
  ///   reward = sum_k weight_k * value_k        over the parts of the response
  ///
  /// A response has no reward as soon as one part that counts (weight not 0) abstains: the sum over
  /// the others would be another reward, on another scale than its siblings'. It has none either
  /// where no [[reward]] is configured. A value that is not finite is an abstention.
  ///
  /// `explain` fills Response::explain with the steps, in the order they were taken.
  /// Returns the transforms' numbers. Throws UsageError where the row's rule or answer is unusable.
  std::vector<std::pair<std::string, double>> score(Group& group, bool explain) const;

  /// The same without the transforms that depend on length. Of a response that was stored cut only
  /// the verdict can be that of before.
  void score_as_sampled(Group& group) const;
  /// Whether there are any.
  bool transforms_by_length() const;

  /// Tells the rewards that a response has ended, whose group is not whole yet; and that a group
  /// is.
  void expect(const Group& group, size_t response) const;
  void expect(const Group& group) const;
  bool asks_outside() const;
  /// Seconds that each reward took so far, waiting for others included, by name; the transforms
  /// together as "transforms".
  std::vector<std::pair<std::string, double>> seconds() const;

  /// What the rewards have counted since the last call, by "rewards/NAME/what".
  std::vector<std::pair<std::string, int64_t>> take_counters();

  /// Sets the verdicts of a group that is only measured; it gets no reward.
  void measure(Group& group) const;

  /// What the rewards ask of the draw together. bind() has refused two that ask for the same. One
  /// of weight 0 in the file is only logged and asks for nothing; one whose weight a guard turns
  /// asks all the time.
  SamplingPlan plan() const;
  bool lacks_reference(const Prompt& prompt) const;

  /// Reward::abstains_on() of the rewards that count. Nothing of a gated one, which a closed gate
  /// makes 0 instead. Throws where one of all refuses the row.
  std::vector<Abstention> abstains_on(const Prompt& prompt) const;
  /// Whether these leave no response to the prompt a reward, in whatever step; `by_channel`
  /// (Algorithm::uses_channels): nor a part of one.
  bool is_mute(const std::vector<Abstention>& found, bool by_channel) const;

  /// Adds to `notes` what the scored group teaches the rewards. Groups of any role.
  void observe(const Group& group, StepNotes& notes) const;
  /// Values of the rewards that depend on the whole step, and the sums that hold them, of all its
  /// scored groups.
  void finish_step(std::span<Group> groups, const StepNotes& notes);
  bool spans_step() const;
  /// Whether a reward keeps anything from step to step, so that stored steps have to come in order.
  bool learns() const;
  /// Takes the notes of a step that is over into the memories.
  void learn(const StepNotes& notes);
  /// What the memories learn from mark() on is forgotten by roll_back(): of a step that is not
  /// done.
  void mark();
  void roll_back();
  /// Numbers in the memories, by "rewards/NAME/number".
  std::vector<std::pair<std::string, double>> memory_numbers() const;

  /// The memories by the names of their rewards, null where all are empty, and back. Throws
  /// UsageError on a state that is none.
  Json state() const;
  void restore(const Json& state);

  bool has_rewards() const { return !rewards_.empty(); }

  /// Names of the rewards that say more than the verdict and count in the sum.
  std::vector<std::string> shaping_rewards() const;

  /// Names of the rewards that count in the sum and are advantages already.
  std::vector<std::string> advantages() const;

  /// Names of the transforms that change rewards themselves.
  std::vector<std::string> reward_transforms() const;

  /// Names of the rewards whose value depends on length.
  std::vector<std::string> length_rewards() const;

  /// Whether a reward counts whose weight is not `knob`.
  bool pays_beside(const std::string& knob) const;

  /// The knobs that trade accuracy for length. They are of this chain, which stays where it is.
  std::vector<Knob> knobs();

 private:
  struct NamedReward {
    std::string name, type;
    double weight = 1;
    bool counts = true;  // its weight in the file is not 0; a guard may hold it at 0 for a while
    Composition composition = {};
    std::unique_ptr<RewardMemory> memory = nullptr;
    std::unique_ptr<Reward> reward = nullptr;
    std::map<std::string, int64_t> counted = {};  // by the last take_counters()
    double seconds = 0;
  };
  struct NamedTransform {
    std::string name;
    std::unique_ptr<Transform> transform;
  };
  void check_composition(Binder& b, const NamedReward& named) const;
  void check_plan(Binder& b, const NamedReward& named) const;
  std::vector<std::pair<std::string, double>> score(Group& group, bool explain,
                                                    bool by_length) const;
  // Rewards and sums of the responses in `which`; rewards see the whole group.
  void score_responses(Group& group, std::span<const size_t> which) const;
  // The parts of one reward, composed with those before it.
  void score_part(size_t place, Group& group, std::span<const size_t> which) const;

  mutable std::vector<NamedReward> rewards_;  // score() counts its seconds: one thread at a time
  mutable double transform_seconds_ = 0;
  std::vector<NamedTransform> transforms_;
};

}  // namespace vernier
