#include "rewards/outside/plugin_library.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/errors.h"
#include "rewards/outside/wire.h"
#include "rewards/plugin.h"

namespace vernier {
namespace {

template <class Function>
Function* find(void* handle, const std::string& path, const char* name) {
  void* found = ::dlsym(handle, name);
  if (found == nullptr) fail(path, ": has no function ", name, " (rewards/plugin.h lists them)");
  return reinterpret_cast<Function*>(found);
}

// A field of fixed size, which need not have its NUL byte.
template <size_t Size>
std::string text_of(const char (&field)[Size]) {
  return excerpt(std::string_view(field, ::strnlen(field, Size)), Size);
}

VernierResponse plain(const AskedResponse& one) {
  return {.sample = one.sample,
          .text = one.text.c_str(),
          .text_bytes = one.text.size(),
          .ids = one.ids.data(),
          .num_ids = one.ids.size(),
          .num_tokens = one.num_tokens,
          .finish_reason = one.finish_reason.c_str(),
          .think = {one.think.begin, one.think.end},
          .answer = {one.answer.begin, one.answer.end}};
}

Outcome outcome_of(const VernierScore& given) {
  Outcome out;
  out.score.abstain = text_of(given.abstain);
  if (!out.score.abstain.empty()) return out;
  if (!std::isfinite(given.value)) return failed("nan", "the score is not a finite number");
  out.score.value = given.value;
  if (given.num_components > VERNIER_PLUGIN_COMPONENTS)
    return failed("garbage",
                  cat(given.num_components, " components, more than ", VERNIER_PLUGIN_COMPONENTS));
  for (size_t i = 0; i < given.num_components; ++i)
    if (std::isfinite(given.components[i].value))
      out.score.components.emplace_back(text_of(given.components[i].name),
                                        given.components[i].value);
  return out;
}

}  // namespace

struct PluginLibrary::Functions {
  decltype(vernier_plugin_score)* score;
  decltype(vernier_plugin_destroy)* destroy;
};

PluginLibrary::PluginLibrary(const std::string& path, const std::string& config) : path_(path) {
  struct stat file = {};
  if (::stat(path.c_str(), &file) != 0) fail(path, ": ", std::strerror(errno));
  if ((file.st_mode & S_IWOTH) != 0)
    fail(path, ": everybody may write to it, so it may hold anybody's code; chmod o-w it");
  // A name without a slash would be looked up elsewhere.
  const std::string place = path.find('/') == std::string::npos ? cat("./", path) : path;
  handle_ = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) fail(path, ": not a library that can be opened: ", ::dlerror());
  const auto abi = find<decltype(vernier_plugin_abi)>(handle_, path, "vernier_plugin_abi")();
  if (abi != VERNIER_PLUGIN_ABI)
    fail(path, ": made for version ", abi, " of rewards/plugin.h, this is version ",
         VERNIER_PLUGIN_ABI, "; compile it again");
  const auto create = find<decltype(vernier_plugin_create)>(handle_, path, "vernier_plugin_create");
  functions_ = std::make_unique<Functions>(
      Functions{find<decltype(vernier_plugin_score)>(handle_, path, "vernier_plugin_score"),
                find<decltype(vernier_plugin_destroy)>(handle_, path, "vernier_plugin_destroy")});
  std::array<char, 1024> error = {};
  try {
    self_ = create(config.c_str(), error.data(), error.size());
  } catch (const std::exception& problem) {
    fail(path, ": vernier_plugin_create threw: ", problem.what());
  } catch (...) {
    fail(path, ": vernier_plugin_create threw");
  }
  error.back() = 0;
  if (self_ == nullptr)
    fail(path, ": refuses its config: ", error[0] == 0 ? "without a reason" : error.data());
}

PluginLibrary::~PluginLibrary() {
  try {
    functions_->destroy(self_);
  } catch (...) {
    return;  // it is in no state to be unloaded
  }
  ::dlclose(handle_);
}

std::vector<Outcome> PluginLibrary::score(const Asked& asked) {
  std::vector<VernierResponse> responses;
  for (const AskedResponse& one : asked.responses) responses.push_back(plain(one));
  const VernierGroup group = {.id = asked.id.c_str(),
                              .prompt = asked.prompt.c_str(),
                              .prompt_bytes = asked.prompt.size(),
                              .row = asked.row.c_str(),
                              .row_bytes = asked.row.size(),
                              .responses = responses.data(),
                              .num_responses = responses.size()};
  std::vector<VernierScore> scores(responses.size());
  for (VernierScore& score : scores) score.value = std::numeric_limits<double>::quiet_NaN();
  int64_t count = 0;
  try {
    count = functions_->score(self_, &group, scores.data());
  } catch (const std::exception& problem) {
    throw BadReply("threw", cat(path_, ": ", problem.what()));
  } catch (...) {
    throw BadReply("threw", path_);
  }
  if (count != static_cast<int64_t>(responses.size()))
    throw BadReply("count",
                   cat(path_, ": ", count, " scores for ", responses.size(), " responses"));
  std::vector<Outcome> out;
  for (const VernierScore& score : scores) out.push_back(outcome_of(score));
  return out;
}

}  // namespace vernier
