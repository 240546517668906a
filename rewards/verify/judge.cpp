#include "rewards/verify/judge.h"

#include "core/base/errors.h"

namespace vernier {

bool has_rule(const Prompt& prompt) {
  return !prompt.verify.empty() && (!prompt.answer.empty() || !needs_answer(prompt.verify));
}

std::optional<Verdict> judge(const Prompt& prompt, const Response& response, std::string* why) {
  if (why != nullptr) why->clear();
  if (!has_rule(prompt) || !policy_ended(response)) return std::nullopt;
  Verdict verdict = placed(cat("prompt ", prompt.id),
                           [&] { return verify(prompt.verify, response.text, prompt.answer); });
  if (!verdict.unverifiable) return verdict;
  if (why != nullptr) *why = cat("unverifiable: ", verdict.reason);
  return std::nullopt;
}

}  // namespace vernier
