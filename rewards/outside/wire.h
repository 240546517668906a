// Questions and answers as JSON.
//
//   request  {"v":1,"id","prompt","row":{},"responses":[{"sample","text","ids","num_tokens",
//             "finish_reason","think":[b,e],"answer":[b,e]}]}
//   reply    {"id","rewards":[{"score","components":{}} | {"abstain":"why"}]}    in the same order
//
// An abstention that is a failure, as where the reward's own code threw, says so by
// {"abstain":"why", "failed":"cause"}: it counts against max_failed_share then.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "rewards/outside/question.h"

namespace vernier {

constexpr int64_t kWireVersion = 1;

/// A reply that cannot be used; `cause` counts it.
class BadReply : public Error {
 public:
  BadReply(std::string cause, const std::string& detail)
      : Error(detail), cause_(std::move(cause)) {}
  const std::string& cause() const { return cause_; }

 private:
  std::string cause_;
};

/// One line, without its newline.
std::string request_text(const Asked& asked);
/// The same as a part of a larger request.
Json request_json(const Asked& asked);

/// The other side of it. Throws UsageError where it is not a request.
Asked read_request(std::string_view text);

/// Parses a reply. NaN and Infinity, which JSON does not have but Python writes, become null, so
/// that they are told from garbage. Throws BadReply.
Json parse_reply(std::string_view text);

/// The id that a reply names; "" where it names none.
std::string reply_id(const Json& reply);

/// The outcomes of one reply. Throws BadReply where all of it is unusable: no list, a wrong count,
/// another id or version.
std::vector<Outcome> read_reply(const Json& reply, const Asked& asked);

/// One score of a reply, as a number. What is not finite is a failure.
Outcome read_score(const Json& value);

/// `text` on one line, cut to what fits a message.
std::string excerpt(std::string_view text, size_t bytes = 120);

}  // namespace vernier
