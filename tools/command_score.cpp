// score: what a configuration makes of stored rollouts. No model is needed.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "rollout/rows.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/score_comparison.h"
#include "tools/scorer.h"

namespace vernier {
namespace {

// Seconds of every reward, and what that is a response.
std::string timing(const RunConfig& config, int64_t responses, double all) {
  std::string out = cat("scored ", responses, " responses in ", fixed(all, 2), " s");
  const auto count = static_cast<double>(std::max<int64_t>(responses, 1));
  for (const auto& [name, seconds] : config.chain.seconds())
    out += cat("; ", name, " ", fixed(seconds, 3), " s, ", fixed(1e6 * seconds / count, 1),
               " us each");
  return out;
}

}  // namespace

void score_command(const ScoreOptions& options) {
  const std::unique_ptr<RunConfig> config = load_scoring(options.configs, options.overrides).config;
  std::unique_ptr<RunConfig> other;
  if (!options.compare.empty()) other = load_scoring({options.compare}, {}).config;
  if (options.json && other == nullptr) fail("score: --json is of a comparison; give --compare");
  if (options.out.empty() && other == nullptr)
    fail("score: neither --out nor --compare is given; there is nothing to write");
  std::optional<Output> output;
  if (!options.out.empty()) output.emplace(options.out);
  ScoreComparison comparison;
  Scorer scorer(*config, options.explain,
                [&](const Group& group, const Response& response, Json&& row) {
                  if (output) output->write(dump_json(row) + "\n");
                  if (other != nullptr) comparison.add_first(group, response);
                });
  std::optional<Scorer> second;
  if (other != nullptr)
    second.emplace(*other, false, [&](const Group& group, const Response& response, Json&&) {
      comparison.add_second(group, response);
    });
  const Clock clock;
  for (const std::string& path : rollout_files(options.rollouts))
    read_rollouts(path, [&](Group&& group) {
      if (second) second->take(Group(group), path);
      scorer.take(std::move(group), path);
    });
  scorer.end_step();
  if (second) second->end_step();
  if (scorer.responses() == 0) fail(options.rollouts, ": has no row");
  if (output) output->commit();
  log::info(timing(*config, scorer.responses(), clock.seconds()));
  if (other == nullptr) return;
  log::info(cat("second: ", timing(*other, second->responses(), clock.seconds())));
  const std::string told = options.json
                               ? dump_json(comparison.json()) + "\n"
                               : comparison.text(join(options.configs, " "), options.compare);
  std::fputs(told.c_str(), stdout);
}

}  // namespace vernier
