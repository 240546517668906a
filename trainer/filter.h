// Which groups of a step are trained on, and how many prompts are drawn for them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/types.h"

namespace vernier {

/// [rollout.filter]. A group that is left out is neither in the loss nor in its normalisers.
///
///   rule     all       every group is trained on
///            spread    groups whose metric is not the same for all responses; a group of one
///                      response is kept (DAPO, arXiv:2503.14476; verl's filter_groups)
///            between   groups with lo < mean of the metric < hi (OpenRLHF's dynamic filtering)
///   refill   none      what is left is trained on
///            batches   further batches of gen_batch_prompts prompts are drawn until
///                      prompts_per_step groups are kept (DAPO, verl)
///            missing   the same with as many prompts as groups are missing (OpenRLHF)
///            predict   one batch, larger by the share of groups that was kept lately: predictive
///                      dynamic sampling (DOT, arXiv:2601.03969)
///
/// The metric is looked at after the transforms. Prompts go on over the end of an epoch, so that
/// there is no tail of it that a batch would have to fit into.
struct FilterConfig {
  std::string rule = "all", metric = "accuracy", refill = "none";
  std::vector<double> between = {0, 1};
  int64_t gen_batch_prompts = 0, max_num_gen_batches = 10;
  int64_t history_window = 20;
  double first_factor = 1.5, min_factor = 1.2, max_factor = 5;

  void bind(Binder& config);

  /// Why a scored group is left out: "flat" (no spread), "outside" (the mean of the metric), or
  /// "empty" (nothing of it would enter the loss, or no response has the metric); "" where it is
  /// kept. `by_channel`: Algorithm::uses_channels().
  std::string drop_cause(const Group& group, bool by_channel = false) const;

  /// Prompts over prompts_per_step that refill = "predict" draws:
  ///
  ///   first_factor                                    without history
  ///   max_factor                                      where its mean is 0
  ///   clip((1 + std) / mean, min_factor, max_factor)  mean and population std of `pass_rates`
  ///
  /// `pass_rates`: shares of groups that were kept, of the last history_window steps.
  double predicted_factor(std::span<const double> pass_rates) const;

  /// Prompts of the next generation batch of a step that wants `target` groups and has kept `kept`
  /// of `batches` batches; 0: the step draws no more.
  int64_t next_batch(int64_t target, int64_t kept, int64_t batches,
                     std::span<const double> pass_rates) const;

  /// Adds the share of a step to `pass_rates`, and forgets the oldest.
  void remember(double pass_rate, std::vector<double>& pass_rates) const;
};

}  // namespace vernier
