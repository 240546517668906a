// A reward in a shared library, behind the C interface of rewards/plugin.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rewards/outside/question.h"

namespace vernier {

class PluginLibrary {
 public:
  /// Opens it and gives it its configuration, a JSON object. Throws UsageError, which names the
  /// library, where it is none, speaks another version, lacks a function, or refuses.
  PluginLibrary(const std::string& path, const std::string& config);
  ~PluginLibrary();
  PluginLibrary(const PluginLibrary&) = delete;
  PluginLibrary& operator=(const PluginLibrary&) = delete;

  /// One call at a time. Throws BadReply where the library gives a wrong count or throws.
  std::vector<Outcome> score(const Asked& asked);

 private:
  struct Functions;
  std::string path_;
  void* handle_ = nullptr;
  std::unique_ptr<Functions> functions_;
  void* self_ = nullptr;
};

}  // namespace vernier
