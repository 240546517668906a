// What a run trains, and how far it is.
#pragma once

#include <memory>
#include <optional>

#include "core/model/model.h"
#include "core/model/tensor_parallel.h"
#include "trainer/checkpoint.h"
#include "trainer/gradient_sum.h"
#include "trainer/run_config.h"
#include "trainer/sharded_weights.h"

namespace vernier {

struct Trainee {
  /// What is drawn with. Its decoder is trained too, but for trainer.shard = "full" on ranks that
  /// draw and train: these have all weights for drawing, and train with `apart`.
  Model model;
  std::unique_ptr<Decoder> apart;
  std::unique_ptr<ShardedWeights> sharded;  // of what is trained; null: all weights are here
  /// On ranks that draw as one (rollout.tensor_parallel_size): the part that model.decoder is of
  /// the model, and its shapes, without weights. Its own come from the ranks that train.
  TensorPart part;
  std::unique_ptr<Decoder> whole;
  ChatFormat chat_format;
  std::unique_ptr<OptimizerState> optimizer;
  Progress progress;

  Decoder& trained() const { return apart ? *apart : *model.decoder; }
  /// With the shapes of the whole model, whatever of it is here.
  Decoder& shapes() const { return whole ? *whole : trained(); }
};

/// The model of the configuration, or that of `checkpoint` with its optimizer state and progress.
/// Gives the configuration its decode(). A rank that only samples has no gradient and no moments.
Trainee load_trainee(RunConfig& config, const std::optional<fs::path>& checkpoint,
                     const Team& team);
/// The state of the optimizer before its first step.
std::unique_ptr<OptimizerState> fresh_optimizer(const RunConfig& config, Decoder& decoder,
                                                const Team& team);

/// Whether the ranks that train share the weights out (trainer.shard = "full").
bool shares_weights(const RunConfig& config, const Team& team);
/// Gives `copy`, which has no weights yet, those of `from`. On all ranks that train.
std::unique_ptr<ShardedWeights> sharded_copy(Decoder& copy, const Team& team, Decoder& from);

/// Puts the weights, the optimizer, the algorithm and what the rewards have learned back to a
/// checkpoint of the trainee's run; its progress stays. Parts of the model have to be sent theirs.
void go_back(Trainee& trainee, RunConfig& config, const fs::path& checkpoint);

/// Notes what an update did. Warns of one that was skipped because a number was not finite, and
/// throws RunError where more of them came in a row than the configuration allows.
void count_update(const UpdateResult& result, const RunConfig& config, Progress& progress);

}  // namespace vernier
