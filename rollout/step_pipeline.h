// Keeps a runner of steps busy: while it computes one, the host takes in the one before and plans
// the next.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/kernels/sample.h"
#include "rollout/scheduler.h"
#include "rollout/step_runner.h"

namespace vernier {

/// Between the scheduler, which speaks of sequences, and a runner, which has slots. The host learns
/// of a token one step late. So a sequence that ends may compute one token more: nobody hears of
/// it, and what it wrote to the cache lies behind what anyone knows.
class StepPipeline {
 public:
  /// How a sequence is drawn that enters: tokens that it has drawn, and may draw in the end.
  struct Rules {
    kernels::device::SlotSampling sampling;
    int64_t drawn, limit;
  };
  /// Who knows the responses.
  struct Listener {
    std::function<Rules(int64_t sequence)> rules;
    /// The next token of a sequence, for Scheduler::append(). Sequences may be removed.
    std::function<void(int64_t sequence, const Drawn& drawn, float plain)> take;
  };

  StepPipeline(Scheduler& scheduler, StepRunner& runner, Listener listener);

  /// Launches the next step, then takes in the one before. Sequences may have been removed since
  /// the last call.
  void step();
  /// Waits for the step that is under way, whose tokens nobody wants.
  void drain();

 private:
  struct Slot {
    int64_t sequence = -1;         // -1: idle
    int64_t drawn = 0, limit = 0;  // tokens after the newest step
    int64_t position = 0;          // of the token that it computes next
    int64_t step = 0;              // the newest that it is in
    bool fresh = false;            // the runner knows nothing of its pages
    std::vector<int32_t> pages;    // as the runner knows them
  };
  struct Place {
    int32_t slot;
    int64_t sequence;
  };

  StepInput input_of(const StepPlan& plan);
  std::vector<Place> seats(const StepPlan& plan, StepInput& input);
  void leave(int32_t slot);
  int32_t enter(int64_t sequence, StepInput& input);
  void close_ranks(int64_t sequences, StepInput& input);
  void write_pages(int32_t slot, StepInput& input);
  void take_in(std::span<const Place> places);

  Slot& at(int32_t slot) { return slots_[static_cast<size_t>(slot)]; }

  Scheduler& scheduler_;
  StepRunner& runner_;
  Listener listener_;
  std::vector<Slot> slots_;
  std::set<int32_t> idle_;
  std::vector<int32_t> left_;                     // slots that became idle before this step
  std::unordered_map<int64_t, int32_t> slot_of_;  // by sequence
  int64_t step_ = 0;
  bool under_way_ = false;
  std::vector<Place> places_;  // of the step under way
};

}  // namespace vernier
