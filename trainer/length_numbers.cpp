#include "trainer/length_numbers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "core/base/errors.h"
#include "rewards/judged.h"
#include "rewards/rechecks.h"
#include "rewards/repeats.h"
#include "rewards/requested.h"
#include "rewards/units.h"
#include "rewards/verify/judge.h"

namespace vernier {
namespace {

constexpr size_t kRepeatedGram = 13;     // Self-Lengthen's filter
constexpr size_t kDiversityWindow = 96;  // tokens, Hyperfitting's

const std::vector<MetricDoc> kDocs = {
    {"visible/characters", "characters", "of what a reader sees"},
    {"visible/words", "words", "of the same, between white space"},
    {"thinking/tokens", "tokens", "of thinking"},
    {"thinking/share", "share", "of all tokens that are thinking"},
    {"thinking/unclosed", "share", "responses that never end their thinking"},
    {"overthinking/tokens", "tokens", "behind the first right answer of a right response"},
    {"overthinking/share", "share", "of the tokens of right responses that come behind it"},
    {"overthinking/lost", "share", "wrong responses that held the right answer before"},
    {"overthinking/rechecks", "markers", "of looking again, a response"},
    {"overthinking/repeats", "share", "responses in which 13 tokens come again"},
    {"overthinking/premature", "share", "responses that stop without an answer"},
    {"diversity/distinct_1", "share", "different tokens among the first 96"},
    {"diversity/distinct_2", "share", "different pairs of neighbours among the first 96 tokens"},
    {"effective_tokens", "share", "of a batch that is padded to each group's longest response"},
    {"yap/index", "characters", "mean over tasks of the median excess over a minimal answer"},
    {"yap/index/correct", "characters", "the same of right responses"},
    {"yap/<task>", "characters", "median excess in one task"},
    {"yap/<task>/correct", "characters", "the same of right responses"},
    {"ruler/pm", "share", "responses within a target's precise bounds"},
    {"ruler/fm", "share", "responses within a target's flexible bounds"},
    {"ruler/pm/level_<n>", "share", "precise match of one level of targets"},
    {"ruler/fm/level_<n>", "share", "flexible match of the same"},
    {"self_lengthen", "score", "1 in the requested interval, less outside"},
    {"compression/delta_cr", "percentage points", "compression ratio less the reference's"},
    {"rounds/accuracy_<n>", "share", "right responses of one extension round"},
    {"rounds/coleg_e", "share", "problems that are right in every round from 1 on"},
    {"rounds/coleg_r", "ratio", "accuracy of the last round over that of round 0"},
    {"rounds/drop", "share", "accuracy of round 0 less that of the last round"},
    {"tiers/accuracy_<tier>", "share", "right responses of one tier of lengths"},
    {"tiers/ratio_<tier>", "ratio", "its accuracy over that of the first tier"},
    {"tiers/drop_<tier>", "share", "accuracy of the first tier less its own"}};

Json row_of(const Prompt& prompt) {
  return prompt.row.empty() ? Json::object() : parse_json(prompt.row, cat("prompt ", prompt.id));
}

std::string text_at(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string() ? found->get<std::string>() : "";
}

// The tokens as numbers; words where the row has no ids.
std::vector<int32_t> numbered(const Response& response) {
  return response.ids.empty() ? numbered_words(response.text) : response.ids;
}

Json column_of(const std::string& json, const Prompt& prompt) {
  return json.empty() ? Json() : parse_json(json, cat("prompt ", prompt.id));
}

// Tiers of lengths in order: S, M, L; others by name behind them.
bool tier_before(const std::string& a, const std::string& b) {
  constexpr std::string_view kOrder = "SML";
  const auto place = [&](const std::string& tier) {
    return tier.size() == 1 ? kOrder.find(tier[0]) : std::string_view::npos;
  };
  return std::pair(place(a), a) < std::pair(place(b), b);
}

double ratio(const Tally& tally) { return tally.count > 0 ? tally.sum / tally.count : kUndefined; }

using Verdicts = std::map<int64_t, bool>;  // by sample

Tally verdicts_of(const Verdicts& verdicts) {
  Tally out;
  for (const auto& [sample, right] : verdicts) {
    out.sum += right ? 1 : 0;
    out.count += 1;
  }
  return out;
}

// Places among the docs: names are told in that order.
size_t order_of(const std::string& name) {
  for (size_t i = 0; i < kDocs.size(); ++i)
    if (kDocs[i].name == name ||
        (kDocs[i].name.find('<') != std::string::npos &&
         name.starts_with(kDocs[i].name.substr(0, kDocs[i].name.find('<')))))
      return i;
  return kDocs.size();
}

}  // namespace

const std::vector<MetricDoc>& length_number_docs() { return kDocs; }

std::vector<std::string> definition_notes(std::span<const LengthNumber> numbers) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kSources = {
      {{"yap/",
        "yap: as summaries of YapBench (arXiv:2601.00624) have it; whether the paper counts "
        "markdown is not known, here it counts"},
       {"rounds/coleg",
        "rounds/coleg: as reviews of E-GSM have it; its repository lacks the data "
        "of rounds 2 to 4"},
       {"diversity/",
        "diversity: after the abstract of Hyperfitting, with its window of 96 tokens"}}};
  std::vector<std::string> out;
  for (const auto& [prefix, source] : kSources)
    if (std::ranges::any_of(numbers, [&](const auto& one) { return one.name.starts_with(prefix); }))
      out.emplace_back(source);
  return out;
}

