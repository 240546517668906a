// The verdict on a response by the rule of its row: one judge for rewards, transforms, evaluation.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/types.h"
#include "rewards/verify/rules.h"

namespace vernier {

/// True where the row has a rule, and the answer that the rule compares with.
bool has_rule(const Prompt& prompt);

/// The verdict: right where one of the row's answers is given; none where has_rule() is false or
/// the policy did not end the response: what is missing of it might have been the answer. Nor is
/// there one where the rule calls the answer of the row unverifiable; `why`, where it is given,
/// then says so, and is "" otherwise. Throws UsageError, naming the prompt, where rule or answer is
/// unusable.
std::optional<Verdict> judge(const Prompt& prompt, const Response& response,
                             std::string* why = nullptr);

/// first_correct() of the row's rule, by whichever of its answers is there first.
std::optional<size_t> first_correct(const Prompt& prompt, std::string_view response_text);

}  // namespace vernier
