// What it comes to to choose among several answers to one prompt. Lengths are in tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/metrics/statistics.h"

namespace vernier {

/// One of the answers.
struct Candidate {
  int64_t num_tokens = 0;
  std::string answer;  // in the form that equal answers share; "": it casts no vote
  bool correct = false;
  int64_t place = 0;         // among the responses to the prompt
  bool answer_known = true;  // else there is a verdict alone, and no vote says anything
};

/// Share of the draws of k from n answers, without replacement, that hold one of the `right` right
/// ones: 1 - C(n - right, k) / C(n, k). NaN for k > n. Chen et al., "Evaluating Large Language
/// Models Trained on Code", arXiv:2107.03374, equation 1.
double pass_at_k(int64_t n, int64_t right, int64_t k);

/// Mean over these draws of the value of whoever scores highest in each; equal scores share.
/// NaN for k > n.
double best_of_k(std::span<const double> scores, std::span<const double> values, int64_t k);

/// Share of right answers among the most frequent ones: 1, 0, or what ties share. 0 without votes,
/// NaN where an answer is not known; so are the votes below.
double majority(std::span<const Candidate> candidates);

/// The mean of that over all choices of k candidates, or where these are more than `draws` over as
/// many of them, which seed and `key` choose. NaN for k > n.
double majority_at_k(std::span<const Candidate> candidates, int64_t k, const Bootstrap& draws,
                     uint64_t key);

/// How answers are sorted by length before they vote.
struct LengthFilter {
  double width = 0;         // tokens of a bucket
  int64_t num_kept = 3;     // buckets that vote
  int64_t min_answers = 0;  // of a bucket; 0: max(3, n / 16). Smaller ones join a neighbour
};

/// Width of buckets over the lengths of all prompts: 2 IQR / n^(1/3), at least 1 (Freedman and
/// Diaconis, 1981).
double bucket_width(const std::vector<double>& lengths);

/// majority() among the answers of the buckets whose answers agree most (least Shannon entropy; the
/// larger bucket where equal). Wu et al., "When More is Less", arXiv:2502.07266, section 5; that
/// small buckets join the neighbour nearer the median is Vernier's: an answer that is alone in its
/// bucket agrees with itself, and would always vote.
double length_filtered_vote(std::span<const Candidate> candidates, const LengthFilter& filter);

/// The same with as many buckets taken at random, as its control: the mean over all choices of
/// them, or where these are more than `draws` over as many, which seed and `key` choose.
double random_bucket_vote(std::span<const Candidate> candidates, const LengthFilter& filter,
                          const Bootstrap& draws, uint64_t key);

}  // namespace vernier