void LengthNumbers::tally(OfPrompt& prompt, const std::string& name, double sum, double count) {
  const auto known = std::ranges::find(names_, name);
  const auto number = static_cast<size_t>(known - names_.begin());
  if (known == names_.end()) names_.push_back(name);
  auto place = std::ranges::find(prompt.sums, number, [](const auto& one) { return one.first; });
  if (place == prompt.sums.end()) place = prompt.sums.insert(place, {number, Tally{}});
  place->second.sum += sum;
  place->second.count += count;
}

std::string LengthNumbers::visible(const Response& response) const {
  const TokenSpan &think = response.think, &answer = response.answer_span;
  if (think.begin >= 0 && answer.begin == answer.end && think.end >= response.num_tokens) return "";
  const size_t at = after_.empty() ? std::string::npos : response.text.rfind(after_);
  // A cut may lie inside a character.
  return to_valid_utf8(at == std::string::npos
                           ? response.text
                           : std::string_view(response.text).substr(at + after_.size()));
}

Json LengthNumbers::usable(const Json& column, const char* name, const char* wanted, bool fits) {
  if (column.is_null()) return column;
  if (fits) return column;
  if (unusable_.insert(name).second)
    notes_.push_back(cat("column '", name, "' is ", dump_json(column).substr(0, 60),
                         " somewhere, not ", wanted, "; such rows are in no number that needs it"));
  return nullptr;
}

// Characters of the minimal answer that the row gives.
std::optional<double> LengthNumbers::minimal_answer(const Prompt& prompt, const Json& row) {
  const auto found = row.find("baseline_len");
  const Json number = found == row.end() ? Json() : *found;
  if (const Json length = usable(number, "baseline_len", "a number", number.is_number());
      !length.is_null())
    return length.get<double>();
  const Json column = column_of(prompt.baseline, prompt);
  const Json text = usable(column, "baseline", "a text", column.is_string());
  if (text.is_null()) return std::nullopt;
  return text_length(text.get<std::string>(), "characters");
}

void LengthNumbers::add(const Group& group, std::span<const Candidate> candidates) {
  if (!group.role.empty()) return;
  OfPrompt& prompt = prompts_.emplace_back();
  prompt.place = {group.step, group.id};
  const Json row = row_of(group.prompt);
  prompt.task = group.prompt.task;
  prompt.tier = text_at(row, "tier");
  const auto problem = row.find("group_id");
  prompt.problem = problem == row.end() ? group.prompt.id : dump_json(*problem);
  const Json column = column_of(group.prompt.round, group.prompt);
  const bool is_round = column.is_number_integer() && column.get<int64_t>() >= 0;
  if (const Json round = usable(column, "round", "a whole number from 0 on", is_round);
      !round.is_null())
    prompt.round = round.get<int64_t>();
  const std::optional<double> minimal = minimal_answer(group.prompt, row);
  double tokens = 0, longest = 0;
  for (const Response& response : group.responses) {
    if (!policy_ended(response)) continue;
    tokens += response.num_tokens;
    longest = std::max(longest, static_cast<double>(response.num_tokens));
    if (response.correct) prompt.verdicts[response.sample] = *response.correct;
    add_visible(prompt, row, minimal, response);
    add_thinking(prompt, response);
    add_overthinking(prompt, group.prompt, response);
    add_requested(prompt, group, response);
  }
  for (const Candidate& one : candidates) {
    if (!one.answer_known) continue;
    const Response& response = group.responses[static_cast<size_t>(one.place)];
    const bool stopped = response.finish_reason == FinishReason::stop;
    tally(prompt, "overthinking/premature", stopped && !one.correct && one.answer.empty() ? 1 : 0);
  }
  const auto ended = std::ranges::count_if(group.responses, policy_ended);
  if (longest > 0) tally(prompt, "effective_tokens", tokens, longest * static_cast<double>(ended));
}

