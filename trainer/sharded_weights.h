// trainer.shard = "full": each rank that trains keeps a slice of the weights.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/comm/ranks.h"
#include "core/model/decoder.h"

namespace vernier {

/// The weights of a decoder, cut among ranks (core/comm/slices.h). A unit is gathered while a
/// pass is at the one before it, and goes when the pass comes to another; so does its gradient on
/// the way back. All ranks make the same passes in the same order. Rajbhandari
/// et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
/// arXiv:1910.02054, stage 3.
class ShardedWeights final : public UnitStore {
 public:
  /// Of those that fill(unit) puts into the decoder, which was made without any, a unit at a time.
  /// From then on it finds them here, on `device`.
  ShardedWeights(Decoder& decoder, Ranks& ranks, at::Device device,
                 const std::function<void(int64_t)>& fill);

  void bring(int64_t unit) override;
  void release() override;
  void bring_gradient(int64_t unit) override;
  void gradient_done(int64_t unit) override;
  void finish_gradients() override;
  void drop_gradients() override;
  at::Tensor& kept() override { return own_; }

  /// Units that were brought so far, and those of them that were on their way before.
  int64_t brought() const { return gathers_; }
  int64_t begun_ahead() const { return begun_ahead_; }

  /// Bytes of the units of such a decoder, and with `backward` of their gradients, that passes have
  /// here at once at most; `rounds`: with what products of a GPU read, bf16.
  static int64_t most_bytes(const Decoder& decoder, bool rounds, bool backward);

  /// Fills `weights`, which are laid out as the decoder's. On all ranks.
  void gather(at::Tensor& weights);
  /// Other values: those of flat `weights`, or those that fill(unit) puts into the decoder.
  void take(const at::Tensor& weights);
  void take(const std::function<void(int64_t)>& fill);

 private:
  void drop();
  void begin(int64_t unit);
  void give_up();
  int64_t unit_after(int64_t before, int64_t unit) const;
  void take_unit(int64_t unit, const at::Tensor& values);
  void drop_gradient(int64_t unit);

  Decoder& decoder_;
  Ranks& ranks_;
  at::Tensor own_;        // [Slices::each]
  int64_t brought_ = -1;  // the unit whose values the decoder has
  int64_t ahead_ = -1;    // the one that is on its way, and where to
  at::Tensor arriving_;
  std::unique_ptr<Pending> arrival_;
  int64_t gathers_ = 0, begun_ahead_ = 0;
  int64_t leaving_ = -1;  // the one whose gradient is
  std::unique_ptr<Pending> departure_;
  std::vector<int64_t> uses_;          // of each unit in this pass back
  std::vector<at::Tensor> gradients_;  // of those that have one
  // Packed forms of the unit that was dropped last: the next one has the same shapes as a rule.
  std::vector<std::pair<kernels::PackedMatrix, kernels::PackedMatrix>> packed_;
};

}  // namespace vernier
