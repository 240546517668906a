// Prompts of several sources in one stream: with fixed shares, or with shares that follow what the
// policy can do.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "rollout/prompt_source.h"

namespace vernier {

/// [data.curriculum]: how the shares of [[data.source]] follow the measured pass rates.
///
///   none        they are the weights
///   pass_rate   weight_s (floor + (1 - floor) exp(-((p_s - target) / width)^2)): most prompts
///               where the policy is right about as often as `target`, since a group that is all
///               right or all wrong teaches nothing; before it is measured, p_s counts as the
///               target
///   unlock      the sources in their order; the next one joins once p of the last that has joined
///               reaches `threshold`, and stays
///
/// p_s is the share of right responses among the groups of source s, as a running mean over steps:
/// p <- decay p + (1 - decay) of the step. Source: ours, after the difficulty curricula of the
/// field.
struct CurriculumConfig {
  std::string mode = "none";
  double target = 0.5, width = 0.25, floor = 0.05, threshold = 0.8, decay = 0.9;

  void bind(Binder& config);
};

/// One source of a mixture.
struct MixturePart {
  std::string name;
  double weight = 1;
  std::unique_ptr<PromptSource> prompts;
};

/// Training prompts. Which source place i is of is drawn under the seed and i; of a source the
/// prompts come in its own order, none is left out.
///
/// The state holds where the last step ended, how many prompts of each source came before, and the
/// pass rates: a resumed run asks for the same prompts.
class Mixture final : public PromptSource {
 public:
  Mixture(std::vector<MixturePart> parts, const CurriculumConfig& curriculum, uint64_t seed);

  std::vector<Prompt> take(int64_t first, int64_t count) const override;
  int64_t size() const override { return 0; }

  Json state() const override;
  void restore(const Json& state) override;
  void learn(int64_t next, std::span<const SourceOutcome> outcomes) override;
  std::vector<std::pair<std::string, double>> numbers() const override;

  /// Of the next prompts, by source; they add up to 1.
  std::vector<double> shares() const;

 private:
  struct Standing {
    int64_t taken = 0;      // prompts before base_
    double pass_rate = -1;  // below 0: not measured yet
  };
  size_t choose(int64_t place) const;

  std::vector<MixturePart> parts_;
  CurriculumConfig curriculum_;
  uint64_t seed_;
  int64_t base_ = 0;  // the place that the next step begins at
  std::vector<Standing> standings_;
  size_t joined_ = 1;           // of mode unlock
  std::vector<double> shares_;  // since base_
};

/// Evaluation prompts: of each source a share of `count`, by weight, one source after another.
class EvaluationMixture final : public PromptSource {
 public:
  EvaluationMixture(std::vector<MixturePart> parts, int64_t count);

  std::vector<Prompt> take(int64_t first, int64_t count) const override;
  int64_t size() const override { return size_; }

 private:
  std::vector<MixturePart> parts_;
  std::vector<int64_t> counts_;
  int64_t size_ = 0;
};

/// How many of `count` each weight gets: its share, rounded so that they add up (largest
/// remainders; of equal ones the first).
std::vector<int64_t> apportioned(const std::vector<double>& weights, int64_t count);

}  // namespace vernier
