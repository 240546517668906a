#include "rollout/endpoint/counters.h"

#include "core/base/text.h"

namespace vernier {
namespace {

void describe(std::string& out, const std::string& name, const char* type,
              const std::string& help) {
  out += cat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

void print(std::string& out, const char* name, const char* type, const char* help, int64_t value) {
  describe(out, cat("vernier_", name), type, help);
  out += cat("vernier_", name, " ", value, "\n");
}

}  // namespace

void Histogram::add(double seconds) {
  ++total_;
  sum_ += seconds;
  for (size_t i = 0; i < kBounds.size(); ++i)
    if (seconds <= kBounds[i]) {
      ++counts_[i];
      return;
    }
}

void Histogram::print(const std::string& name, const std::string& help, std::string& out) const {
  describe(out, name, "histogram", help);
  int64_t below = 0;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    below += counts_[i];
    out += cat(name, "_bucket{le=\"", kBounds[i], "\"} ", below, "\n");
  }
  out += cat(name, "_bucket{le=\"+Inf\"} ", total_, "\n", name, "_sum ", sum_, "\n", name,
             "_count ", total_, "\n");
}

void Counters::answered(const std::string& route, int status) {
  const std::lock_guard hold(lock_);
  ++answers_[{route, status}];
}

void Counters::rejected(const std::string& reason) {
  const std::lock_guard hold(lock_);
  ++rejections_[reason];
}

void Counters::cancelled() {
  const std::lock_guard hold(lock_);
  ++cancelled_;
}

void Counters::prompt_tokens(int64_t count) {
  const std::lock_guard hold(lock_);
  prompt_tokens_ += count;
}

void Counters::first_token(double seconds) {
  const std::lock_guard hold(lock_);
  first_token_.add(seconds);
}

void Counters::finished(double seconds) {
  const std::lock_guard hold(lock_);
  whole_.add(seconds);
}

std::string Counters::text(const ServiceStats& service, int64_t weight_version) const {
  const std::lock_guard hold(lock_);
  std::string out;
  describe(out, "vernier_requests_total", "counter", "Requests that were answered.");
  for (const auto& [key, count] : answers_)
    out += cat("vernier_requests_total{route=\"", key.first, "\",status=\"", key.second, "\"} ",
               count, "\n");
  describe(out, "vernier_rejected_total", "counter",
           "Requests that found no room, by what was full.");
  for (const auto& [reason, count] : rejections_)
    out += cat("vernier_rejected_total{reason=\"", reason, "\"} ", count, "\n");
  print(out, "cancelled_total", "counter", "Requests whose client left before the end.",
        cancelled_);
  print(out, "prompt_tokens_total", "counter", "Tokens of prompts.", prompt_tokens_);
  print(out, "generated_tokens_total", "counter", "Tokens that were drawn.", service.new_tokens);
  print(out, "computed_tokens_total", "counter", "Rows of all passes.", service.computed_tokens);
  print(out, "shared_tokens_total", "counter", "Prompt tokens that the cache held already.",
        service.shared_tokens);
  print(out, "passes_total", "counter", "Passes of the model.", service.passes);
  print(out, "preemptions_total", "counter", "Responses that gave up their pages for a time.",
        service.preemptions);
  print(out, "drafted_tokens_total", "counter", "Guessed tokens that were computed.",
        service.drafted_tokens);
  print(out, "accepted_tokens_total", "counter", "Guessed tokens that came true.",
        service.accepted_tokens);
  print(out, "responses_open", "gauge", "Responses that were taken in and have not ended.",
        service.open);
  print(out, "responses_running", "gauge", "Responses that hold memory.", service.running);
  print(out, "responses_waiting", "gauge", "Responses that wait for a place.", service.waiting);
  print(out, "weight_version", "gauge", "Version of the weights.", weight_version);
  first_token_.print("vernier_time_to_first_token_seconds",
                     "From a request to the first token of its answer.", out);
  whole_.print("vernier_request_seconds", "From a request to the last token of its answer.", out);
  return out;
}

}  // namespace vernier
