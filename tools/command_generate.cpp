// generate: responses of a model to prompts, as rollout rows.
#include "core/base/clock.h"
#include "core/base/log.h"
#include "tools/drawing.h"

namespace vernier {

void generate_command(const DrawOptions& options) {
  Drawing drawing = prepare(options);
  Engine engine(*drawing.model->decoder, *drawing.model->tokenizer);
  DrawnGroups drawn(options, drawing, /*keep=*/false);
  const Clock clock;
  const EngineStats stats = drawn.draw(engine, [](const Group&, const auto&) {});
  const double seconds = clock.seconds();
  drawn.finish();
  std::string said = cat(stats.new_tokens, " tokens in ", fixed(seconds, 2), " s, ",
                         fixed(static_cast<double>(stats.new_tokens) / seconds, 0), " tok/s");
  if (drawing.config.draft_tokens > 0)
    said += cat("; of ", stats.drafted_tokens, " guessed tokens ", stats.accepted_tokens, " came");
  log::info(said);
}

}  // namespace vernier
