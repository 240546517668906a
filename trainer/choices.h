// What choosing among n responses to a prompt comes to, over the prompts of an evaluation.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/metrics/selection.h"
#include "core/types.h"

namespace vernier {

/// By number of responses that are drawn, means over prompts with 95 % intervals (bootstrap over
/// prompts). Prompts with fewer judged responses are left out.
struct ChoiceOfK {
  int64_t k = 1, num_prompts = 0;
  Estimate pass;      // one of them is right: who knows the answer finds it
  Estimate majority;  // the most frequent answer is right; ties share
  Estimate shortest;  // the shortest response is right
  Estimate tokens;    // that all k take
  // By reward: the response that it scores highest is right; ties share. Over the prompts of which
  // it scores every judged response.
  std::vector<std::pair<std::string, Estimate>> best;
};

/// A vote among all responses of a prompt.
struct FilteredVote {
  Estimate majority, filtered;  // the same prompts, without the filter and with it
  Estimate random;              // as many buckets, but random ones
  double width = 0;             // tokens of a bucket
};

/// The judged responses to a prompt, and what rewards gave them.
struct PromptCandidates {
  int64_t index = 0;  // of the prompt
  std::vector<Candidate> all;
  // By reward, and "reward" for their sum where there are several: one a candidate; NaN where it
  // abstained.
  std::map<std::string, std::vector<double>> scores;
};
/// `candidates`: judge_group()'s.
PromptCandidates with_scores(const Group& group, std::vector<Candidate> candidates);

std::vector<ChoiceOfK> choices_of(std::span<const PromptCandidates> prompts,
                                  std::span<const int64_t> ks);

/// A width of 0 is that of bucket_width().
FilteredVote filtered_vote_of(std::span<const PromptCandidates> prompts, double width);

}  // namespace vernier
