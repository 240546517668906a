#include "core/types.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/base/errors.h"

namespace vernier {
namespace {
constexpr std::array kNames = {"stop", "length", "deadline", "aborted"};
}

const char* name_of(FinishReason reason) { return kNames[static_cast<size_t>(reason)]; }

FinishReason finish_reason_from(const std::string& name, const std::string& where) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (name == kNames[i]) return static_cast<FinishReason>(i);
  fail(where, ": finish_reason '", name, "' is not one of stop, length, deadline, aborted");
}

int32_t drawn_tokens(const Response& response) {
  const auto& forced = response.forced;
  const auto past = std::lower_bound(forced.begin(), forced.end(), response.num_tokens);
  return response.num_tokens - static_cast<int32_t>(past - forced.begin());
}

double mean_logprob(const Response& response) {
  if (response.elsewhere) return response.mean_logprob_there;
  const int32_t drawn = drawn_tokens(response);
  if (response.logprobs.empty() || drawn == 0) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  auto forced = response.forced.begin();
  for (int32_t t = 0; t < response.num_tokens; ++t) {
    if (forced != response.forced.end() && *forced == t)
      ++forced;
    else
      sum += response.logprobs[static_cast<size_t>(t)];
  }
  return sum / drawn;
}

void keep_tokens(Response& response, int32_t tokens) {
  const auto cut = [&](auto& list) {
    list.resize(std::min(list.size(), static_cast<size_t>(tokens)));
  };
  cut(response.ids);
  cut(response.logprobs);
  cut(response.sampled_logprobs);
  cut(response.plain_logprobs);
  cut(response.token_bonus);
  for (auto* places : {&response.forced, &response.assumed})
    std::erase_if(*places, [&](int32_t place) { return place >= tokens; });
}

}  // namespace vernier
