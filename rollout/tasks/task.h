// Synthetic task families: prompts with an exact answer, deterministic per seed and index.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/base/config.h"
#include "core/base/registry.h"
#include "core/types.h"

namespace vernier {

/// A prompt with a response to imitate.
struct Demonstration {
  std::string prompt, response;
  std::string style;  // which way of answering it shows
};

/// One family. A value of functions: nothing to inherit.
struct Task {
  static constexpr const char* kKind = "task";

  /// Prompt `index` of a stream; `seed` names the stream. Text is without chat format.
  std::function<Prompt(uint64_t seed, int64_t index)> prompt;

  /// Difficulties of its prompts; both 0 where it has no scale.
  int64_t easiest = 0, hardest = 0;

  /// Demonstration `index` for the SFT warm start, difficulty at most `hardest` (0: any, else in
  /// [easiest, hardest]). Empty where the family has none.
  std::function<Demonstration(uint64_t seed, int64_t index, int64_t hardest)> demonstrate;
};

using TaskRegistry = Registry<Task, Binder&>;

}  // namespace vernier
