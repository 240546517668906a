// The answer in a response.
//
// Thinking is no answer: what counts stands behind the last </think>, and a text that opens <think>
// and does not close it has none.
//
// A box is \boxed{...}, \fbox{...}, or "\boxed 7", which goes up to white space or a dollar sign.
// The last box counts. Those before it belong to it where nothing but separators, dollar signs,
// spaces and "and" or "or" stands between: "$\boxed{1}$ and $\boxed{2}$" is one answer of two
// parts. A last box that is not closed is no answer, and neither is one before it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vernier::math {

/// The text behind the thinking; "" where thinking does not end.
std::string_view behind_thinking(std::string_view response);

/// The boxes that are the answer, in their order; empty where there is none. `any_box` is set where
/// a box is, closed or not.
std::vector<std::string> boxed_answers(std::string_view text, bool& any_box);

/// Where boxes end, at most `most` from the front.
std::vector<size_t> box_ends(std::string_view text, size_t most);

/// What may be the answer of a text without boxes, the likeliest first: what an answer phrase
/// names ("The answer is 1/2", "Answer: 3", "#### 18"), the last LaTeX, the last number.
std::vector<std::string> loose_answers(std::string_view text);

/// A reference answer without what wraps it: its box, the dollar signs around it, what goes before
/// "####".
std::string plain_gold(std::string_view gold);

}  // namespace vernier::math
