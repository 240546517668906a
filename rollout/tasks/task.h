// Synthetic task families: prompts with an exact answer, deterministic per seed and index.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/base/registry.h"
#include "core/types.h"

namespace vernier {

/// A prompt with a response to imitate.
struct Demonstration {
  std::string prompt, response;
  std::string style;  // which way of answering it shows
};

/// Which instances a stream may have, in families that part them by a hash of the instance.
enum class Split { train, test };

/// Prompt `index` of the stream that `seed` names.
struct PromptPlace {
  uint64_t seed = 0;
  int64_t index = 0;
  Split split = Split::train;
};

/// Lengths of instances, in the family's unit; both ends belong to it.
struct Tier {
  int64_t shortest = 0, longest = 0;
};

/// One family. A value of functions: nothing to inherit.
struct Task {
  static constexpr const char* kKind = "task";

  /// Text is without chat format.
  std::function<Prompt(const PromptPlace& place)> prompt;

  /// Difficulties of its training prompts; both 0 where it has no scale.
  int64_t easiest = 0, hardest = 0;

  /// Demonstration `index` for the SFT warm start, difficulty at most `hardest` (0: any, else in
  /// [easiest, hardest]). Empty where the family has none.
  std::function<Demonstration(uint64_t seed, int64_t index, int64_t hardest)> demonstrate;

  /// S, M and L, with the unit that they count; empty where the family has none.
  std::vector<Tier> tiers;
  std::string unit;
};

using TaskRegistry = Registry<Task, Binder&>;

}  // namespace vernier
