#include "rewards/verify/judge.h"

#include "core/base/errors.h"

namespace vernier {

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
  Verdict verdict = placed(cat("prompt ", prompt.id),
                           [&] { return verify(prompt.verify, response.text, prompt.answer); });
  if (!verdict.unverifiable) return verdict;
  if (why != nullptr) *why = cat("unverifiable: ", verdict.reason);
  return std::nullopt;
}

}  // namespace vernier
