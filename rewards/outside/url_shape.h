// The shapes of requests to rewards behind a URL, and of their replies.
//
//   vernier   rewards/outside/wire.h; with batch > 1 {"v":1,"groups":[request…]},
//   {"groups":[reply…]} openrlhf  {"query":[prompt + response…],"prompts":[…],"labels":[…]}
//             {"rewards":[…],"scores":[…],"extra_logs":{"name":[…]}}
//   slime     {"prompt","response","label"}, and the score, by itself or under reward_key
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rewards/outside/question.h"

namespace vernier {

using AskedPtr = std::shared_ptr<const Asked>;  // of the question too

struct UrlShape {
  std::string name = "vernier";
  bool batches = false;              // vernier: several questions in a request
  std::string reward_key = "score";  // slime: of a reply that is an object

  std::string request(const std::vector<AskedPtr>& asked) const;
  /// The outcomes of each question. Throws BadReply where none can be used.
  std::vector<std::vector<Outcome>> reply(std::string_view body,
                                          const std::vector<AskedPtr>& asked) const;
};

}  // namespace vernier
