#include "rewards/verify/judge.h"

#include <utility>

#include "core/base/errors.h"

namespace vernier {
namespace {

// Right by one of the answers, else unverifiable by one, else wrong.
Verdict verdict_on(const Prompt& prompt, std::string_view text) {
  Verdict out = verify(prompt.verify, text, prompt.answer);
  for (size_t i = 0; i < prompt.other_answers.size() && !out.correct; ++i) {
    Verdict other = verify(prompt.verify, text, prompt.other_answers[i]);
    if (other.correct || (other.unverifiable && !out.unverifiable)) out = std::move(other);
  }
  return out;
}

}  // namespace

bool has_rule(const Prompt& prompt) {
  return !prompt.verify.empty() && (!prompt.answer.empty() || !needs_answer(prompt.verify));
}

std::optional<Verdict> judge(const Prompt& prompt, const Response& response, std::string* why) {
  if (why != nullptr) why->clear();
  if (!has_rule(prompt) || !policy_ended(response)) return std::nullopt;
  // A response that never ended its thinking has given no answer, whatever stands in the thinking.
  const bool only_thinks = response.think.begin >= 0 && response.answer_span.begin >= 0 &&
                           response.answer_span.begin == response.answer_span.end;
  if (only_thinks && prompt.verify.starts_with("math"))
    return Verdict{.correct = false,
                   .found = "",
                   .unverifiable = false,
                   .reason = "the thinking never ends, or nothing follows it"};
  Verdict verdict =
      placed(cat("prompt ", prompt.id), [&] { return verdict_on(prompt, response.text); });
  if (!verdict.unverifiable) return verdict;
  if (why != nullptr) *why = cat("unverifiable: ", verdict.reason);
  return std::nullopt;
}

std::optional<size_t> first_correct(const Prompt& prompt, std::string_view response_text) {
  std::optional<size_t> out = first_correct(prompt.verify, response_text, prompt.answer);
  for (const std::string& other : prompt.other_answers) {
    const std::optional<size_t> end = first_correct(prompt.verify, response_text, other);
    if (end && (!out || *end < *out)) out = end;
  }
  return out;
}

}  // namespace vernier
