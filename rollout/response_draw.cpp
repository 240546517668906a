#include "rollout/response_draw.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/base/errors.h"

namespace vernier {
namespace {

std::vector<int32_t> distinct(std::vector<int32_t> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

void insert(std::vector<int32_t>& sorted, int32_t id) {
  const auto place = std::lower_bound(sorted.begin(), sorted.end(), id);
  if (place == sorted.end() || *place != id) sorted.insert(place, id);
}

}  // namespace

DrawRules::DrawRules(const RolloutConfig& config, const Tokenizer& tokenizer, const ModelSpec& spec)
    : config_(config),
      tokenizer_(tokenizer),
      vocabulary_(spec.vocab_size),
      banned_(tokenizer.pad_id().value_or(-1)),
      penalizes_(config.sampling.repetition_penalty != 1.0),
      records_sampled_(config.records("sampled")),
      records_plain_(config.records("plain")),
      tags_(config, tokenizer),
      endings_(config_.ending, tags_.start, tags_.end, tokenizer) {
  check_ids(config, spec);
  if (tokenizer_.ends(banned_)) banned_ = -1;  // some models pad with their end token
}

std::shared_ptr<const DrawRules> RulesByLimit::at(int64_t limit) {
  std::shared_ptr<const DrawRules>& known = known_[limit];
  if (known != nullptr) return known;
  RolloutConfig drawing = config_;
  drawing.max_completion_length = limit;
  known = std::make_shared<const DrawRules>(drawing, tokenizer_, spec_);
  return known;
}

ResponseDraw::ResponseDraw(std::shared_ptr<const DrawRules> rules, const Prompt& prompt,
                           int64_t sample, int64_t limit, const Rng& rng)
    : rules_(std::move(rules)),
      prompt_(prompt),
      limit_(limit),
      rng_(rng),
      ending_(rules_->endings_.begin(prompt.ids)) {
  response_.sample = sample;
  if (rules_->penalizes_) seen_ = distinct(prompt.ids);
}

// The rules hear of every token again, none of which ended it.
void ResponseDraw::go_on(Response begun) {
  ensure(response_.ids.empty() && std::ssize(begun.ids) < limit_, "an unfinished response");
  response_ = std::move(begun);
  for (size_t t = 1; t <= response_.ids.size(); ++t) {
    const auto end = rules_->endings_.add(ending_, std::span(response_.ids).first(t));
    ensure(!end, "a response that has not ended");
  }
  if (rules_->penalizes_)
    for (const int32_t id : response_.ids) insert(seen_, id);
}

void ResponseDraw::draw(const float* logits) {
  const int32_t forced = rules_->endings_.forced(ending_);
  const Drawn drawn = forced >= 0 ? force(forced, logits) : sample(logits);
  check_finite(drawn);
  record(drawn);
  const RolloutConfig& config = rules_->config_;
  const double temperature = config.sampling.temperature;
  if (rules_->records_plain_)
    response_.plain_logprobs.push_back(
        temperature == 0 || temperature == 1
            ? drawn.logprob
            : kernels::token_logprob(logits, rules_->vocabulary_, drawn.id, 1.0));
  if (config.top_logprobs > 0)
    response_.top_logprobs.push_back(
        kernels::top_logprobs(logits, rules_->vocabulary_, config.top_logprobs, temperature));
  look_for_end();
}

kernels::device::SlotSampling ResponseDraw::slot() const {
  const SamplingParams& params = rules_->config_.sampling;
  return {.temperature = params.temperature,
          .top_p = params.top_p,
          .min_p = params.min_p,
          .top_k = static_cast<int32_t>(params.top_k),
          .banned = rules_->banned_,
          .key = rng_.key()};
}

void ResponseDraw::take(const Drawn& drawn, float plain) {
  check_finite(drawn);
  record(drawn);
  if (rules_->records_plain_) response_.plain_logprobs.push_back(plain);
  look_for_end();
}

void ResponseDraw::check_finite(const Drawn& drawn) const {
  if (std::isnan(drawn.logprob))
    fail_run("the model's logits are not finite at token ", response_.ids.size() + 1,
             " of a response to prompt ", prompt_.id, "; nothing can be drawn from them");
}

Drawn ResponseDraw::sample(const float* logits) const {
  thread_local std::vector<int32_t> scratch;
  return kernels::sample_token(logits, rules_->vocabulary_, rules_->config_.sampling,
                               rules_->banned_, rng_.uniform(response_.ids.size()), scratch, seen_);
}

// The end of the thinking, with the log-probability that the model gives it.
Drawn ResponseDraw::force(int32_t id, const float* logits) {
  response_.forced.push_back(static_cast<int32_t>(response_.ids.size()));
  response_.flags.emplace_back(kThinkingBudgetFlag);
  return {.id = id,
          .logprob = kernels::token_logprob(logits, rules_->vocabulary_, id,
                                            rules_->config_.sampling.temperature)};
}

void ResponseDraw::record(const Drawn& drawn) {
  response_.ids.push_back(drawn.id);
  response_.logprobs.push_back(drawn.logprob);
  if (rules_->records_sampled_) response_.sampled_logprobs.push_back(drawn.sampled);
  if (rules_->penalizes_) insert(seen_, drawn.id);
}

// The model's own end goes before every other.
void ResponseDraw::look_for_end() {
  const bool own = rules_->tokenizer_.ends(response_.ids.back());
  const std::optional<Endings::End> end = rules_->endings_.add(ending_, response_.ids);
  const bool full = std::ssize(response_.ids) >= limit_;
  if (own && (full || !rules_->config_.ignore_eos)) {
    response_.finish_reason = FinishReason::stop;
    ended_ = true;
    return;
  }
  response_.finish_reason = end ? end->reason : FinishReason::length;
  if (end && !end->flag.empty()) response_.flags.push_back(end->flag);
  ended_ = end || full;
}

void ResponseDraw::note_version(int64_t weight_version) {
  auto tokens = static_cast<int32_t>(response_.ids.size());
  for (const auto& [version, drawn] : response_.versions) tokens -= drawn;
  if (tokens == 0) return;
  if (!response_.versions.empty() && response_.versions.back().first == weight_version)
    response_.versions.back().second += tokens;
  else
    response_.versions.emplace_back(weight_version, tokens);
}

Response ResponseDraw::interrupt(int64_t weight_version) {
  ensure(!ended_, "a response that has not ended");
  note_version(weight_version);
  return std::move(response_);
}

Response ResponseDraw::finish(int64_t weight_version) {
  const Tokenizer& tokenizer = rules_->tokenizer_;
  response_.num_tokens = response_.raw_num_tokens = static_cast<int32_t>(response_.ids.size());
  response_.text = tokenizer.decode(response_.ids);
  note_version(weight_version);
  set_spans(response_, prompt_.ids, rules_->tags_);
  set_first_correct(response_, prompt_, tokenizer);
  return std::move(response_);
}

}  // namespace vernier
