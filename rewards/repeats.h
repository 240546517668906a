// Repetition in a sequence of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace vernier {

/// White-space pieces of a text, in lower case (ASCII), each as a number: equal pieces are equal.
std::vector<int32_t> numbered_words(std::string_view text);

/// Distinct n-grams over n-grams; 1 where there are fewer than n tokens.
double distinct_share(std::span<const int32_t> tokens, size_t n);

/// LASER's detector (arXiv:2505.15612; hkust-nlp/Laser). n is 2 below 30 tokens, 3 below 100, else
/// 4. True where an n-gram, not n > 2 times the same token, occurs at least twice (three times from
/// 200 tokens on) with two neighbouring occurrences less than a third of the text apart, or where
/// any 2n-gram occurs twice. False of 2n tokens or fewer.
bool laser_repeats(std::span<const int32_t> tokens);

}  // namespace vernier
