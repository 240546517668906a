// The guard: its bound, its choice of a knob, and what it makes of simulated policies.
#include "trainer/guard.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/base/rng.h"
#include "core/metrics/bounds.h"
#include "tests/testing.h"
#include "trainer/run_config.h"

namespace vernier {
namespace {

using testing::usage_error;

// ---- the bound ---------------------------------------------------------------------------------

TEST_CASE("a lower bound of a mean holds as often as it says, and is not far from the best") {
  // Values of three kinds: rare losses, coins, and equal ones.
  const double shares[] = {0.03, 0.5, 1.0};
  for (const double share : shares) {
    CAPTURE(share);
    int above = 0;
    double width = 0;
    constexpr int kRounds = 400, kValues = 300;
    for (int round = 0; round < kRounds; ++round) {
      Rng rng(7, Stream::task, static_cast<uint64_t>(round));
      std::vector<double> values;
      for (int i = 0; i < kValues; ++i) values.push_back(rng.next_uniform() < share ? 1.0 : 0.0);
      const double bound = lower_mean_bound(values, -1, 1, 0.05);
      above += bound > share ? 1 : 0;
      double mean = 0;
      for (const double value : values) mean += value / kValues;
      width += (mean - bound) / kRounds;
    }
    CHECK(above <= 0.05 * kRounds);
    // A normal distribution's bound of the same level, which promises nothing, and a little more.
    const double normal = 1.645 * std::sqrt(share * (1 - share) / kValues);
    CHECK(width < 1.7 * normal + 0.03);
    CHECK(width > normal);
  }
}

TEST_CASE("a bound of few values says nothing, and more values say more") {
  CHECK(lower_mean_bound({}, -1, 1, 0.05) == -1);
  CHECK(lower_mean_bound(std::vector<double>(1, 0.25), -1, 1, 0.05) == -1);
  double last = -1;
  for (const size_t count : {30, 100, 1000}) {
    const double bound = lower_mean_bound(std::vector<double>(count, 0.25), -1, 1, 0.05);
    CHECK(bound > last);
    CHECK(bound < 0.25);
    last = bound;
  }
  CHECK(last > 0.24);
}

TEST_CASE("the fewest prompts are enough and one less is not") {
  for (const double loss : {0.01, 0.03, 0.2}) {
    const int64_t fewest = fewest_prompts(loss, 4);
    const auto bound = [](int64_t count) {
      return -lower_mean_bound(std::vector<double>(static_cast<size_t>(count), 0.0), -1, 1, 0.0025);
    };
    CHECK(bound(fewest) <= loss);
    CHECK(bound(fewest - 1) > loss);
  }
}

// ---- configuration -----------------------------------------------------------------------------

std::string problem_of(const std::string& keys) {
  const std::string base = R"(
[run]
steps = 10
eval_every = 5
[model.new]
characters = "0123456789abcdefgh+=#.?~"
end_token = "."
[data]
task = "chain_sum"
eval_prompts = 1000
)";
  return usage_error([&] {
    ConfigFile file = ConfigFile::parse(base + keys, "c.toml");
    RunConfig::load(file);
  });
}

const char* const kPenalty = "[[reward]]\ntype = \"length_penalty\"\nreference_length = 100\n";

TEST_CASE("the guard takes the only knob, and refuses one that is turned in vain") {
  const std::string penalty = kPenalty, guard = "[guard]\nmax_accuracy_loss = 0.03\n";
  CHECK(problem_of(penalty + "[algo]\ntype = \"grpo\"\nscale_rewards = \"none\"\n" + guard) == "");
  CHECK(problem_of(penalty + "[algo]\ntype = \"dr_grpo\"\n" + guard) == "");
  CHECK(problem_of("[[reward]]\ntype = \"accuracy\"\n[algo]\ntype = \"drpo\"\n" + guard) == "");
  CHECK(problem_of("[[reward]]\ntype = \"accuracy\"\n[[transform]]\ntype = \"dot\"\nalpha = 1\n"
                   "margin = 1\n[algo]\ntype = \"grpo\"\n" +
                   guard) == "");
  const std::string vain = problem_of(penalty + "[algo]\ntype = \"grpo\"\n" + guard);
  CHECK(vain.find("reward.length_penalty.alpha would be turned in vain") != std::string::npos);
  CHECK(problem_of(penalty + "[algo]\ntype = \"gdpo\"\n" + guard).find("in vain") !=
        std::string::npos);
  const std::string parts =
      "[[reward]]\ntype = \"accuracy\"\n[[reward]]\ntype = \"overlong\"\n"
      "cache = 10\n[algo]\ntype = \"gdpo\"\n";
  CHECK(problem_of(parts + guard) == "");
  CHECK(problem_of("[[reward]]\ntype = \"accuracy\"\n[algo]\ntype = \"grpo\"\n" + guard)
            .find("nothing in this configuration presses on length") != std::string::npos);
  const std::string both = penalty +
                           "[[transform]]\ntype = \"dot\"\nalpha = 1\nmargin = 1\n[algo]\n"
                           "type = \"dr_grpo\"\n" +
                           guard;
  CHECK(problem_of(both).find("there are several: reward.length_penalty.alpha, "
                              "transform.dot.alpha") != std::string::npos);
  CHECK(problem_of(both + "knob = \"transform.dot.alpha\"\n") == "");
  CHECK(problem_of(both + "knob = \"dot.alpha\"\n").find("is no knob") != std::string::npos);
}

TEST_CASE("the guard's keys are checked") {
  const std::string job = std::string(kPenalty) + "[algo]\ntype = \"dr_grpo\"\n[guard]\n";
  const auto has = [&](const std::string& keys, const std::string& text) {
    const std::string problem = problem_of(job + keys);
    CAPTURE(problem);
    CHECK(problem.find(text) != std::string::npos);
  };
  has("max_accuracy_loss = 0.001\n", "it takes at least ");
  has("max_accuracy_loss = 0.03\nreference = 1.5\n", "1.5 is not an accuracy");
  has("max_accuracy_loss = 0.03\nreference = \"nowhere\"\n", "is neither peak, start, a number");
  has("patience = 3\n", "has no effect");
  CHECK(problem_of(job + "max_accuracy_loss = 0.03\nreference = 0.9\n") == "");
  CHECK(problem_of(job + "max_accuracy_loss = 0.03\nreference = \"start\"\n") == "");
}

// ---- simulated policies ------------------------------------------------------------------------

// A policy whose length follows the pressure step by step, and whose accuracy rises with training
// and falls off a cliff where the length gets too short.
struct Simulated {
  double accuracy = 0.6, length = 50;
  static constexpr double kPeak = 0.95, kCliff = 28;

