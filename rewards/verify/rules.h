// The rules of correctness that a row of data can name in its `verify`.
//
//   final_digit    the text ends in "#d." with exactly one "#", and d is the answer (chain_sum)
//   last_integer   the last integer of the text is the answer, compared by value
//   exact          text and answer are equal but for white space at their ends
//
// Every rule takes time linear in the text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vernier {

struct Verdict {
  bool correct = false;
  std::string found;  // what the rule took for the answer; "" where it found none
};

/// Judges a response. Throws UsageError on an unknown rule, and on an answer that the rule cannot
/// compare with: a wrong verdict would hide the mistake in the data.
Verdict verify(const std::string& rule, std::string_view response_text, const std::string& answer);

/// Names of the rules, sorted.
const std::vector<std::string>& verify_rules();

}  // namespace vernier
