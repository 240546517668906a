// What flows through Vernier: prompts, responses, groups. No tensor, no framework.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vernier {

/// Token ids of a half-open range [begin, end) of a response; begin < 0 where there is none.
struct TokenSpan {
  int32_t begin = -1, end = -1;
};

/// Why a response ended. Only `stop` and `length` may feed a length statistic: the other two say
/// something about the machine, not about the policy.
enum class FinishReason { stop, length, deadline, aborted };

const char* name_of(FinishReason reason);
/// Throws UsageError on an unknown name; `where` opens the message.
FinishReason finish_reason_from(const std::string& name, const std::string& where);

/// One question.
struct Prompt {
  std::string id;            // the row's id, or its place in the source
  int64_t index = 0;         // place in the source; part of the random key of its samples
  std::string text;          // what the model is shown, chat format included
  std::vector<int32_t> ids;  // token ids of `text`
  std::string answer;        // ground truth; "" where the row has none
  std::vector<std::string> other_answers;  // what counts as right as well
  std::string verify;  // rule of correctness: final_digit, last_integer, exact; "" for none
  std::string task;    // task family, or data_source of the row
  std::optional<double> difficulty;
  std::optional<int64_t> max_completion_length;  // the row's own limit, at most the configured one
  bool is_chat = false;  // `text` is a JSON list of messages until it is rendered
  int32_t source = 0;    // place in [[data.source]]
  // Columns that a length study keeps with every response, as JSON; "" where the row has none.
  std::string round, baseline, target_length;
  std::string row;  // the whole row as JSON, for rewards that read other columns
};

/// One named part of a reward. An abstention carries its reason and no value.
struct RewardPart {
  std::string name;
  double value = 0;
  double weight = 1;
  std::string abstained;  // reason; "" where the value counts
  // Named numbers beside the value, for metrics and rows; no part of the sum.
  std::vector<std::pair<std::string, double>> components = {};
};

/// Where a response goes on from the thinking of another, by the group's sampling plan.
struct Branch {
  int32_t thought = -1;  // number of the thought in the group; -1: of no branch
  int32_t exit = -1;     // number of the place where it was left, in order
  int32_t cut = -1;      // tokens of the thought that it keeps
  bool operator==(const Branch&) const = default;
};

/// One response, from the first token to its advantage.
struct Response {
  int64_t sample = 0;  // place in the group
  std::string text;
  std::vector<int32_t> ids;     // end token included
  std::vector<float> logprobs;  // of each drawn token, natural logarithm
  // The same under the distribution that was drawn from, and under the model itself (temperature
  // 1); where they were asked for. A forced token was certain: 0 in the first.
  std::vector<float> sampled_logprobs, plain_logprobs;
  // The most probable tokens of each place, the first one first; where they were asked for.
  std::vector<std::vector<std::pair<int32_t, float>>> top_logprobs;
  std::vector<int32_t> forced;  // places of tokens that were not drawn, in order: no part of a loss
  // Places, in order, whose logprobs are the sampling plan's: there they stand for the
  // log-probability under the policy at the start of the step.
  std::vector<int32_t> assumed;
  Branch branch;
  FinishReason finish_reason = FinishReason::stop;
  // What steered or ended it: "thinking_budget", "repetition", "stop_token:ID", "stop:TEXT".
  std::vector<std::string> flags;
  int32_t num_tokens = 0;      // that count for loss and length; after any cut
  int32_t raw_num_tokens = 0;  // as generated
  TokenSpan think, answer_span;
  std::optional<int32_t> first_correct;  // tokens of the shortest prefix that is right
  std::optional<bool> correct;           // verdict of the row's rule; none where there is no rule
  std::optional<bool> sampled_correct;   // the verdict before any transform
  std::vector<std::pair<int64_t, int32_t>> versions;  // weight version, tokens drawn with it

  std::vector<RewardPart> rewards;
  std::optional<double> reward;  // weighted sum; none as soon as one part abstains
  double advantage = 0;
  // Of each drawn token, where the estimator tells tokens apart; empty: all have `advantage`.
  std::vector<float> token_advantages;
  // What rewards add to the advantage of each of num_tokens; empty: nothing.
  std::vector<float> token_bonus;
  std::vector<std::string> transforms;  // what changed it, in order
  bool masked = false;                  // no token of it enters the loss
  // Left out by a transform: advantage 0, and no part in a statistic of rewards or verdicts; with
  // left_out_in_batch its tokens still count in the loss's normalisers.
  bool left_out = false, left_out_in_batch = false;
  // Where several ranks share a step: only the numbers of it are here, its text and all that is
  // listed token by token are on the rank that drew it; with the mean of its log-probabilities.
  bool elsewhere = false;
  double mean_logprob_there = 0;
  std::string explain;  // steps of the sum as a JSON list; filled on request
  std::string row;      // the stored row that it was read from; "" for a new one
};

/// True where the policy ended the response itself or used up its tokens. A deadline or an abort
/// says something about the machine: such a response has no verdict, no reward, and no part in a
/// statistic of lengths.
inline bool policy_ended(const Response& response) {
  return response.finish_reason == FinishReason::stop ||
         response.finish_reason == FinishReason::length;
}

/// Tokens of the first num_tokens that the policy drew: those that a loss may hold.
int32_t drawn_tokens(const Response& response);

/// Mean log-probability of these tokens as the engine recorded them; NaN where it recorded none.
double mean_logprob(const Response& response);

/// Keeps the first `tokens` of everything that is listed token by token.
void keep_tokens(Response& response, int32_t tokens);

/// All responses to one prompt.
struct Group {
  int64_t id = 0;  // place in the step
  int64_t step = 0;
  Prompt prompt;
  std::vector<Response> responses;
  std::string dropped;  // why the step does not train on it; "" where it does
  // What it was drawn for: "" to be trained on; "monitor", "reference": to be measured alone.
  std::string role;
  // Reward of the greedy response to the prompt, where one was drawn; NaN where it has none.
  std::optional<double> greedy_reward;
  int64_t rank = 0;  // that drew it
};

}  // namespace vernier
