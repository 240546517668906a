// Answers questions by asking URLs: batches, retries, balance.
#pragma once

#include <memory>

#include "rewards/outside/http_client.h"
#include "rewards/outside/question.h"
#include "rewards/outside/url_shape.h"

namespace vernier {

struct UrlConfig {
  HttpClientConfig client;
  UrlShape shape;
  int64_t batch = 1;        // questions in a request, at most
  int64_t in_flight = 256;  // requests at a time
  int64_t retries = 4;      // of a request
};

class UrlService final : public Answerer {
 public:
  /// Throws UsageError as HttpClient does.
  explicit UrlService(UrlConfig config);
  ~UrlService() override;

  void ask(const QuestionPtr& question) override;
  std::map<std::string, int64_t> counters() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vernier
