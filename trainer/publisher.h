// How those who draw get the weights of those who train.
#pragma once

#include <optional>

#include "core/comm/ranks.h"
#include "trainer/trainee.h"

namespace vernier {

/// Of the ranks of a job. All of them call the same.
class Publisher {
 public:
  Publisher(const RunConfig& config, Trainee& trainee, const Team& team)
      : config_(config),
        trainee_(trainee),
        team_(team),
        published_(config.tensor_parallel_size == 1) {}  // parts of a model read no files

  /// The policy has other weights where it is trained.
  void changed() { published_ = false; }
  /// Now all ranks that draw have them; at once where they have been told before.
  void publish();
  /// What a checkpoint writes is there.
  void publish_for_checkpoint();

 private:
  void send();
  void send_units(Decoder& decoder);

  const RunConfig& config_;
  Trainee& trainee_;
  const Team& team_;
  std::optional<Ranks> receivers_;  // the ranks that only sample, and rank 0 that has the weights
  bool published_;
};

}  // namespace vernier
