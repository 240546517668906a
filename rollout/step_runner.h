// What computes the passes of the engine where tokens are drawn beside the logits, on a GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/kernels/device.h"
#include "core/model/decoder.h"
#include "rollout/scheduler.h"

namespace vernier {

/// What a runner has to have room for.
struct StepLimits {
  int64_t slots = 0;        // responses that are decoded together
  int64_t step_tokens = 0;  // of prompts in a pass
  int64_t longest = 0;      // tokens of a sequence
  int64_t pages = 0;        // of the cache; it may have fewer where memory ends
  double cache_gb = 0;      // most memory of the cache; 0: what there is
  kernels::WeightFormat weights = kernels::WeightFormat::fp32;

  /// Whether who has room for this has room for `other`, in the same way.
  bool cover(const StepLimits& other) const {
    return slots >= other.slots && step_tokens >= other.step_tokens && longest >= other.longest &&
           pages >= other.pages && cache_gb == other.cache_gb && weights == other.weights;
  }
};

/// One pass: prompt tokens first, then one token for every slot that is not idle. A slot goes on by
/// itself: the token that it draws is the one that it computes in the next step, at the next place.
/// Changes are given once, and made before the step in the order of the members.
struct StepInput {
  struct Move {  // the whole state of a slot but for its pages
    int32_t from, to;
  };
  struct Start {
    int32_t slot, id, position;  // the token to compute, which is known, and its place
    int32_t count, limit;        // tokens that were drawn already, and that may be in the end
    kernels::device::SlotSampling sampling;
  };
  struct Room {
    int32_t slot, tokens;  // that its pages hold
    int32_t position;      // of the token to compute: a slot that fills its pages becomes idle
  };
  struct Page {
    int32_t slot, place, page;
  };

  std::vector<StepPlan::Copy> copies;  // of pages, before everything else
  CachedTokens chunks;                 // of prompts: go to the cache, nothing is drawn
  std::vector<Move> moves;             // no slot is in two of them
  std::vector<Start> starts;
  std::vector<Room> rooms;
  std::vector<Page> pages;
  std::vector<int32_t> stops;  // slots that are idle from now on
  int64_t batch = 0;           // slots [0, batch) compute a token; 0: none does

  bool empty() const { return copies.empty() && chunks.ids.empty() && stops.empty() && batch == 0; }
};

/// Of a step, by slot; what idle slots have means nothing.
struct StepDrawn {
  std::span<const int32_t> ids;
  std::span<const float> logprob, plain;  // under logits / temperature, and under the logits
};

/// A runner with all slots idle. Steps are computed in the order of their launch.
class StepRunner {
 public:
  virtual ~StepRunner() = default;

  virtual int64_t slots() const = 0;
  virtual int64_t pages() const = 0;
  /// Does not wait for the step. At most two steps are launched and not yet collected. What the
  /// pointers in `input` point to may change when this returns.
  virtual void launch(const StepInput& input) = 0;
  /// Waits for the first step that was not collected. Holds until the next launch.
  virtual StepDrawn collect() = 0;
  /// No step is under way.
  virtual void weights_changed() = 0;
};

/// Makes a runner for a decoder. UsageError where memory does not suffice for the model.
using MakeStepRunner =
    std::function<std::unique_ptr<StepRunner>(Decoder& decoder, const StepLimits& limits)>;

/// The smallest batch of the steps that a runner is ready for, of those that hold `slots`: powers
/// of two, and all.
inline int64_t step_batch(int64_t slots, int64_t all) {
  int64_t batch = slots > 0 ? 1 : 0;
  while (batch < slots) batch *= 2;
  return batch < all ? batch : all;
}

}  // namespace vernier
