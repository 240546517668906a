// What a reward asks of the draw: methods whose sampling plan is part of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vernier {

/// Parts that are 0 or empty are not asked for.
struct SamplingPlan {
  /// Every so many steps, the first one included, `monitor_prompts` prompts of the training data
  /// are drawn for before the step's own. Their groups have the role "monitor".
  int64_t monitor_every = 0, monitor_prompts = 0;

  /// Responses of the start policy to each prompt that Reward::lacks_reference(), drawn before the
  /// step's own. Their groups have the role "reference".
  int64_t reference_generations = 0;

  /// The first share of each group begins with this text. Its tokens are no part of a loss but for
  /// the first, which counts with log-probability ln 1/2, there and in the responses that were
  /// free.
  double forced_share = 0;
  std::string forced_text;

  /// Responses that go on from the thinking of others, cut short and closed by `exit_text`, with
  /// answers of at most `exit_tokens` tokens.
  ///   exits    one full response a prompt, and num_generations - 1 exits at places of its thinking
  ///            that are drawn evenly; the group is those in order of place, then the full one
  ///   budgets  num_generations thoughts a prompt, each cut at every budget, and `siblings` answers
  ///            from there. A thought's tokens are learned from once, in the first sibling at the
  ///            last budget; elsewhere they count as forced
  enum class Branches { none, exits, budgets };
  Branches branches = Branches::none;
  std::string exit_text;
  int64_t exit_tokens = 0, siblings = 0;
  std::vector<int64_t> budgets;

  /// Responses of a group that is trained on.
  int64_t group_size(int64_t num_generations) const {
    return branches == Branches::budgets
               ? num_generations * siblings * static_cast<int64_t>(budgets.size())
               : num_generations;
  }
  bool measures() const { return monitor_every > 0 || reference_generations > 0; }
};

}  // namespace vernier