void LengthNumbers::add_visible(OfPrompt& prompt, const Json& row, std::optional<double> minimal,
                                const Response& response) {
  const std::string text = visible(response);
  const double characters = text_length(text, "characters"), words = text_length(text, "words");
  tally(prompt, "visible/characters", characters);
  tally(prompt, "visible/words", words);
  if (minimal)
    prompt.excess.emplace_back(std::max(0.0, characters - *minimal),
                               response.correct.value_or(false));
  const std::string source = text_at(row, "source"), reference = text_at(row, "reference");
  const double from = text_length(source, "words");
  if (from > 0 && !reference.empty())
    tally(prompt, "compression/delta_cr", 100 * (words - text_length(reference, "words")) / from);
}

void LengthNumbers::add_thinking(OfPrompt& prompt, const Response& response) {
  const TokenSpan& think = response.think;
  if (think.begin < 0) return;
  const double tokens = std::min(think.end, response.num_tokens) - think.begin;
  tally(prompt, "thinking/tokens", tokens);
  tally(prompt, "thinking/share", tokens, response.num_tokens);
  tally(prompt, "thinking/unclosed", think.end >= response.num_tokens ? 1 : 0);
}

void LengthNumbers::add_overthinking(OfPrompt& prompt, const Prompt& asked,
                                     const Response& response) {
  const std::optional<int32_t> first = response.first_correct;
  if (response.correct == true && first) {
    const double behind = response.num_tokens - *first;
    tally(prompt, "overthinking/tokens", behind);
    tally(prompt, "overthinking/share", behind, response.num_tokens);
  }
  // Rows of other engines do not say where the right answer stood; their rule can.
  if (response.correct == false && has_rule(asked)) {
    const bool held = first || first_correct(asked, response.text).has_value();
    tally(prompt, "overthinking/lost", held ? 1 : 0);
  }
  tally(prompt, "overthinking/rechecks", static_cast<double>(recheck_markers(response.text)));
  const std::vector<int32_t> tokens = numbered(response);
  tally(prompt, "overthinking/repeats", distinct_share(tokens, kRepeatedGram) < 1 ? 1 : 0);
  const std::span<const int32_t> window =
      std::span(tokens).first(std::min(tokens.size(), kDiversityWindow));
  if (window.size() < 2) return;
  tally(prompt, "diversity/distinct_1", distinct_share(window, 1));
  tally(prompt, "diversity/distinct_2", distinct_share(window, 2));
}

void LengthNumbers::add_requested(OfPrompt& prompt, const Group& group, const Response& response) {
  // A column that asks in another way, as L1's, has other numbers.
  std::string other;
  if (const LengthTarget* target = table_->of(group.prompt, other)) {
    const bool tokens = table_->unit() == "tokens";
    const double length = tokens ? static_cast<double>(response.num_tokens)
                                 : text_length(visible(response), table_->unit());
    for (const bool precise : {true, false}) {
      const std::string name = precise ? "ruler/pm" : "ruler/fm";
      const double hit = (precise ? target->precise : target->flexible).hold(length) ? 1 : 0;
      tally(prompt, name, hit);
      tally(prompt, cat(name, "/level_", target->level), hit);
    }
  }
  if (const auto interval = requested_interval(group.prompt, other))
    tally(prompt, "self_lengthen",
          interval_score(text_length(visible(response), "cjk_words"), *interval));
}

