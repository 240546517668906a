// The guard: as short as it can be without losing more accuracy than it may.
//
// After every evaluation it compares the policy with a reference on the same prompts and turns the
// knob of the method: no pressure on length until accuracy has stopped rising (by half of
// max_accuracy_loss), then more while accuracy holds for sure, less where that cannot be told, and
// back to the last policy that held where accuracy is lost, or in doubt twice in a row. The run
// ends at the shortest policy that held.
//
//   loss    mean over prompts of (reference's accuracy - policy's accuracy)
//   held    the upper bound of the loss is at most max_accuracy_loss
//   lost    its lower bound is above it
//
// Bounds are one-sided, at 1 - 0.05 / (k (k + 1)) for the k-th that the run takes, so that all
// upper ones hold together with 95 %, and all lower ones likewise, however many there are and
// whenever it stops (lower_mean_bound; prompts are the independent units). One is taken of every
// policy under pressure and of every one that has yet to reach a fixed reference, and one more of
// the best so far at every new peak. The peak is the best of many evaluations, so it looks better
// than it is, which makes the guard careful and not careless.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/metrics/metrics.h"
#include "core/types.h"
#include "rewards/reward.h"

namespace vernier {

/// No evaluation of a size that anybody would draw can tell less from nothing.
inline constexpr double kLeastAccuracyLoss = 0.001;

struct GuardConfig {
  double max_accuracy_loss = 0;    // 0: no guard
  std::string reference = "peak";  // "peak", "start", a number, or the folder of a run
  std::string knob = {};           // "": the only one
  int64_t patience = 2;            // looks
  double factor = 2;

  bool on() const { return max_accuracy_loss > 0; }
  void bind(Binder& config);
  /// The number that `reference` is, if it is one.
  std::optional<double> fixed_reference() const;
};

/// The knob among `knobs` that the guard turns. A mistake at `config`, the table of the guard,
/// where there is none, where there are several, or where its value is outside its range.
std::optional<Knob> choose_knob(Binder& config, const GuardConfig& guard,
                                const std::vector<Knob>& knobs);

/// Bounds that a run of so many evaluations takes at most.
int64_t planned_bounds(int64_t evaluations);

/// Fewest prompts with which a loss of `max_accuracy_loss` can be told from none by the last of so
/// many bounds, if every prompt has the same accuracy both times.
int64_t fewest_prompts(double max_accuracy_loss, int64_t bounds);

/// What one prompt's responses came to in an evaluation.
struct PromptScore {
  int64_t prompt = 0;              // its place
  std::string content = {};        // hash of what it asks and of its answer
  double right = 0, judged = 0;    // responses
  double tokens = 0, counted = 0;  // tokens, and responses that they are of

  bool operator==(const PromptScore&) const = default;
};

/// An evaluation, prompt by prompt, in order of their ids.
struct Scores {
  int64_t step = -1;  // -1: none
  std::vector<PromptScore> prompts;

  /// Over responses; NaN without any.
  double accuracy() const;
  double mean_length() const;
};

PromptScore score_of(const Group& group);
Scores scores_of(std::vector<PromptScore> prompts, int64_t step);
/// Those of the newest evaluation of the run in `folder`. UsageError where it has none.
Scores newest_scores(const fs::path& folder);

/// What the guard does after an evaluation.
struct Move {
  std::string name, reason;  // wait, begin, hold, tighten, relax, roll_back, stop, end
  bool keep = false;         // the policy is to be kept in a checkpoint
  std::optional<int64_t> restore = std::nullopt;  // step of the checkpoint to go back to
};

class Guard {
 public:
  /// `evaluations`: of the run. UsageError where the reference is a run without an evaluation.
  Guard(const GuardConfig& config, Knob knob, int64_t evaluations);

  /// Judges the policy. `last`: no step follows. UsageError, with the number needed, where there
  /// are too few prompts to tell a loss of max_accuracy_loss from none; the guard is as before
  /// then.
  Move look(const Scores& now, bool last);

  /// Whether the policy of this step was judged.
  bool looked_at(int64_t step) const { return now_ == step; }
  /// The run ends with the policy that was judged last: what is to be done, without judging again.
  Move finish();

  /// Sets the knob as the next step is to have it.
  void apply() const { knob_.set(pressure()); }
  double pressure() const;
  bool pressing() const { return phase_ == Phase::pressing; }
  bool stopped() const { return phase_ == Phase::stopped; }
  /// Whether the last look was the last: the run has the policy that it ends with.
  bool ended() const { return ended_ || stopped(); }
  /// Step of the checkpoint that it may go back to; -1: none.
  int64_t best_step() const { return best_.step; }
  /// Steps whose checkpoints must stay: of the policy that the run would end with, and of the
  /// reference where it is one of the run.
  std::vector<int64_t> kept() const;

  /// What the last look found, and the move.
  void write(const Move& move, Metrics& metrics) const;

  Json state() const;
  /// Goes on from a state(). UsageError on one that is not of a guard with this knob and reference.
  void restore(const Json& state);

 private:
  enum class Phase { waiting, pressing, stopped };
  struct Loss {
    double value = 0, low = 0, high = 0;
  };

  bool has_fixed_reference() const {
    return config_.reference != "peak" && config_.reference != "start";
  }
  std::vector<double> losses(const Scores& reference, const Scores& now) const;
  std::pair<double, double> range_of_loss() const;
  Loss bounds(const Scores& now);
  bool holds(const Loss& loss) const { return loss.high <= config_.max_accuracy_loss; }
  void check_samples(const std::vector<double>& found) const;
  void check_prompts(const Scores& now);
  bool follow(const Scores& now);
  Move wait(const Scores& now);
  Move begin(const Scores& now, const std::string& why);
  Move press(const Scores& now);
  std::string in_force() const;
  Move held(const Scores& now);
  Move doubtful();
  Move lost(const std::string& why);
  Move stop(const std::string& name, const std::string& why);
  bool fail_here();
  double next_up() const;
  std::string told() const;
  double value_of(double strength) const;

  GuardConfig config_;
  Knob knob_;
  int64_t planned_ = 0;          // bounds
  double least_ = 0, most_ = 0;  // strengths: the knob's value, or 1 over it

  Phase phase_ = Phase::waiting;
  double strength_ = 0;           // in force while pressing
  double held_ = 0, failed_ = 0;  // largest strength that held, smallest that did not; 0: none
  int64_t looks_ = 0;             // bounds that were taken
  bool ended_ = false;            // the last look was the last
  int64_t still_ = 0;             // looks in a row without a rise, or without a shorter policy
  bool in_doubt_ = false;         // after the last look
  double last_length_ = 0;
  Scores reference_, best_, anchor_;  // anchor: where accuracy rose last
  std::optional<Loss> loss_;          // at the last look
  int64_t now_ = -1;                  // step of the last look
};

}  // namespace vernier
