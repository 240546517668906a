// The gradient of an update that ranks and virtual shards share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/comm/ranks.h"

namespace vernier {

class Decoder;

/// The ranks of a job, those of them that compute updates (the first ones), and in how many parts.
/// Part i W + r is computed by rank r of W in its round i. With 8 parts whatever the ranks
/// (run.deterministic) every sum over them is one and the same tree, so W = 1, 2, 4 and 8 give the
/// same bits; otherwise a rank has one part.
struct Team {
  Ranks& ranks;
  Ranks& trainers;
  bool deterministic = false;
  /// Ranks that draw as one, each with a part of the model (rollout.tensor_parallel_size), and
  /// those that this one draws with; null: it has all of it.
  int64_t together = 1;
  Ranks* partners = nullptr;

  static constexpr int64_t kVirtualShards = 8;

  /// Whether some ranks only sample; then the others do not.
  bool separate() const { return trainers.size() != ranks.size(); }
  bool draws() const { return !separate() || !trainers.member(); }
  /// Among whom the prompts are shared out.
  int64_t drawing_ranks() const {
    return (separate() ? ranks.size() - trainers.size() : ranks.size()) / together;
  }
  /// Whether another rank hands over what this one draws.
  bool follows() const { return partners != nullptr && !partners->first(); }
  /// What `ask` says here, or where several draw as one, on the first of them: they all decide by
  /// the same answer, and call this in the same order.
  int64_t asked_once(const std::function<int64_t()>& ask, const char* what) const;
  int64_t parts() const { return deterministic ? kVirtualShards : trainers.size(); }
  int64_t rounds() const { return parts() / trainers.size(); }
  int64_t rank_of(int64_t part) const { return part % trainers.size(); }
  /// A process alone with everything in one part.
  static const Team& alone();
};

/// The most passes that a rank which trains has to make; `own` are this one's.
int64_t most_passes(const Team& team, int64_t own);
/// Makes `own` passes without gradients, pass(i), and where the ranks share the weights of the
/// decoder goes along with those that others make beyond them.
void make_passes(Decoder& decoder, const Team& team, int64_t own,
                 const std::function<void(int64_t)>& pass);

/// Sums the gradients of an update. Each part goes through its micro-batches; with `by_pass` their
/// i-th are summed over the parts before the next ones are, in a tree,
///
///   ((g_0 + g_1) + (g_2 + g_3)) + ((g_4 + g_5) + (g_6 + g_7))       of eight parts
///
/// and a part that has no i-th micro-batch adds zeros: then the bits do not depend on who computes
/// a part, nor on when a stretch of the gradient leaves the rank. Otherwise a rank, which has one
/// part, adds up its own micro-batches first. Takes the memory of a slice (of Slices) for the sum
/// and for every level of the tree; does nothing where a process is alone with one part.
class GradientSum {
 public:
  /// Of the decoder's gradients, which are zero. Those that a store keeps go into the sum stretch
  /// by stretch, for as long as this lives.
  GradientSum(const Team& team, Decoder& decoder);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  bool by_pass() const;
  /// A pass of this rank is over (with `by_pass`), or all of them are: what the gradients hold
  /// becomes part of the sum, and they are zero.
  void add();
  /// After the last pass: the sum over all parts, of the rank's slice, or of all in the decoder's
  /// gradients.
  at::Tensor& finish(bool slice);

 private:
  bool trivial() const { return team_.parts() == 1; }
  at::Tensor& slice_at(size_t depth);
  Ranks::TakeSum adding();

  const Team& team_;
  Decoder& decoder_;
  int64_t passes_ = 0;
  // The sum, and behind it sums of 2^k rounds that wait for as many more.
  std::vector<at::Tensor> slices_;
};

}  // namespace vernier
