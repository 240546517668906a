// A library that scores the length of a text, or misbehaves as its configuration says: {"mode"}.
#include "rewards/plugin.h"

#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#ifndef PLUGIN_ABI
#define PLUGIN_ABI VERNIER_PLUGIN_ABI
#endif

namespace {
struct Plugin {
  std::string mode;
  int calls = 0;
};

std::string mode_of(const std::string& config) {
  const size_t key = config.find("\"mode\":\"");
  if (key == std::string::npos) return "";
  const size_t begin = key + std::strlen("\"mode\":\"");
  return config.substr(begin, config.find('"', begin) - begin);
}

int64_t misbehave(const std::string& mode, int64_t count, VernierScore* scores) {
  if (mode == "crash") std::raise(SIGSEGV);
  if (mode == "abort") std::raise(SIGABRT);
  if (mode == "loop")
    while (true) usleep(1000);
  if (mode == "slow") usleep(200'000);
  if (mode == "throw") throw std::runtime_error("out of ideas");
  if (mode == "nan") scores[0].value = std::nan("");
  if (mode == "few") return count - 1;
  if (mode == "none") return -1;
  if (mode == "unset") scores[count - 1].value = std::nan("");
  if (mode == "components") scores[0].num_components = 1000;
  if (mode == "abstain") std::memset(scores[0].abstain, 'a', sizeof scores[0].abstain);
  if (mode == "print") std::puts("a line on standard output");
  return count;
}
}  // namespace

uint32_t vernier_plugin_abi(void) { return PLUGIN_ABI; }

void* vernier_plugin_create(const char* config, char* error, size_t size) {
  const std::string mode = mode_of(config);
  if (mode == "refuse") {
    std::snprintf(error, size, "there is no mode %s", mode.c_str());
    return nullptr;
  }
  if (mode == "load") sleep(3600);
  return new Plugin{mode};
}

#ifndef PLUGIN_WITHOUT_SCORE
int64_t vernier_plugin_score(void* self, const VernierGroup* group, VernierScore* scores) {
  auto* plugin = static_cast<Plugin*>(self);
  ++plugin->calls;
  for (size_t i = 0; i < group->num_responses; ++i) {
    const VernierResponse& response = group->responses[i];
    VernierScore& score = scores[i];
    score.value = static_cast<double>(response.text_bytes);
    std::snprintf(score.components[0].name, sizeof score.components[0].name, "tokens");
    score.components[0].value = response.num_tokens;
    score.num_components = 1;
  }
  return misbehave(plugin->mode, static_cast<int64_t>(group->num_responses), scores);
}
#endif

void vernier_plugin_destroy(void* self) { delete static_cast<Plugin*>(self); }
