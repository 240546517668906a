// What a run trains, and how far it is.
#pragma once

#include <memory>
#include <optional>

#include "core/model/model.h"
#include "trainer/checkpoint.h"
#include "trainer/gradient_sum.h"
#include "trainer/run_config.h"

namespace vernier {

struct Trainee {
  Model model;
  ChatFormat chat_format;
  std::unique_ptr<OptimizerState> optimizer;
  Progress progress;
};

/// The model of the configuration, or that of `checkpoint` with its optimizer state and progress.
/// Gives the configuration its decode(). A rank that only samples has no gradient and no moments.
Trainee load_trainee(RunConfig& config, const std::optional<fs::path>& checkpoint,
                     const Team& team);
/// The state of the optimizer before its first step.
std::unique_ptr<OptimizerState> fresh_optimizer(const RunConfig& config, Decoder& decoder,
                                                const Team& team);

/// Puts the weights, the optimizer, the algorithm and what the rewards have learned back to a
/// checkpoint of the trainee's run; its progress stays.
void go_back(Trainee& trainee, RunConfig& config, const fs::path& checkpoint);

/// Notes what an update did. Warns of one that was skipped because a number was not finite, and
/// throws RunError where more of them came in a row than the configuration allows.
void count_update(const UpdateResult& result, const RunConfig& config, Progress& progress);

}  // namespace vernier
