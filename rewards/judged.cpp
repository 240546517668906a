#include "rewards/judged.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"
#include "core/base/json.h"

namespace vernier {
namespace {

template <class Wanted>
Lengths lengths(const std::vector<Judged>& responses, const Wanted& wanted) {
  Lengths out;
  double sum = 0;
  for (const Judged& one : responses) {
    if (!wanted(one)) continue;
    out.shortest = out.count == 0 ? one.length : std::min(out.shortest, one.length);
    out.longest = std::max(out.longest, one.length);
    sum += one.length;
    ++out.count;
  }
  if (out.count == 0) return out;
  out.mean = sum / static_cast<double>(out.count);
  for (const Judged& one : responses)
    if (wanted(one)) out.squares += (one.length - out.mean) * (one.length - out.mean);
  return out;
}

}  // namespace

std::vector<Judged> judged(const Group& group) {
  std::vector<Judged> out;
  for (size_t i = 0; i < group.responses.size(); ++i) {
    const Response& response = group.responses[i];
    if (response.correct && policy_ended(response))
      out.push_back({i, static_cast<double>(response.num_tokens), *response.correct});
  }
  return out;
}

std::vector<Judged> judged(const Group& group, std::span<Score> scores) {
  for (size_t i = 0; i < scores.size(); ++i)
    if (!group.responses[i].correct) scores[i].abstain = "no verdict";
  return judged(group);
}

double solve_rate(const std::vector<Judged>& responses) {
  if (responses.empty()) return 0;
  const auto right =
      std::ranges::count_if(responses, [](const Judged& one) { return one.correct; });
  return static_cast<double>(right) / static_cast<double>(responses.size());
}

double Lengths::variance() const { return count == 0 ? 0 : squares / static_cast<double>(count); }
double Lengths::std() const { return std::sqrt(variance()); }
double Lengths::sample_std() const {
  return count < 2 ? 0 : std::sqrt(squares / static_cast<double>(count - 1));
}

Lengths lengths_of(const std::vector<Judged>& responses) {
  return lengths(responses, [](const Judged&) { return true; });
}
Lengths right_lengths_of(const std::vector<Judged>& responses) {
  return lengths(responses, [](const Judged& one) { return one.correct; });
}

std::vector<Note> judged_notes(const Group& group) {
  std::vector<Note> notes;
  if (!group.role.empty()) return notes;
  for (const Judged& one : judged(group)) {
    notes.push_back({"length", one.length, ""});
    notes.push_back({"correct", one.correct ? 1.0 : 0.0, ""});
  }
  return notes;
}

double next_multiplier(double lambda, const std::vector<Note>& notes, double rate, int64_t target,
                       double low, double high) {
  const NoteSum lengths = sum_of(notes, "length");
  if (lengths.count == 0) return lambda;
  const double gap = lengths.mean() / static_cast<double>(target) - 1;
  return std::clamp(lambda + rate * gap, low, high);
}

std::optional<double> row_number(const Prompt& prompt, const std::string& key) {
  if (prompt.row.empty()) return std::nullopt;
  const Json row = parse_json(prompt.row, cat("prompt ", prompt.id));
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return std::nullopt;
  if (!found->is_number() || !std::isfinite(found->get<double>()))
    fail("prompt ", prompt.id, ": column ", key, ": ", dump_json(*found).substr(0, 60),
         " is not a finite number");
  return found->get<double>();
}

std::optional<double> known(const RewardMemory& memory, const Prompt& prompt,
                            const std::string& key) {
  const auto own = memory.of_prompt(key, prompt.id);
  return own ? own : row_number(prompt, key);
}

Pressure growing(const char* key, double value, double low, double high) {
  return {
      .key = key, .value = value, .low = low, .high = high, .smaller_is_more = false, .none = 0};
}

Pressure token_target(const char* key, int64_t value) {
  return {.key = key,
          .value = static_cast<double>(value),
          .low = 1,
          .high = static_cast<double>(value) * 1000,
          .smaller_is_more = true,
          .none = 1e9};
}

}  // namespace vernier
