// prompts: what a configuration or a task family trains on, or is evaluated on, as rows of data.
#include "core/base/config.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "rollout/prompts.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "trainer/run_config.h"

namespace vernier {
namespace {

// The columns that a data file of these prompts would have.
Json data_row(const Prompt& prompt) {
  Json row =
      prompt.row.empty() ? Json::object() : parse_json(prompt.row, cat("prompt ", prompt.id));
  row["id"] = prompt.id;
  row["prompt"] =
      prompt.is_chat ? parse_json(prompt.text, cat("prompt ", prompt.id)) : Json(prompt.text);
  if (!prompt.verify.empty()) row["answer"] = prompt.answer;
  if (!prompt.other_answers.empty()) row["other_answers"] = prompt.other_answers;
  if (!prompt.verify.empty()) row["verify"] = prompt.verify;
  if (!prompt.task.empty()) row["task"] = prompt.task;
  if (prompt.difficulty) row["difficulty"] = *prompt.difficulty;
  return row;
}

// open-thought/reasoning-gym: question, answer, metadata.
Json gym_row(const Prompt& prompt) {
  Json metadata = {{"source_dataset", prompt.task}, {"source_index", prompt.index}};
  if (prompt.difficulty) metadata["difficulty"] = {{"length", *prompt.difficulty}};
  const Json columns = parse_json(prompt.row.empty() ? "{}" : prompt.row, prompt.id);
  for (const auto& [key, value] : columns.items()) metadata[key] = value;
  return {{"question", prompt.text}, {"answer", prompt.answer}, {"metadata", metadata}};
}

struct Source {
  DataConfig data;
  RunSection run;
};

Source read_source(const PromptsOptions& options) {
  Source out;
  if (options.configs.empty() == options.task.empty())
    fail("prompts: give either a configuration or --task");
  if (options.task.empty()) {
    RunConfig config;
    ConfigFile file = ConfigFile::load(options.configs, options.overrides);
    file.bind([&](Binder& root) { config.bind(root); });
    out.data = std::move(config.data);
    out.run = config.run;
    return out;
  }
  for (const std::string& one : options.overrides)
    if (one.starts_with("data.task=")) fail("prompts: --set ", one, ": --task stands for it");
  std::vector<std::string> overrides = {cat("data.task=\"", options.task, '"')};
  if (options.eval) overrides.push_back(cat("data.eval_prompts=", options.from + options.count));
  overrides.insert(overrides.end(), options.overrides.begin(), options.overrides.end());
  ConfigFile file = ConfigFile::parse("", "prompts", overrides);
  file.bind([&](Binder& root) {
    root.table("run",
               [&](Binder& own) { own.number("seed", out.run.seed, 0, int64_t{1} << 53, ""); });
    root.table("data", [&](Binder& own) { out.data.bind(own); });
  });
  return out;
}

}  // namespace

void prompts_command(const PromptsOptions& options) {
  const Source source = read_source(options);
  Output output(options.out);
  const auto seed = static_cast<uint64_t>(source.run.seed);
  if (options.demonstrations) {
    if (!source.data.has_demonstrations()) fail("prompts: --demonstrations: data.task has none");
    if (options.eval) fail("prompts: --demonstrations are of training, not of --eval");
    if (options.shape != "vernier")
      fail("prompts: --shape ", options.shape,
           ": is of questions and answers, not of --demonstrations");
    for (int64_t i = options.from; i < options.from + options.count; ++i) {
      const Demonstration one = source.data.demonstrate(seed, i, 0);
      output.write(
          dump_json(
              {{"prompt", one.prompt}, {"demonstration", one.response}, {"style", one.style}}) +
          "\n");
    }
    return output.commit();
  }
  const std::unique_ptr<PromptSource> prompts =
      options.eval ? evaluation_prompts(source.data) : training_prompts(source.data, seed);
  const int64_t end = options.from + options.count;
  if (options.eval && end > prompts->size())
    fail("prompts: --from ", options.from, " --count ", options.count, ": an evaluation here has ",
         prompts->size(), " prompts (data.eval_prompts, or the rows of data.eval)");
  constexpr int64_t kBlock = 256;
  for (int64_t i = options.from; i < end; i += kBlock)
    for (const Prompt& prompt : prompts->take(i, std::min(kBlock, end - i)))
      output.write(
          dump_json(options.shape == "reasoning_gym" ? gym_row(prompt) : data_row(prompt)) + "\n");
  output.commit();
}

}  // namespace vernier