  // alpha 2 is what it can bear: 56 / 2 tokens.
  void train(double alpha) {
    accuracy += 0.35 * (kPeak - accuracy);
    const double target = alpha > 0 ? std::clamp(56 / alpha, 3.0, 50.0) : 50.0;
    length += 0.4 * (target - length);
  }
  double right() const {
    return accuracy * (length >= kCliff ? 1.0 : std::max(0.1, 1 - 0.06 * (kCliff - length)));
  }
  Scores evaluate(int64_t step, uint64_t seed) const {
    Scores out{.step = step, .prompts = {}};
    for (int64_t p = 0; p < 1500; ++p) {
      PromptScore score{
          .prompt = p, .content = {}, .right = 0, .judged = 4, .tokens = 4 * length, .counted = 4};
      Rng rng(seed, Stream::task, static_cast<uint64_t>(step), static_cast<uint64_t>(p));
      for (int i = 0; i < 4; ++i) score.right += rng.next_uniform() < right() ? 1 : 0;
      out.prompts.push_back(score);
    }
    return out;
  }
};

struct Ending {
  Simulated policy;
  std::vector<std::string> moves;
  double peak = 0;
};

Ending run(Guard& guard, const double* knob, uint64_t seed, int64_t looks) {
  Simulated policy;
  std::map<int64_t, Simulated> kept;
  Ending out;
  for (int64_t step = 0; step <= looks && !guard.stopped(); ++step) {
    const Move move = guard.look(policy.evaluate(step, seed), step == looks);
    out.moves.push_back(move.name);
    out.peak = std::max(out.peak, policy.right());
    if (move.keep) kept[step] = policy;
    if (move.restore) policy = kept.at(*move.restore);
    if (guard.stopped() || step == looks) break;
    guard.apply();
    policy.train(*knob);
  }
  out.policy = policy;
  return out;
}

Knob knob_of(double* value, double start) {
  return {.name = "reward.length_penalty.alpha",
          .pressure = {.key = "alpha",
                       .value = start,
                       .low = 0.01,
                       .high = 100,
                       .smaller_is_more = false,
                       .none = 0},
          .of_reward = true,
          .set = [value](double now) { *value = now; }};
}

int count(const std::vector<std::string>& moves, const std::string& name) {
  return static_cast<int>(std::count(moves.begin(), moves.end(), name));
}

TEST_CASE("whatever strength it begins with, the guard ends short and within the loss") {
  int within = 0, tried = 0;
  for (const double start : {0.5, 1.0, 2.0, 4.0, 8.0})
    for (const uint64_t seed : {1, 2, 3, 4}) {
      double alpha = -1;
      Guard guard({.max_accuracy_loss = 0.03}, knob_of(&alpha, start), 40);
      const Ending end = run(guard, &alpha, seed, 40);
      CAPTURE(start);
      CAPTURE(seed);
      CAPTURE(end.policy.length);
      ++tried;
      within += end.policy.right() >= end.peak - 0.03 ? 1 : 0;
      CHECK(end.policy.length < 1.2 * Simulated::kCliff);
      CHECK(count(end.moves, "begin") == 1);
      CHECK(count(end.moves, "wait") >= 2);
    }
  CHECK(within == tried);
}

TEST_CASE("there is no pressure before the peak, and the knob has its value after it") {
  double alpha = -1;
  Guard guard({.max_accuracy_loss = 0.03}, knob_of(&alpha, 4), 40);
  Simulated policy;
  int64_t step = 0;
  for (; guard.look(policy.evaluate(step, 5), false).name == "wait"; ++step) {
    guard.apply();
    CHECK(alpha == 0);
    policy.train(alpha);
  }
  guard.apply();
  CHECK(alpha == 4);
  CHECK(policy.accuracy > 0.9);
}

TEST_CASE("a knob whose smaller values press harder is turned the other way") {
  double lambda = -1;
  Knob knob{.name = "algo.lambda",
            .pressure = {.key = "lambda",
                         .value = 0.5,
                         .low = 0.01,
                         .high = 10,
                         .smaller_is_more = true,
                         .none = INFINITY},
            .set = [&](double now) { lambda = now; }};
  Guard guard({.max_accuracy_loss = 0.05, .reference = "start"}, knob, 40);
  Simulated policy{.accuracy = 0.95, .length = 50};
  CHECK(guard.look(policy.evaluate(0, 1), false).name == "begin");
  CHECK(guard.pressure() == 0.5);
  CHECK(guard.look(policy.evaluate(1, 1), false).name == "tighten");
  CHECK(guard.pressure() == 0.25);
  policy.length = 10;  // lost
  const Move move = guard.look(policy.evaluate(2, 1), false);
  CHECK(move.name == "roll_back");
  CHECK(*move.restore < 2);
  CHECK(guard.pressure() > 0.25);
  CHECK(guard.pressure() < 0.5);
}

TEST_CASE("a reference that is a number is waited for, and too few prompts are refused") {
  double alpha = -1;
  const GuardConfig config{.max_accuracy_loss = 0.05, .reference = "0.9"};
  Guard guard(config, knob_of(&alpha, 1), 40);
  Simulated policy;
  CHECK(guard.look(policy.evaluate(0, 1), false).name == "wait");
  policy.accuracy = 0.95;
  CHECK(guard.look(policy.evaluate(1, 1), false).name == "begin");

  for (const std::string reference : {"0.9", "start"}) {
    CAPTURE(reference);
    Guard short_of({.max_accuracy_loss = 0.05, .reference = reference}, knob_of(&alpha, 1), 40);
    Scores few = policy.evaluate(0, 1);
    few.prompts.resize(100);
    const Json before = short_of.state();
    const std::string problem = usage_error([&] { short_of.look(few, false); });
    CHECK(problem.find("on 100 prompts") != std::string::npos);
    CHECK(problem.find("it takes some ") != std::string::npos);
    CHECK(short_of.state() == before);
    // With enough of them it begins.
    CHECK(short_of.look(policy.evaluate(0, 1), false).name == "begin");
  }
}

TEST_CASE("losses are of the same prompts, not only of as many") {
  double alpha = -1;
  Guard guard({.max_accuracy_loss = 0.05, .reference = "start"}, knob_of(&alpha, 1), 10);
  Simulated policy{.accuracy = 0.95, .length = 50};
  CHECK(guard.look(policy.evaluate(0, 1), false).name == "begin");
  Scores other = policy.evaluate(1, 1);
  other.prompts[7].content = "another question";
  CHECK(usage_error([&] { guard.look(other, false); }).find("other prompts") != std::string::npos);
}

TEST_CASE("a peak under pressure is held to, and becomes the reference") {
  double alpha = -1;
  Guard guard({.max_accuracy_loss = 0.05, .reference = "peak", .patience = 1}, knob_of(&alpha, 1),
              10);
  Simulated policy{.accuracy = 0.8, .length = 50};
  guard.look(policy.evaluate(0, 1), false);
  CHECK(guard.look(policy.evaluate(1, 1), false).name == "begin");
  policy = {.accuracy = 0.95, .length = 60};  // the old best is far below it, though shorter
  const Move move = guard.look(policy.evaluate(2, 1), false);
  CHECK(move.keep);
  CHECK(guard.best_step() == 2);
  policy.accuracy = 0.8;
  CHECK(*guard.look(policy.evaluate(3, 1), false).restore == 2);
}

TEST_CASE("a guard goes on from its state as if nothing had happened") {
  double alpha = -1, other = -1;
  Guard whole({.max_accuracy_loss = 0.03}, knob_of(&alpha, 4), 40);
  Guard parts({.max_accuracy_loss = 0.03}, knob_of(&other, 4), 40);
  Simulated policy;
  for (int64_t step = 0; step < 14; ++step) {
    const Scores scores = policy.evaluate(step, 9);
    const Move a = whole.look(scores, false), b = parts.look(scores, false);
    CHECK(a.name == b.name);
    CHECK(a.reason == b.reason);
    Guard again({.max_accuracy_loss = 0.03}, knob_of(&other, 4), 40);
    again.restore(parse_json(dump_json(parts.state()), "state"));
    CHECK(again.state() == parts.state());
    parts = again;
    whole.apply();
    policy.train(alpha);
  }
  CHECK(usage_error([&] { parts.restore(Json::object()); }).find("state of the guard") !=
        std::string::npos);
}

}  // namespace
}  // namespace vernier
