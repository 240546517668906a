#include "trainer/run_stream.h"

#include "core/base/log.h"
#include "core/base/text.h"

namespace vernier {

std::unique_ptr<GroupStream> make_stream(const RunConfig& config, const Trainee& trainee,
                                         const PromptSource& prompts, const Team& team,
                                         Engine& engine, RemoteDrawers* workers) {
  if (config.max_staleness == 0 && !config.cluster.workers.on()) return nullptr;
  if (config.max_staleness > 0 && config.old_logprobs == "recompute" &&
      config.algorithm->mismatch_keys().empty())
    log::warn(cat("rollout.max_staleness = ", config.max_staleness,
                  ": the loss takes tokens of older weights as the policy's own; "
                  "trainer.old_logprobs = \"rollout\", or algo.correction where the algorithm "
                  "has it, takes them as what they are"));
  std::function<int64_t(int64_t)> claim;
  if (!team.ranks.alone())
    claim = [&team](int64_t epoch) {
      const auto next = [&] { return team.ranks.count(cat("stream ", epoch), 1) - 1; };
      return team.asked_once(next, "next group");
    };
  const Model& model = trainee.model;
  const auto take = [&](int64_t first, int64_t count) {
    std::vector<Prompt> some = prompts.take(first, count);
    for (Prompt& prompt : some)
      render_prompt(prompt, config.data, trainee.chat_format, *trainee.model.tokenizer);
    return some;
  };
  return std::make_unique<GroupStream>(engine, *model.tokenizer, model.decoder->spec(),
                                       StreamConfig{.drawing = config.rollout,
                                                    .max_staleness = config.max_staleness,
                                                    .last_step = config.run.steps,
                                                    .seed = static_cast<uint64_t>(config.run.seed),
                                                    .ranks = team.drawing_ranks()},
                                       take, std::move(claim), workers);
}

}  // namespace vernier
