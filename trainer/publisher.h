// How those who draw get the weights of those who train.
#pragma once

#include <memory>
#include <optional>

#include "core/comm/ranks.h"
#include "trainer/trainee.h"

namespace vernier {

/// Of the ranks of a job. All of them call the same but for here() and take().
class Publisher {
 public:
  Publisher(const RunConfig& config, Trainee& trainee, const Team& team);

  /// The policy has other weights where it is trained.
  void changed() { published_ = false; }
  /// Now all ranks that draw have them; at once where they have been told before.
  void publish();
  /// The same where tokens of older weights are allowed and some ranks only sample: these draw on,
  /// and take the new weights between two passes once they are here(). Not for parts of a model,
  /// which are cut out where they arrive, nor where a step asks the newest policy for more than its
  /// groups (greedy answers, passes for the advantages, monitored prompts).
  void begin();
  bool here() { return copy_ != nullptr && !taken_ && copy_->here(); }
  void take();
  /// Before they change where they are trained: none is on its way from there any more.
  void let_go() const;
  /// What a checkpoint writes is there.
  void publish_for_checkpoint();
  /// Steps that are in the weights that this rank draws with.
  int64_t version() const { return version_; }

 private:
  bool receives() const { return team_.separate() && !team_.trainers.member(); }
  Ranks& receivers();
  void send();
  void send_parts(Decoder& decoder);
  void begin_copy();
  void end_copy();

  const RunConfig& config_;
  Trainee& trainee_;
  const Team& team_;
  std::optional<Ranks> receivers_;  // the ranks that only sample, and rank 0 that has the weights
  bool published_;
  int64_t version_ = 0;
  // Where they come beside what is drawn: room for them, and those that are on their way.
  bool beside_;
  at::Tensor room_;
  std::unique_ptr<Copy> copy_;
  bool taken_ = false;
  int64_t coming_ = 0;  // their version
};

}  // namespace vernier