namespace {

using Places = std::span<const size_t>;

// Median of the values of the drawn prompts; `values` has those of each prompt.
double median_of(const std::vector<std::vector<double>>& values, Places drawn) {
  std::vector<double> all;
  for (const size_t prompt : drawn)
    all.insert(all.end(), values[prompt].begin(), values[prompt].end());
  return quantile_of(std::move(all), 0.5);
}

int64_t size_of(const std::vector<std::vector<double>>& values) {
  int64_t count = 0;
  for (const auto& some : values) count += std::ssize(some);
  return count;
}

// Of one task or all of them: medians and, over the tasks, their mean.
void add_medians(const std::map<std::string, std::vector<std::vector<double>>>& tasks,
                 const std::string& suffix, size_t num_prompts, const Bootstrap& bootstrap,
                 std::vector<LengthNumber>& out) {
  int64_t all = 0;
  for (const auto& [task, values] : tasks) all += size_of(values);
  if (all == 0) return;
  const auto prompts = static_cast<int64_t>(num_prompts);
  out.push_back({cat("yap/index", suffix),
                 bootstrap_value(prompts, bootstrap,
                                 [&](Places drawn) {
                                   Tally medians;  // of the tasks that have any
                                   for (const auto& [task, values] : tasks)
                                     if (const double one = median_of(values, drawn);
                                         !std::isnan(one)) {
                                       medians.sum += one;
                                       medians.count += 1;
                                     }
                                   return ratio(medians);
                                 }),
                 all});
  if (tasks.size() < 2) return;
  for (const auto& [task, values] : tasks)
    out.push_back({cat("yap/", task.empty() ? "other" : task, suffix),
                   bootstrap_value(prompts, bootstrap,
                                   [&](Places drawn) { return median_of(values, drawn); }),
                   size_of(values)});
}

// What the rounds of one problem hold: verdicts by sample.
using Rounds = std::map<int64_t, Verdicts>;

// Share of the samples that are right in every round from 1 on, of those that have a verdict in
// each; nothing of a problem that lacks one.
Tally right_throughout(const Rounds& rounds, int64_t last) {
  Tally out;
  if (!rounds.contains(1)) return out;
  for (const auto& [sample, first] : rounds.at(1)) {
    bool known = true, right = first;
    for (int64_t round = 2; round <= last; ++round) {
      const auto found = rounds.find(round);
      known = known && found != rounds.end() && found->second.contains(sample);
      right = right && known && found->second.at(sample);
    }
    if (!known) continue;
    out.count += 1;
    out.sum += right ? 1 : 0;
  }
  return out;
}

// Accuracy of a column of `rows` over the drawn ones.
double accuracy_of(const std::vector<std::vector<Tally>>& rows, size_t column, Places drawn) {
  Tally all;
  for (const size_t i : drawn) {
    all.sum += rows[i][column].sum;
    all.count += rows[i][column].count;
  }
  return ratio(all);
}

void add_rounds(const std::map<std::string, Rounds>& problems, const Bootstrap& bootstrap,
                std::vector<LengthNumber>& out) {
  std::set<int64_t> rounds;
  for (const auto& [problem, of] : problems)
    for (const auto& [round, verdicts] : of) rounds.insert(round);
  if (rounds.empty()) return;
  const int64_t last = *rounds.rbegin();
  std::vector<std::vector<Tally>> rows;  // of each problem: every round, then all of them
  for (const auto& [problem, of] : problems) {
    std::vector<Tally>& row = rows.emplace_back();
    for (const int64_t round : rounds)
      row.push_back(of.contains(round) ? verdicts_of(of.at(round)) : Tally{});
    row.push_back(last > 0 ? right_throughout(of, last) : Tally{});
  }
  const auto count = [&](size_t column) {
    double sum = 0;
    for (const auto& row : rows) sum += row[column].count;
    return static_cast<int64_t>(sum);
  };
  const std::vector<Estimate> means = bootstrap_means(rows, bootstrap);
  size_t column = 0;
  for (const int64_t round : rounds) {
    out.push_back({cat("rounds/accuracy_", round), means[column], count(column)});
    ++column;
  }
  if (last == 0) return;
  if (count(column) > 0) out.push_back({"rounds/coleg_e", means[column], count(column)});
  if (*rounds.begin() != 0) return;
  const auto value = [&](auto&& combine) {
    return bootstrap_value(std::ssize(rows), bootstrap, [&](Places drawn) {
      return combine(accuracy_of(rows, 0, drawn), accuracy_of(rows, column - 1, drawn));
    });
  };
  const int64_t both = count(0) + count(column - 1);
  out.push_back(
      {"rounds/coleg_r",
       value([](double first, double end) { return first > 0 ? end / first : kUndefined; }), both});
  out.push_back({"rounds/drop", value([](double first, double end) { return first - end; }), both});
}

struct OfTier {
  size_t prompt;
  Tally right;
};

void add_tiers(const std::map<std::string, std::vector<OfTier>, decltype(&tier_before)>& tiers,
               size_t num_prompts, const Bootstrap& bootstrap, std::vector<LengthNumber>& out) {
  if (tiers.size() < 2) return;
  std::vector<std::vector<Tally>> rows(num_prompts, std::vector<Tally>(tiers.size()));
  size_t column = 0;
  for (const auto& [tier, some] : tiers) {
    for (const OfTier& one : some) rows[one.prompt][column] = one.right;
    ++column;
  }
  const std::vector<Estimate> means = bootstrap_means(rows, bootstrap);
  column = 0;
  for (const auto& [tier, some] : tiers) {
    double count = 0;
    for (const OfTier& one : some) count += one.right.count;
    const auto number = static_cast<int64_t>(count);
    out.push_back({cat("tiers/accuracy_", tier), means[column], number});
    if (column > 0) {
      const auto value = [&](auto&& combine) {
        return bootstrap_value(std::ssize(rows), bootstrap, [&](Places drawn) {
          return combine(accuracy_of(rows, 0, drawn), accuracy_of(rows, column, drawn));
        });
      };
      out.push_back({cat("tiers/ratio_", tier), value([](double first, double here) {
                       return first > 0 ? here / first : kUndefined;
                     }),
                     number});
      out.push_back({cat("tiers/drop_", tier),
                     value([](double first, double here) { return first - here; }), number});
    }
    ++column;
  }
}

}  // namespace

