// What choosing among n responses to a prompt comes to, over the prompts of an evaluation.
#pragma once

#include <span>
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
};

/// A vote among all responses of a prompt.
struct FilteredVote {
  Estimate majority, filtered;  // the same prompts, without the filter and with it
  double width = 0;             // tokens of a bucket
};

/// Judged responses as a choice sees them; those that the policy did not end are left out.
std::vector<Candidate> candidates_of(const Group& group);

/// The same of all prompts: a verdict may take its time, so each is asked for once.
struct PromptCandidates {
  int64_t index = 0;  // of the prompt
  std::vector<Candidate> all;
};
std::vector<PromptCandidates> candidates_of(std::span<const Group> groups);

std::vector<ChoiceOfK> choices_of(std::span<const PromptCandidates> prompts,
                                  std::span<const int64_t> ks);

/// A width of 0 is that of bucket_width().
FilteredVote filtered_vote_of(std::span<const PromptCandidates> prompts, double width);

}  // namespace vernier
