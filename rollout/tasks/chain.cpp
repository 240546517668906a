#include "rollout/tasks/chain.h"

#include <algorithm>
#include <vector>

#include "core/base/text.h"

namespace vernier {
namespace {

std::string joined(const std::string& first, const std::string& second) {
  if (first.empty() || second.empty()) return first + second;
  return cat(first, ',', second);
}

// Two states in one go: both are fetched, both results are written, the work of the second is.
ChainState merged(const ChainState& first, const ChainState& second) {
  return {.input = joined(first.input, second.input),
          .computation = second.computation,
          .output = joined(first.output, second.output),
          .variables = second.variables,
          .remaining = second.remaining};
}

}  // namespace

void ChainFormat::bind(Binder& config) {
  config.flag("linear", linear, "every state in order, labelled; else every second, unlabelled");
  config.flag("atomic", atomic, "one elementary state at a time, or two in one");
  config.flag("input", input, "operands are fetched: written out before they are used");
  config.flag("computation", computation, "the computation is written out");
  config.flag("output", output, "the elementary result is written");
  config.flag("variables", variables, "what is carried on is written");
  config.flag("remaining", remaining, "what has not been read yet is written again");
}

std::string chain_text(std::span<const ChainState> states, const ChainFormat& format) {
  std::vector<ChainState> pairs;
  if (!format.atomic) {
    for (size_t i = 0; i < states.size(); i += 2)
      pairs.push_back(i + 1 < states.size() ? merged(states[i], states[i + 1]) : states[i]);
    states = pairs;
  }
  std::string out;
  for (size_t i = 0; i < states.size(); ++i) {
    // Counted from the end, so that the last one stays.
    if (!format.linear && (states.size() - 1 - i) % 2 != 0) continue;
    const ChainState& state = states[i];
    if (format.linear) out += cat(i + 1, ':');
    if (format.input && !state.input.empty()) out += cat('[', state.input, ']');
    if (format.computation) out += state.computation;
    if (format.output && !state.output.empty()) out += cat('>', state.output);
    if (format.variables && !state.variables.empty()) out += cat('{', state.variables, '}');
    if (format.remaining && !state.remaining.empty()) out += cat('|', state.remaining);
    out += ';';
  }
  return out;
}

}  // namespace vernier
