// score: what a configuration makes of stored rollouts. No model is needed.
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "algos/explain.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/weights/weights.h"
#include "rollout/rows.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "trainer/run_config.h"
#include "trainer/step.h"

namespace vernier {
namespace {

// The tokenizer of the configuration's model, where a transform may have to read a cut response
// again. A model from scratch has one too; a path that is not there leaves scoring without it.
std::shared_ptr<const Tokenizer> tokenizer_of(const RunConfig& config) {
  if (config.new_model)
    return std::make_shared<Tokenizer>(
        Tokenizer::from_characters(config.new_model->characters, config.new_model->end_token));
  if (config.model_path.empty() || !fs::exists(config.model_path)) return nullptr;
  return std::make_shared<Tokenizer>(Tokenizer::open(config.model_path));
}

}  // namespace

void score_command(const std::vector<std::string>& config_paths,
                   const std::vector<std::string>& overrides, const std::string& rollouts,
                   const std::string& out, bool explain) {
  ConfigFile file = ConfigFile::load(config_paths, overrides);
  const auto config = std::make_unique<RunConfig>();
  config->needs_model = false;
  file.bind([&](Binder& root) { config->bind(root); });
  const std::shared_ptr<const Tokenizer> tokenizer = tokenizer_of(*config);
  if (tokenizer != nullptr)
    *config->decode = [&](std::span<const int32_t> ids) { return tokenizer->decode(ids); };
  Output output(out);
  bool any = false;
  read_rollouts(rollouts, [&](Group&& group) {
    any = true;
    config->chain.score(group, explain);
    group.dropped = config->filter.drop_cause(group, config->algorithm->uses_channels());
    const std::vector<Group> one{std::move(group)};
    const GroupTable table = make_table(one, config->algorithm->uses_channels());
    const std::vector<double> advantages = config->algorithm->credit(table).response;
    const Json advantage_step =
        explain ? parse_json(config->algorithm->explain(table, 0), "explain") : Json();
    const Json pushes =
        explain ? explain_pushes(*config->algorithm, table, 0, config->chain.length_rewards())
                : Json();
    for (size_t i = 0; i < one[0].responses.size(); ++i) {
      Response response = one[0].responses[i];
      response.advantage = advantages[i];
      // The row keeps every column it came with.
      Json row = parse_json(response.row, "row");
      const Json scored = rollout_row(one[0], response, !response.ids.empty(), "");
      for (const char* key :
           {"sample", "finish_reason", "num_tokens", "raw_num_tokens", "correct", "rewards",
            "reward_weights", "reward", "advantage", "transforms", "abstained", "masked"})
        row[key] = scored[key];
      if (config->filter.rule != "all") row["dropped"] = scored["dropped"];
      // A cut changed these; a row that never had them does not get them.
      for (const char* key :
           {"response", "response_ids", "logprobs", "sampled_logprobs", "plain_logprobs", "forced",
            "first_correct", "think", "answer_span", "versions"})
        if (row.contains(key) && scored.contains(key)) row[key] = scored[key];
      row.erase("explain");
      if (explain) {
        Json steps = parse_json(response.explain, "explain");
        steps.push_back(advantage_step);
        Json push = {{"step", "push"}};
        push.update(pushes[i]);
        steps.push_back(push);
        row["explain"] = steps;
      }
      output.write(dump_json(row) + "\n");
    }
  });
  if (!any) fail(rollouts, ": has no row");
  output.commit();
}

}  // namespace vernier
