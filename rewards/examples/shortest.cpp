// Pays the shortest response of a group 1, the longest 0, and the others in between by rank.
//
//   c++ -shared -fPIC -O2 -I. -o shortest.so rewards/examples/shortest.cpp
//
// It compares the responses of a group, so its [[reward]] says needs_group = true.
#include <algorithm>
#include <cstdio>

#include "rewards/plugin.h"

namespace {

// Responses that are shorter than `one`, as a share of the others.
double share_of_shorter(const VernierGroup& group, const VernierResponse& one) {
  const auto shorter = std::count_if(
      group.responses, group.responses + group.num_responses,
      [&](const VernierResponse& other) { return other.num_tokens < one.num_tokens; });
  return static_cast<double>(shorter) / static_cast<double>(group.num_responses - 1);
}

struct Shortest {};

}  // namespace

uint32_t vernier_plugin_abi(void) { return VERNIER_PLUGIN_ABI; }

void* vernier_plugin_create(const char*, char*, size_t) { return new Shortest; }

int64_t vernier_plugin_score(void*, const VernierGroup* group, VernierScore* scores) {
  for (size_t i = 0; i < group->num_responses; ++i) {
    if (group->num_responses < 2) {
      std::snprintf(scores[i].abstain, sizeof scores[i].abstain, "nothing to compare with");
      continue;
    }
    scores[i].value = 1 - share_of_shorter(*group, group->responses[i]);
    std::snprintf(scores[i].components[0].name, sizeof scores[i].components[0].name, "tokens");
    scores[i].components[0].value = group->responses[i].num_tokens;
    scores[i].num_components = 1;
  }
  return static_cast<int64_t>(group->num_responses);
}

void vernier_plugin_destroy(void* self) { delete static_cast<Shortest*>(self); }
