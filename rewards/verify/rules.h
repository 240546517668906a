// The rules of correctness that a row of data can name in its `verify`.
//
//   final_digit    the text ends in "#d." with exactly one "#", and d is the answer (chain_sum)
//   last_integer   the last integer of the text is the answer, compared by value
//   marked         what stands behind the last "#" of the text is the answer, but for white space
//                  and one of . ; ~ at its end (the task families with tiers)
//   last_line      the last line of the text is the answer, with the same exception
//   exact          text and answer are equal but for white space at their ends
//   math           the last box of the text is the answer, however it is written
//   (math/math_verify.h) math_lenient   the same, and without a box what "the answer is" names, the
//   last LaTeX, the last
//                  number
//   format_boxed   the text has a mathematical answer in \boxed{...} (math_format.h)
//   format_hash    the text has a "#"
//
// The last two need no answer: they are the positive flag of a run without ground truth, as DRPO
// and DOT need one beside the length surrogate (right means: the form is right).
//
// Every rule takes time linear in the text. An answer that math cannot compare with, as one that
// does not parse, is no mistake of a response: such a verdict is unverifiable, and judge.h has
// none.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vernier {

struct Verdict {
  bool correct = false;
  std::string found;          // what the rule took for the answer; "" where it found none
  bool unverifiable = false;  // the row's answer cannot be compared with; correct says nothing
  std::string reason = {};    // of rules that know one, in a few words
};

/// Judges a response. Throws UsageError on an unknown rule, and on an answer that the rule cannot
/// compare with: a wrong verdict would hide the mistake in the data.
Verdict verify(const std::string& rule, std::string_view response_text, const std::string& answer);

/// False for the rules that look at the form alone. Throws UsageError on an unknown rule.
bool needs_answer(const std::string& rule);

/// Bytes of the shortest prefix of the text that the rule calls right; none where it is never
/// right. last_integer tries the first 64 integers of the text and its end, math and math_lenient
/// the ends of the first 64 boxes and that of the text; the other rules look at the end only.
std::optional<size_t> first_correct(const std::string& rule, std::string_view response_text,
                                    const std::string& answer);

/// Names of the rules, sorted.
const std::vector<std::string>& verify_rules();

}  // namespace vernier
