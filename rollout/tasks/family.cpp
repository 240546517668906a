#include "rollout/tasks/family.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace vernier {
namespace {

constexpr std::array kTierNames = {"S", "M", "L"};
constexpr uint64_t kTestShare = 10;  // one instance of ten, by its hash, is for tests
constexpr int64_t kMostTries = 10000;

// How English prompts begin and end: 5 x 5 templates around the family's own request.
constexpr std::array kOpenings = {"", "Please solve this. ", "Here is a task. ",
                                  "Work this out step by step. ", "Can you answer this? "};
constexpr std::array kClosings = {" End with # and the answer.", " Write the answer behind a #.",
                                  " Finish your response with #, then the answer.",
                                  " Give the result on the last line, after a #.",
                                  " The answer goes behind a # at the end."};

// From the first to the last length of `range` that instances can have; 0 to 0 where there is none.
Tier narrowed(const FamilyInfo& info, const Tier& range) {
  if (info.lengths.empty()) return range;
  const auto first = std::ranges::lower_bound(info.lengths, range.shortest);
  const auto past = std::ranges::upper_bound(info.lengths, range.longest);
  return first < past ? Tier{*first, *std::prev(past)} : Tier{};
}

struct Options {
  std::vector<double> tiers = {1, 0, 0}, eval_tiers = {1, 1, 1};
  std::vector<int64_t> lengths;                          // [shortest, longest] in place of tiers
  std::vector<int64_t> rounds = {0}, eval_rounds = {0};  // in turn
  std::string form = "short", end;
  double direct_share = 0;
  ChainFormat chain;

  void bind(Binder& config, const FamilyInfo& info) {
    std::string ranges;
    for (size_t i = 0; i < info.tiers.size(); ++i)
      ranges += cat(i > 0 ? ", " : "", kTierNames[i], ' ', info.tiers[i].shortest, " to ",
                    info.tiers[i].longest);
    config.list("tiers", tiers, 0.0, 1e6,
                cat("shares of training prompts by length in ", info.unit, ": ", ranges));
    config.list("eval_tiers", eval_tiers, 0.0, 1e6, "the same of evaluation prompts");
    config.list("lengths", lengths, info.tiers[0].shortest, info.longest,
                "[shortest, longest] of all prompts, in place of the tiers");
    if (info.num_rounds > 1) bind_rounds(config, info.num_rounds);
    end = info.end;
    config.text("end", end, "closes a demonstration: the model's end token");
    if (!info.has_format) {
      config.choice("form", form, {"short", "english"}, "how a prompt asks");
      config.number("direct_share", direct_share, 0.0, 1.0,
                    "demonstrations that answer at once, without a chain");
      config.table("chain", [&](Binder& own) { chain.bind(own); });
    }
    if (info.has_points && end == ".")
      config.error("end", "is \".\", which stands in answers with decimals as well");
    for (const char* key : {"tiers", "eval_tiers"}) config.only_if(key, lengths.empty(), "lengths");
    check_shares(config, "tiers", tiers);
    check_shares(config, "eval_tiers", eval_tiers);
    check_lengths(config, info);
  }

 private:
  void check_lengths(Binder& config, const FamilyInfo& info) {
    if (lengths.empty()) return;
    const bool is_range = lengths.size() == 2 && lengths[0] <= lengths[1];
    if (is_range && narrowed(info, {lengths[0], lengths[1]}).longest > 0) return;
    config.error("lengths", is_range
                                ? cat("no instance has ", lengths[0], " to ", lengths[1], ' ',
                                      info.unit, "; there are those of ", list_text(info.lengths))
                                : "is not [shortest, longest]");
    lengths.clear();
  }

  void bind_rounds(Binder& config, int64_t count) {
    eval_rounds.clear();
    for (int64_t round = 0; round < count; ++round) eval_rounds.push_back(round);
    config.list("rounds", rounds, 0, count - 1,
                "training tells an instance in each of these, one after another; 0: the shortest");
    config.list("eval_rounds", eval_rounds, 0, count - 1, "the same of evaluation prompts");
    for (const auto& [key, list] : {std::pair("rounds", &rounds), {"eval_rounds", &eval_rounds}})
      if (list->empty()) {
        config.error(key, "is empty; one round at least is wanted");
        *list = {0};
      }
  }

