// generate: responses of a model to prompts, as rollout rows.
#include "core/base/clock.h"
#include "core/base/log.h"
#include "tools/drawing.h"
#include "tools/output.h"
#include "trainer/evaluate.h"

namespace vernier {

void generate_command(const DrawOptions& options) {
  Output output(options.out);
  Drawing drawing = prepare(options);
  Engine engine(*drawing.model.decoder, *drawing.model.tokenizer);
  const Clock clock;
  EngineStats stats;
  std::vector<Group> groups = draw_evaluation(engine, std::move(drawing.prompts), drawing.config,
                                              static_cast<uint64_t>(options.seed), nullptr, &stats);
  for (Group& group : groups) group.step = 0;
  const double seconds = clock.seconds();
  output.write(rows_of(groups, kind_of(drawing.config)));
  output.commit();
  std::string said = cat(stats.new_tokens, " tokens in ", fixed(seconds, 2), " s, ",
                         fixed(static_cast<double>(stats.new_tokens) / seconds, 0), " tok/s");
  if (drawing.config.draft_tokens > 0)
    said += cat("; of ", stats.drafted_tokens, " guessed tokens ", stats.accepted_tokens, " came");
  log::info(said);
}

}  // namespace vernier
