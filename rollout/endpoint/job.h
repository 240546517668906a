// One request for completions, from its body to its last byte.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/base/clock.h"
#include "rollout/endpoint/answer.h"
#include "rollout/endpoint/api_error.h"
#include "rollout/endpoint/endpoint.h"

namespace vernier {

/// Belongs to the endpoint's thread, to which those of the server and of the engine post.
class Job : public std::enable_shared_from_this<Job> {
 public:
  Job(Endpoint& endpoint, std::string route, std::shared_ptr<Exchange> exchange);

  void start(const std::string& body);
  /// Nobody waits for it any more.
  void leave();

 private:
  void submit(const std::string& body);
  std::vector<Prompt> prompts(const ApiRequest& request) const;
  RolloutConfig rollout(const ApiRequest& request, const std::vector<Prompt>& prompts) const;
  std::shared_ptr<const DrawRules> rules(const RolloutConfig& config) const;
  void hear(const News& progress);
  void take_in(const News& progress);
  void finish();
  void refuse(int status, const std::string& message, const std::string& param = "",
              const std::string& code = "");
  void fail(Failure failure, const std::string& message);

  Endpoint& endpoint_;
  const std::string route_;
  std::shared_ptr<Exchange> exchange_;
  const Clock clock_;
  std::optional<Answer> answer_;
  std::optional<int64_t> number_;  // of the service
  bool stream_ = false, begun_ = false, heard_ = false, over_ = false;
};

}  // namespace vernier