std::vector<LengthNumber> LengthNumbers::numbers(const Bootstrap& bootstrap) const {
  std::vector<const OfPrompt*> prompts;
  for (const OfPrompt& prompt : prompts_) prompts.push_back(&prompt);
  std::ranges::sort(prompts, {}, [](const OfPrompt* prompt) { return prompt->place; });
  std::vector<std::vector<Tally>> rows;
  std::vector<double> counts(names_.size(), 0);
  std::map<std::string, std::vector<std::vector<double>>> excess, right_excess;
  std::map<std::string, Rounds> rounds;
  std::map<std::string, std::vector<OfTier>, decltype(&tier_before)> tiers(&tier_before);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const OfPrompt& prompt = *prompts[i];
    std::vector<Tally>& row = rows.emplace_back(names_.size());
    for (const auto& [number, tally] : prompt.sums) {
      row[number] = tally;
      counts[number] += tally.count;
    }
    for (const auto& [characters, correct] : prompt.excess)
      for (auto* tasks : {&excess, &right_excess}) {
        auto& values = (*tasks)[prompt.task];
        values.resize(prompts.size());
        if (correct || tasks == &excess) values[i].push_back(characters);
      }
    if (prompt.round) {
      rounds[prompt.problem][*prompt.round].insert(prompt.verdicts.begin(), prompt.verdicts.end());
    }
    if (!prompt.tier.empty()) tiers[prompt.tier].push_back({i, verdicts_of(prompt.verdicts)});
  }
  std::vector<LengthNumber> out;
  const std::vector<Estimate> means = bootstrap_means(rows, bootstrap);
  for (size_t i = 0; i < means.size(); ++i)
    out.push_back({names_[i], means[i], static_cast<int64_t>(counts[i])});
  add_medians(excess, "", prompts.size(), bootstrap, out);
  add_medians(right_excess, "/correct", prompts.size(), bootstrap, out);
  add_rounds(rounds, bootstrap, out);
  add_tiers(tiers, prompts.size(), bootstrap, out);
  std::ranges::stable_sort(
      out, {}, [](const LengthNumber& one) { return std::pair(order_of(one.name), one.name); });
  return out;
}

}  // namespace vernier