  static void check_shares(Binder& config, const char* key, std::vector<double>& shares) {
    const bool good = shares.size() == 3 && std::accumulate(shares.begin(), shares.end(), 0.0) > 0;
    if (good) return;
    config.error(key, cat("has ", shares.size(),
                          " shares; three are wanted, of S, M and L, one of them above 0"));
    shares = {1, 1, 1};
  }
};

// A drawn instance and where its length comes from.
struct Drawn {
  Problem problem;
  std::string tier;  // "" where lengths are the user's own
  int64_t length = 0;
};

class FamilySource {
 public:
  FamilySource(const FamilyInfo& info, DrawProblem draw, Options options)
      : info_(info), draw_(std::move(draw)), options_(std::move(options)) {}

  Prompt prompt(const PromptPlace& place) const {
    const std::vector<int64_t>& rounds =
        place.split == Split::test ? options_.eval_rounds : options_.rounds;
    // An instance is told in all rounds, one after another.
    const int64_t instance = place.index / std::ssize(rounds);
    const int64_t round = rounds[static_cast<size_t>(place.index % std::ssize(rounds))];
    const Drawn drawn = draw(Stream::task, {place.seed, instance, place.split}, 0, false);
    const Problem& problem = drawn.problem;
    Prompt out;
    out.id = cat(info_.name, '-', place.index);
    out.index = place.index;
    out.text = question(
        problem.rounds.empty() ? problem.question : problem.rounds[static_cast<size_t>(round)],
        place);
    out.answer = problem.answer;
    out.verify = info_.verify;
    out.task = info_.name;
    out.difficulty = static_cast<double>(drawn.length);
    out.row = cat(
        "{\"area\":\"", info_.area, "\",\"length\":", drawn.length,
        drawn.tier.empty() ? "" : cat(",\"tier\":\"", drawn.tier, '"'),
        problem.rounds.empty() ? "" : cat(",\"group_id\":", instance, ",\"round\":", round), '}');
    if (!problem.rounds.empty()) out.round = cat(round);
    return out;
  }

  Demonstration demonstration(uint64_t seed, int64_t index, int64_t hardest) const {
    ensure(hardest == 0 || hardest >= range().shortest, "a difficulty of the family");
    const PromptPlace place = {seed, index, Split::train};
    const Drawn drawn = draw(Stream::sft, place, hardest, true);
    if (info_.has_format)
      return {.prompt = drawn.problem.question,
              .response = drawn.problem.response + options_.end,
              .style = "chain"};
    Rng rng(seed, Stream::sft, static_cast<uint64_t>(index), kMostTries);
    const bool direct = rng.next_uniform() < options_.direct_share;
    return {.prompt = question(drawn.problem.question, place),
            .response = cat(direct ? "" : chain_text(drawn.problem.states, options_.chain), '#',
                            drawn.problem.answer, options_.end),
            .style = direct ? "direct" : "chain"};
  }

  // Shortest and longest of training.
  Tier range() const {
    if (!options_.lengths.empty())
      return narrowed(info_, {options_.lengths[0], options_.lengths[1]});
    Tier out;
    for (size_t i = 0; i < info_.tiers.size(); ++i) {
      if (options_.tiers[i] == 0) continue;
      if (out.longest == 0) out.shortest = info_.tiers[i].shortest;
      out.longest = info_.tiers[i].longest;
    }
    return out;
  }

 private:
  // The first draw of a place whose instance belongs to the split.
  Drawn draw(Stream stream, const PromptPlace& place, int64_t hardest, bool with_states) const {
    Drawn out;
    for (int64_t attempt = 0; attempt < kMostTries; ++attempt) {
      Rng rng(place.seed, stream, static_cast<uint64_t>(place.index),
              static_cast<uint64_t>(attempt));
      Tier lengths = draw_tier(rng, place.split, hardest, out.tier);
      if (hardest > 0) lengths.longest = std::min(hardest, lengths.longest);
      out.length = draw_length(rng, lengths);
      out.problem = draw_(rng, out.length, with_states);
      const std::string& text =
          out.problem.instance.empty() ? out.problem.question : out.problem.instance;
      const bool is_test = XXH3_64bits(text.data(), text.size()) % kTestShare == 0;
      if (is_test == (place.split == Split::test)) return out;
    }
    fail("data.", info_.name, ": among ", kMostTries, " instances there is none ",
         place.split == Split::test ? "of those that are for tests" : "to train on",
         "; allow more lengths");
  }

