#include "tools/scorer.h"

#include <utility>

#include "algos/explain.h"
#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "rollout/rows.h"
#include "trainer/update.h"

namespace vernier {

ScoringSetup load_scoring(const std::vector<std::string>& paths,
                          const std::vector<std::string>& overrides, bool only_read) {
  ConfigFile file = ConfigFile::load(paths, overrides);
  ScoringSetup out;
  out.config = std::make_unique<RunConfig>();
  RunConfig& config = *out.config;
  config.needs_model = false;
  config.scoring.only_read = only_read;
  file.bind([&](Binder& root) { config.bind(root); });
  // Where a transform may have to read a cut response again. A model from scratch has a tokenizer
  // too; a path that is not there leaves scoring without it.
  if (config.new_model)
    out.tokenizer = std::make_shared<Tokenizer>(
        Tokenizer::from_characters(config.new_model->characters, config.new_model->end_token));
  else if (std::error_code unreachable;
           !config.model_path.empty() && fs::exists(config.model_path, unreachable))
    out.tokenizer = std::make_shared<Tokenizer>(Tokenizer::open(config.model_path));
  if (out.tokenizer != nullptr)
    *config.decode = [tokenizer = out.tokenizer](std::span<const int32_t> ids) {
      return tokenizer->decode(ids);
    };
  return out;
}

Scorer::Scorer(RunConfig& config, bool explain, Sink sink)
    : config_(config),
      explain_(explain),
      keeps_sampled_(explain && config.chain.transforms_by_length()),
      sink_(std::move(sink)) {}

void Scorer::take(Group&& group, const std::string& path) {
  const bool by_step = config_.algorithm->credit_spans_step() || config_.chain.spans_step();
  if (step_ && *step_ != group.step) end_step();
  if (!step_) begin_step(group, path, by_step);
  if (!group.role.empty()) return measure(std::move(group), path);
  if (!begun_) config_.chain.learn(std::exchange(measured_, {}));
  begun_ = true;
  if (!by_step) finish();
  if (keeps_sampled_) {
    as_sampled_.push_back(group);
    config_.chain.score_as_sampled(as_sampled_.back());
  }
  config_.chain.score(group, explain_);
  config_.chain.observe(group, notes_);
  for (Response& response : group.responses) response.advantage = 0;
  open_.push_back(std::move(group));
}

void Scorer::end_step() {
  finish();
  config_.chain.learn(std::exchange(measured_, {}));  // of a step with nothing else
  config_.chain.learn(std::exchange(notes_, {}));
  last_ = step_;
  step_.reset();
}

void Scorer::begin_step(const Group& group, const std::string& path, bool by_step) {
  if (by_step && !steps_.insert(group.step).second)
    fail(path, ": group ", group.id, " of step ", group.step,
         " comes after other steps; advantages are normalised over a step: sort the rows by it");
  if (config_.chain.learns() && last_ && group.step < *last_)
    fail(path, ": group ", group.id, " of step ", group.step, " comes after step ", *last_,
         "; rewards learn from step to step: sort the rows by it");
  if (config_.chain.learns() && group.step > last_.value_or(0) + 1)
    log::warn(cat(path, ": step ", group.step, " comes after step ", last_.value_or(0),
                  ": what rewards learned in between is not known"));
  step_ = group.step;
  begun_ = false;
}

// What a sampling plan only measured comes before the groups of its step.
void Scorer::measure(Group&& group, const std::string& path) {
  if (begun_)
    fail(path, ": group ", group.id, " of step ", group.step, " has role \"", group.role,
         "\" and comes after groups that are trained on; rewards learn from it first");
  config_.chain.measure(group);
  config_.chain.observe(group, measured_);
  for (const Response& response : group.responses) hand_over(group, response, Json::array());
}

// What was more than the step took is known from the run alone.
void Scorer::drop(Group& group) const {
  const bool surplus = config_.filter.rule != "all" && group.dropped == "surplus";
  group.dropped = config_.filter.drop_cause(group, config_.algorithm->uses_channels());
  if (surplus && group.dropped.empty()) group.dropped = "surplus";
}

// Hands over the rows of the groups that are there, in the order in which they came.
void Scorer::finish() {
  config_.chain.finish_step(open_, notes_);
  config_.chain.finish_step(as_sampled_, notes_);
  for (Group& group : open_) drop(group);
  std::vector<Group> trained, as_sampled;
  std::vector<bool> dropped;
  for (size_t g = 0; g < open_.size(); ++g) {
    dropped.push_back(!open_[g].dropped.empty());
    if (dropped.back()) continue;
    trained.push_back(std::move(open_[g]));
    if (keeps_sampled_) as_sampled.push_back(std::move(as_sampled_[g]));
  }
  const std::vector<Json> steps = credit(trained, as_sampled);
  size_t next = 0, place = 0;
  for (size_t g = 0; g < open_.size(); ++g) {
    const Group& group = dropped[g] ? open_[g] : trained[next++];
    const Json left_out = Json::array({{{"step", "filter"}, {"dropped", group.dropped}}});
    for (const Response& response : group.responses)
      hand_over(group, response, dropped[g] || !explain_ ? left_out : steps[place++]);
  }
  open_.clear();
  as_sampled_.clear();
}

// Sets the advantages; gives the last steps of each response's explanation.
std::vector<Json> Scorer::credit(std::vector<Group>& groups,
                                 const std::vector<Group>& as_sampled) const {
  std::vector<Json> out;
  if (groups.empty()) return out;
  const Algorithm& algorithm = *config_.algorithm;
  const bool by_channel = algorithm.uses_channels();
  const GroupTable table = make_table(groups, by_channel);
  const std::vector<double> advantages = algorithm.credit(table).response;
  size_t place = 0;
  for (Group& group : groups)
    for (Response& response : group.responses) response.advantage = advantages[place++];
  if (!explain_) return out;
  const Json pushes =
      explain_pushes(algorithm, table, keeps_sampled_ ? make_table(as_sampled, by_channel) : table,
                     config_.chain.length_rewards());
  for (size_t g = 0; g < groups.size(); ++g) {
    const Json step = parse_json(algorithm.explain(table, static_cast<int64_t>(g)), "explain");
    for (size_t i = 0; i < groups[g].responses.size(); ++i) {
      Json push = {{"step", "push"}};
      push.update(pushes[out.size()]);
      out.push_back(Json::array({step, push}));
    }
  }
  return out;
}

// The row keeps every column it came with.
void Scorer::hand_over(const Group& group, const Response& response, const Json& last_steps) {
  ++responses_;
  Json row = parse_json(response.row, "row");
  const Json scored = rollout_row(group, response, !response.ids.empty(), "");
  for (const char* key :
       {"sample", "finish_reason", "num_tokens", "raw_num_tokens", "correct", "rewards",
        "reward_weights", "reward", "advantage", "transforms", "abstained", "masked"})
    row[key] = scored[key];
  if (config_.filter.rule != "all") row["dropped"] = scored["dropped"];
  // A cut changed these; a row that never had them does not get them.
  for (const char* key :
       {"response", "response_ids", "logprobs", "sampled_logprobs", "plain_logprobs", "forced",
        "assumed", "first_correct", "think", "answer_span", "versions"})
    if (row.contains(key) && scored.contains(key)) row[key] = scored[key];
  for (const char* key : {"left_out", "reward_components", "token_bonus"}) {
    row.erase(key);
    if (scored.contains(key)) row[key] = scored[key];
  }
  row.erase("explain");
  if (explain_) {
    Json steps = response.explain.empty() ? Json::array() : parse_json(response.explain, "explain");
    steps.insert(steps.end(), last_steps.begin(), last_steps.end());
    row["explain"] = steps;
  }
  sink_(group, response, std::move(row));
}

}  // namespace vernier
