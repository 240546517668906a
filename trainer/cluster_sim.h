// RL steps of a cluster by discrete events: who draws what until when, who waits, how old the
// samples are that are trained on.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace vernier {

/// A prompt and the lengths of its responses, tokens.
struct SimulatedGroup {
  double prompt = 0;
  std::vector<double> lengths;
};

/// What drawing takes on a rank.
struct SimulatedEngine {
  int64_t max_running = 1;
  /// Seconds of a pass that draws a token for each of so many responses, which see so many tokens
  /// each.
  std::function<double(double rows, double seen)> pass;
  double prompt_token = 0;  // s
};

struct SimulatedSetup {
  int64_t drawing = 1, training = 1;  // ranks; the same ones where they do both
  bool colocated = true;
  int64_t max_staleness = 0;  // steps
};

struct SimulatedJob {
  std::vector<SimulatedGroup> groups;  // drawn in this order, and again from the front
  int64_t prompts_per_step = 1;
  double reward_s = 0;  // from the end of a group's last response to its rewards
  double update_s = 0;  // a step's updates, on the ranks that train
  double sync_s = 0;    // the new weights to those that draw
};

/// Means over steps behind the first ones.
struct SimulatedStep {
  double step_s = 0;
  double draw_s = 0;     // that ranks wait for a step's groups and their rewards
  double bubble = 0;     // share of the ranks' time in which one has nothing to do
  double staleness = 0;  // steps from the issue of a group to its update
  double rows = 0;       // responses that a pass draws for
};

/// Groups are issued in order to ranks with room, at most max_staleness steps ahead of the one that
/// is taken next; a step takes the oldest, waits for the last of them, and what is in the making
/// goes on.
SimulatedStep simulate(const SimulatedJob& job, const SimulatedSetup& setup,
                       const SimulatedEngine& engine);

}  // namespace vernier
