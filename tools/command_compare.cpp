// compare: models or rollout files on the same prompts, paired, and with length taken out.
#include <cstdio>
#include <string>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "tools/comparison.h"
#include "tools/drawing.h"
#include "trainer/evaluate.h"

namespace vernier {
namespace {

bool is_model(const fs::path& path) {
  return fs::is_directory(path) ? fs::exists(path / "config.json") : path.extension() == ".gguf";
}

// What the model answers to the prompts of the command line.
Side draw_side(const std::string& model, const CompareOptions& options,
               const ComparisonOptions& counting) {
  DrawOptions drawn = options;
  drawn.model = model;
  Drawing drawing = prepare(drawn);
  Engine engine(*drawing.model->decoder, *drawing.model->tokenizer);
  Side side;
  side.name = model;
  draw_evaluation(engine, std::move(drawing.prompts), drawing.config,
                  static_cast<uint64_t>(options.seed), nullptr,
                  [&](Group&& group) { side.add(group, counting); });
  return side;
}

}  // namespace

void compare_command(const CompareOptions& options) {
  if (options.gap && options.sides.size() != 3)
    fail(
        "--gap: is of three sides (untrained, trained on easy prompts, trained on hard ones), and ",
        options.sides.size(), " are given");
  bool draws = false;
  for (const std::string& path : options.sides) {
    if (!fs::exists(path)) fail(path, ": is not there");
    draws = draws || is_model(path);
  }
  if (!draws && (!options.data.empty() || !options.task.empty()))
    fail(options.data.empty() ? "--task" : "--data",
         ": is for models, and all sides are stored rollouts, which have their prompts");
  if (!draws && !options.drawing_options.empty())
    fail(options.drawing_options.front(),
         ": says how models are drawn from, and all sides are stored rollouts; leave it out");
  ComparisonOptions counting;
  counting.unit = options.unit;
  counting.after = options.after;
  counting.aes = {.gain = options.aes_gain, .loss = options.aes_loss};
  std::vector<Side> sides;
  for (const std::string& path : options.sides)
    sides.push_back(is_model(path) ? draw_side(path, options, counting)
                                   : read_side(path, counting));
  const Comparison comparison = compare_sides(std::move(sides), options.gap, counting);
  std::fputs(
      (options.json ? dump_json(comparison_json(comparison)) + "\n" : comparison_text(comparison))
          .c_str(),
      stdout);
}

}  // namespace vernier
