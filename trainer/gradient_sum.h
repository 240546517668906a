// The gradient of an update that ranks and virtual shards share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "core/comm/ranks.h"

namespace vernier {

/// The ranks of a job, those of them that compute updates (the first ones), and in how many parts.
/// Part i W + r is computed by rank r of W in its round i. With 8 parts whatever the ranks
/// (run.deterministic) every sum over them is one and the same tree, so W = 1, 2, 4 and 8 give the
/// same bits; otherwise a rank has one part.
struct Team {
  Ranks& ranks;
  Ranks& trainers;
  bool deterministic = false;

  static constexpr int64_t kVirtualShards = 8;

  /// Whether some ranks only sample; then the others do not.
  bool separate() const { return trainers.size() != ranks.size(); }
  bool draws() const { return !separate() || !trainers.member(); }
  int64_t drawing_ranks() const {
    return separate() ? ranks.size() - trainers.size() : ranks.size();
  }
  int64_t parts() const { return deterministic ? kVirtualShards : trainers.size(); }
  int64_t rounds() const { return parts() / trainers.size(); }
  int64_t rank_of(int64_t part) const { return part % trainers.size(); }
  /// A process alone with everything in one part.
  static const Team& alone();
};

/// Sums the gradients of all parts as they become ready: over ranks, then over rounds, in a tree.
///
///   ((g_0 + g_1) + (g_2 + g_3)) + ((g_4 + g_5) + (g_6 + g_7))       of eight parts
///
/// Takes the memory of a slice (of Slices) for every level of the tree; does nothing where a
/// process is alone with one part, or computes no updates.
class GradientSum {
 public:
  /// `gradients`: what backward passes add to, flat and fp32; zero at first.
  GradientSum(const Team& team, at::Tensor& gradients) : team_(team), gradients_(gradients) {}

  /// A round is over on this rank: its gradient becomes part of the sum, and zero.
  void add();
  /// After the last round: the gradients are the sum over all parts, on every rank; with `slice`
  /// only those of the rank's slice are.
  void finish(bool slice = false);

 private:
  bool trivial() const { return team_.parts() == 1 || !team_.trainers.member(); }

  const Team& team_;
  at::Tensor& gradients_;
  int64_t rounds_ = 0;
  std::vector<at::Tensor> levels_;  // sums of 2^k rounds that wait for as many more
};

}  // namespace vernier
