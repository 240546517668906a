// plan: memory by kind and phase, of a process or of a rank.
#include <algorithm>
#include <cstdio>

#include "core/base/text.h"
#include "tools/plan_config.h"

namespace vernier {

namespace {

template <class Body>
void for_phases(const MemoryPlan& memory, const Body& body) {
  for (size_t phase = 0; phase < kPhaseNames.size(); ++phase)
    if (memory.has[phase]) body(phase);
}

}  // namespace

std::string megabytes(int64_t bytes) { return fixed(static_cast<double>(bytes) / (1 << 20), 0); }

void print_kinds(const MemoryPlan& memory) {
  std::printf("%-32s", "memory, MB");
  for_phases(memory, [](size_t phase) {
    std::string name = kPhaseNames[phase];
    std::replace(name.begin(), name.end(), '_', ' ');
    std::printf("%11s", name.c_str());
  });
  for (const MemoryKind& kind : memory.kinds) {
    std::printf("\n  %-30s", kind.name.c_str());
    for_phases(memory,
               [&](size_t phase) { std::printf("%11s", megabytes(kind.bytes[phase]).c_str()); });
  }
  std::printf("\n  %-30s", "all");
  for_phases(memory, [&](size_t phase) {
    std::printf("%11s", megabytes(memory.of(static_cast<Phase>(phase))).c_str());
  });
  std::printf("\n");
}

void print_fit(const MemoryPlan& memory, int64_t budget) {
  const int64_t peak = memory.peak();
  std::printf("\n%s MB are needed, %s given: %s\n", megabytes(peak).c_str(),
              megabytes(budget).c_str(), peak <= budget ? "it fits" : "it does not fit");
  if (memory.cache_pages < memory.cache_pages_wanted)
    std::printf(
        "the key-value cache has room for %.0f %% of the responses that may run, at their "
        "longest\n",
        100.0 * static_cast<double>(memory.cache_pages) /
            static_cast<double>(memory.cache_pages_wanted));
}

Json kinds_json(const MemoryPlan& memory) {
  Json kinds = Json::array();
  for (const MemoryKind& kind : memory.kinds) {
    Json row = {{"kind", kind.name}};
    for_phases(memory,
               [&](size_t phase) { row[cat(kPhaseNames[phase], "_bytes")] = kind.bytes[phase]; });
    kinds.push_back(row);
  }
  return kinds;
}

Json peaks_json(const MemoryPlan& memory) {
  Json peaks = Json::object();
  for_phases(memory, [&](size_t phase) {
    peaks[kPhaseNames[phase]] = memory.of(static_cast<Phase>(phase));
  });
  return peaks;
}

}  // namespace vernier
