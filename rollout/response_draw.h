// One response in the making: from logits to the finished record.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "core/base/rng.h"
#include "core/kernels/device.h"
#include "core/kernels/sample.h"
#include "core/text/tokenizer.h"
#include "core/types.h"
#include "rollout/ending.h"
#include "rollout/rollout_config.h"
#include "rollout/spans.h"

namespace vernier {

/// How responses are drawn, checked against a model. Shared by all that are drawn alike.
class DrawRules {
 public:
  /// Throws UsageError on a tag that is no token, an id that the model does not have, and stop
  /// texts that cannot be followed in this tokenizer's text.
  DrawRules(const RolloutConfig& config, const Tokenizer& tokenizer, const ModelSpec& spec);
  DrawRules(const DrawRules&) = delete;
  DrawRules& operator=(const DrawRules&) = delete;

  const RolloutConfig& config() const { return config_; }

 private:
  friend class ResponseDraw;
  RolloutConfig config_;
  const Tokenizer& tokenizer_;
  int64_t vocabulary_;
  int32_t banned_;  // the pad token is never drawn; -1: none
  bool penalizes_, records_sampled_, records_plain_;
  ThinkTags tags_;
  Endings endings_;
};

/// Rules that differ in the limit of a response alone, each made once. Tokenizer and spec live as
/// long.
class RulesByLimit {
 public:
  RulesByLimit(const RolloutConfig& config, const Tokenizer& tokenizer, const ModelSpec& spec)
      : config_(config), tokenizer_(tokenizer), spec_(spec) {}

  /// Of responses of up to `limit` tokens.
  std::shared_ptr<const DrawRules> at(int64_t limit);

 private:
  RolloutConfig config_;
  const Tokenizer& tokenizer_;
  const ModelSpec& spec_;
  std::map<int64_t, std::shared_ptr<const DrawRules>> known_;
};

/// A response that was interrupted, with what is drawn of it, or one that has ended.
struct Begun {
  Response response;
  bool ended = false;
};

/// Tokens are drawn one after the other; different responses on different threads.
class ResponseDraw {
 public:
  /// Sample number `sample` of a prompt: up to `limit` tokens, random numbers from `rng` by place.
  ResponseDraw(std::shared_ptr<const DrawRules> rules, const Prompt& prompt, int64_t sample,
               int64_t limit, const Rng& rng);
  /// Goes on with what interrupt() gave.
  void go_on(Response begun);

  /// Draws the next token from logits [V] of the model. Throws RunError where they are not finite.
  void draw(const float* logits);

  /// How a GPU draws its tokens, by the number that each has in the response; and takes in the next
  /// one that it drew, with its log-probability under the logits as they are. The configuration
  /// passed check_device_draw(). Throws as draw().
  kernels::device::SlotSampling slot() const;
  void take(const Drawn& drawn, float plain);

  int64_t limit() const { return limit_; }
  bool ended() const { return ended_; }
  const Response& response() const { return response_; }

  /// The record of a response that has ended; its newest tokens, those that came since it began or
  /// went on, were drawn with these weights.
  Response finish(int64_t weight_version);
  /// The response as it is, which has not ended.
  Response interrupt(int64_t weight_version);

 private:
  Drawn sample(const float* logits) const;
  Drawn force(int32_t id, const float* logits);
  void check_finite(const Drawn& drawn) const;
  void record(const Drawn& drawn);
  void look_for_end();
  void note_version(int64_t weight_version);

  std::shared_ptr<const DrawRules> rules_;
  const Prompt& prompt_;
  int64_t limit_;
  Rng rng_;
  Response response_;
  Endings::State ending_;
  std::vector<int32_t> seen_;  // ids of prompt and response in rising order, each once; if wanted
  bool ended_ = false;
};

}  // namespace vernier