  // Among the tiers that have lengths of at most `hardest` (0: any).
  Tier draw_tier(Rng& rng, Split split, int64_t hardest, std::string& name) const {
    if (!options_.lengths.empty()) return range();
    std::vector<double> shares = split == Split::test ? options_.eval_tiers : options_.tiers;
    for (size_t i = 0; hardest > 0 && i < shares.size(); ++i)
      if (info_.tiers[i].shortest > hardest) shares[i] = 0;
    double left = rng.next_uniform() * std::accumulate(shares.begin(), shares.end(), 0.0);
    size_t tier = 0;
    while (tier + 1 < shares.size() && (shares[tier] == 0 || left >= shares[tier]))
      left -= shares[tier++];
    while (shares[tier] == 0) --tier;  // rounding went past the last share
    name = kTierNames[tier];
    return info_.tiers[tier];
  }

  // All lengths that instances can have come equally often: others are drawn again.
  int64_t draw_length(Rng& rng, const Tier& range) const {
    while (true) {
      const int64_t length = range.shortest + rng.next_below(range.longest - range.shortest + 1);
      if (info_.lengths.empty() || std::ranges::binary_search(info_.lengths, length)) return length;
    }
  }

  std::string question(const std::string& problem, const PromptPlace& place) const {
    if (options_.form == "short") return problem;
    const Rng rng(place.seed, Stream::task, static_cast<uint64_t>(place.index), kMostTries);
    std::string request = info_.request;
    constexpr std::string_view kMark = "{problem}";
    request.replace(request.find(kMark), kMark.size(), problem);
    return cat(kOpenings[rng.bits(0) % kOpenings.size()], request,
               kClosings[rng.bits(1) % kClosings.size()]);
  }

  FamilyInfo info_;
  DrawProblem draw_;
  Options options_;
};

}  // namespace

std::unique_ptr<Task> family_task(Binder& config, const FamilyInfo& info, DrawProblem draw) {
  for (const Tier& tier : info.tiers)
    ensure(tier.longest <= info.longest && narrowed(info, tier).shortest == tier.shortest,
           "tiers of lengths that the family has");
  Options options;
  options.bind(config, info);
  auto task = std::make_unique<Task>();
  task->tiers.assign(info.tiers.begin(), info.tiers.end());
  task->unit = info.unit;
  const auto source =
      std::make_shared<const FamilySource>(info, std::move(draw), std::move(options));
  task->easiest = source->range().shortest;
  task->hardest = source->range().longest;
  task->prompt = [source](const PromptPlace& place) { return source->prompt(place); };
  task->demonstrate = [source](uint64_t seed, int64_t index, int64_t hardest) {
    return source->demonstration(seed, index, hardest);
  };
  return task;
}

TaskRegistry::Entry family_entry(const FamilyInfo& info, Doc doc, DrawProblem draw) {
  return {info.name, std::move(doc), [info, draw = std::move(draw)](Binder& config) {
            return family_task(config, info, draw);
          }};
}

std::string draw_word(Rng& rng, int64_t length, int64_t alphabet) {
  std::string out;
  for (int64_t i = 0; i < length; ++i) out += static_cast<char>('a' + rng.next_below(alphabet));
  return out;
}

std::string draw_digits(Rng& rng, int64_t length) {
  std::string out;
  for (int64_t i = 0; i < length; ++i)
    out += static_cast<char>('0' + (i == 0 ? 1 + rng.next_below(9) : rng.next_below(10)));
  return out;
}

std::string list_text(const std::vector<int64_t>& values) {
  std::string out;
  for (size_t i = 0; i < values.size(); ++i) out += cat(i > 0 ? "," : "", values[i]);
  return out;
}

}  // namespace vernier
