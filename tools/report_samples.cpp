#include "tools/report_samples.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/text/pieces.h"
#include "rollout/rows.h"
#include "trainer/checkpoint.h"
#include "trainer/update.h"

namespace vernier {
namespace {

constexpr size_t kMaxTextBytes = 8000;  // of one text that a page shows
constexpr size_t kMaxPieces = 4000;     // tokens of one response that a page colours

// A text for a page: valid UTF-8, and not endless.
std::string shown_text(const std::string& text) {
  if (text.size() <= kMaxTextBytes) return to_valid_utf8(text);
  return cat(to_valid_utf8(std::string_view(text).substr(0, kMaxTextBytes)), " … (",
             text.size() - kMaxTextBytes, " bytes more)");
}

Json field_of(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found == row.end() ? Json() : *found;
}

double number_of(const Json& row, const char* key) {
  const Json value = field_of(row, key);
  return value.is_number() ? value.get<double>() : kUndefined;
}

// The verdict of before any transform, or where the row does not tell it apart the verdict.
std::optional<bool> sampled_verdict(const Response& response) {
  return response.sampled_correct ? response.sampled_correct : response.correct;
}

// Groups that are trained on, with their places in the file.
void for_each_group(const std::string& path, const std::function<void(Group&&, int64_t)>& use) {
  int64_t place = 0;
  read_rollouts(path, [&](Group&& group) {
    if (group.role.empty()) use(std::move(group), place++);
  });
}

// Texts of the tokens, log-probabilities and weight versions: [[text, logprob, version], …]. Bytes
// that are no whole character wait for the token that ends it.
Json pieces_of(const Response& response, const TokenPieces& pieces, int32_t vocabulary) {
  Json out = Json::array();
  if (response.ids.empty() || response.ids.size() != response.logprobs.size()) return out;
  std::string waiting;
  double sum = 0;
  size_t part = 0;
  int64_t left = response.versions.empty() ? 0 : response.versions[0].second;
  for (size_t i = 0; i < std::min(response.ids.size(), kMaxPieces); ++i) {
    const int32_t id = response.ids[i];
    if (id < 0 || id >= vocabulary) return Json::array();  // has no text
    waiting += pieces.of(id, i == 0).text;
    sum += response.logprobs[i];
    while (left == 0 && part + 1 < response.versions.size())
      left = response.versions[++part].second;
    const bool has_version = left > 0;
    if (has_version) --left;
    if (!is_utf8(waiting) && waiting.size() < 8) continue;
    out.push_back({to_valid_utf8(waiting), json_number(sum),
                   has_version ? Json(response.versions[part].first) : Json()});
    waiting.clear();
    sum = 0;
  }
  if (!waiting.empty()) out.push_back({to_valid_utf8(waiting), json_number(sum), Json()});
  return out;
}

// What of a stored row a page shows as it is.
void copy_shown(const Json& row, Json& out) {
  for (const char* key : {"first_correct", "length_rank", "length_z", "reward", "advantage"}) {
    const double value = number_of(row, key);
    out[key] = json_number(value);
  }
  for (const char* key : {"rewards", "abstained"})
    out[key] = field_of(row, key).is_object() ? row[key] : Json::object();
}

Json sample_of(const Response& response, const std::string& where) {
  const Json row = parse_json(response.row, where);
  const std::optional<bool> verdict = sampled_verdict(response);
  Json out = {{"sample", response.sample},
              {"text", shown_text(response.text)},
              {"num_tokens", response.num_tokens},
              {"raw_num_tokens", response.raw_num_tokens},
              {"finish_reason", name_of(response.finish_reason)},
              {"correct", response.correct ? Json(*response.correct) : Json()},
              {"sampled_correct", verdict ? Json(*verdict) : Json()},
              {"transforms", response.transforms}};
  copy_shown(row, out);
  return out;
}

// Gives all responses of a group the mean of their lengths, as they were sampled.
void level(Group& group) {
  double sum = 0, count = 0;
  for (const Response& response : group.responses) {
    if (!policy_ended(response)) continue;
    sum += response.raw_num_tokens;
    count += 1;
  }
  if (count == 0) return;
  const auto mean = static_cast<int32_t>(std::lround(sum / count));
  for (Response& response : group.responses) {
    const double scale =
        response.num_tokens > 0 ? mean / static_cast<double>(response.num_tokens) : 0;
    const auto moved = [&](int32_t place) {
      return place < 0 ? place : static_cast<int32_t>(std::lround(scale * place));
    };
    for (TokenSpan* span : {&response.think, &response.answer_span})
      *span = {moved(span->begin), moved(span->end)};
    if (response.first_correct) response.first_correct = moved(*response.first_correct);
    // One that a transform has cut stays known as such: its verdict is that of before.
    const bool was_cut = response.raw_num_tokens > response.num_tokens;
    response.num_tokens = mean;
    response.raw_num_tokens = mean + (was_cut ? 1 : 0);
    response.logprobs.clear();  // token by token, of the length that it had
    response.forced.clear();
  }
}

// The advantage of a response, and what of it is due to length.
struct Push {
  double push = 0, due_to_length = 0;
};
using Pushes = std::map<std::pair<int64_t, int64_t>, Push>;  // by group and sample

// A is of the rewards as they are stored; A0 what the configuration makes of levelled groups.
Pushes pushes_of(RunConfig& config, const std::string& path) {
  std::vector<Group> as_stored, levelled;
  StepNotes notes;
  for_each_group(path, [&](Group&& group, int64_t) {
    if (!group.dropped.empty()) return;
    Group& level_one = levelled.emplace_back(group);
    level(level_one);
    config.chain.score_as_sampled(level_one);
    config.chain.observe(level_one, notes);
    as_stored.push_back(std::move(group));
  });
  if (levelled.empty()) return {};
  config.chain.finish_step(levelled, notes);
  const bool by_channel = config.algorithm->uses_channels();
  const GroupTable stored = make_table(as_stored, by_channel);
  GroupTable table = make_table(levelled, by_channel);
  table.mean_logprob = stored.mean_logprob;
  table.tokens = stored.tokens;
  const std::vector<double> advantage = config.algorithm->credit(stored).response;
  const std::vector<double> rest = config.algorithm->credit(table).response;
  Pushes out;
  size_t place = 0;
  for (const Group& group : levelled)
    for (const Response& response : group.responses) {
      if (stored.active[place] != 0)
        out[{group.id, response.sample}] = {
            advantage[place], advantage[place] - (table.active[place] != 0 ? rest[place] : 0)};
      ++place;
    }
  return out;
}

// Why what was stored cannot be scored again by itself; "" where it can.
std::string obstacle_of(const RunConfig& config) {
  if (config.chain.asks_outside()) return "a reward from outside would have to be asked again";
  if (config.chain.learns()) return "a reward learns from step to step";
  if (config.knob) return cat("the guard turns ", config.knob->name, " while it trains");
  if (!config.chain.has_rewards() && config.algorithm->uses_reward())
    return "the configuration has no reward";
  return "";
}

}  // namespace

StoredRollouts::StoredRollouts(const fs::path& run) : run_(run) {
  constexpr std::array<std::string_view, 1> kSuffixes = {".jsonl.zst"};
  for (const auto& [step, path] : step_files(run / "rollouts", kSuffixes)) steps_.push_back(step);
  if (steps_.empty()) return;
  const fs::path config = run / "config.toml";
  // The model may have moved, or its path be of another folder: a checkpoint of the run has its
  // tokenizer too.
  std::vector<std::vector<std::string>> tries = {{}};
  for (const fs::path& checkpoint : list_checkpoints(run))
    if (tries.size() < 2) tries.push_back({cat("model.path=", checkpoint.string())});
  for (const auto& overrides : tries) {
    try {
      if (!fs::is_regular_file(config)) fail("there is no config.toml");
      setup_ = load_scoring({config.string()}, overrides, /*only_read=*/true);
      obstacle_ = obstacle_of(*setup_.config);
      return;
    } catch (const std::exception& problem) {  // a model that may not be looked at, among others
      if (obstacle_.empty()) obstacle_ = problem.what();
    }
  }
}

std::string StoredRollouts::source(int64_t step) {
  return cat("rollouts/step_", step, ".jsonl.zst");
}

std::string StoredRollouts::file(int64_t step) const { return (run_ / source(step)).string(); }

std::vector<int64_t> StoredRollouts::evenly(size_t count) const {
  if (steps_.size() <= count) return steps_;
  std::vector<int64_t> out;
  for (size_t i = 0; i < count; ++i)
    out.push_back(steps_[i * (steps_.size() - 1) / std::max<size_t>(count - 1, 1)]);
  return out;
}

Json StoredRollouts::groups(int64_t step, int64_t from, int64_t count) const {
  std::optional<TokenPieces> pieces;
  if (setup_.tokenizer != nullptr) {
    try {
      pieces.emplace(*setup_.tokenizer);
    } catch (const UsageError&) {
      // This tokenizer's tokens have no text of their own: responses are shown whole.
    }
  }
  Json groups = Json::array();
  int64_t num_groups = 0;
  for_each_group(file(step), [&](Group&& group, int64_t place) {
    num_groups = place + 1;
    if (place < from || place >= from + count) return;
    const Prompt& prompt = group.prompt;
    Json one = {{"group", group.id},
                {"problem", to_valid_utf8(prompt.id)},
                {"prompt", shown_text(prompt.text)},
                {"answer", shown_text(prompt.answer)},
                {"difficulty", prompt.difficulty ? Json(*prompt.difficulty) : Json()},
                {"dropped", group.dropped.empty() ? Json() : Json(group.dropped)},
                {"samples", Json::array()}};
    for (const Response& response : group.responses) {
      Json sample = sample_of(response, file(step));
      if (pieces)
        if (Json texts = pieces_of(response, *pieces, setup_.tokenizer->size()); !texts.empty())
          sample["tokens"] = std::move(texts);
      one["samples"].push_back(std::move(sample));
    }
    groups.push_back(std::move(one));
  });
  return {{"step", step},
          {"source", source(step)},
          {"from", from},
          {"num_groups", num_groups},
          {"groups", std::move(groups)}};
}

Json StoredRollouts::lengths(int64_t step, int64_t max_groups) const {
  Json groups = Json::array();
  for_each_group(file(step), [&](Group&& group, int64_t) {
    Json one = {{"group", group.id}, {"problem", to_valid_utf8(group.prompt.id)}};
    for (const char* key : {"sample", "length", "correct", "ended", "first_correct", "advantage",
                            "kept", "correct_after"})
      one[key] = Json::array();
    for (const Response& response : group.responses) {
      const std::optional<bool> verdict = sampled_verdict(response);
      one["sample"].push_back(response.sample);
      one["length"].push_back(response.raw_num_tokens);
      one["correct"].push_back(verdict ? Json(*verdict) : Json());
      one["ended"].push_back(policy_ended(response));
      one["kept"].push_back(response.num_tokens);
      one["correct_after"].push_back(response.correct ? Json(*response.correct) : Json());
      one["first_correct"].push_back(response.first_correct ? Json(*response.first_correct)
                                                            : Json());
      one["advantage"].push_back(
          json_number(number_of(parse_json(response.row, file(step)), "advantage")));
    }
    groups.push_back(std::move(one));
  });
  const auto num_groups = std::ssize(groups);
  Json kept = Json::array();
  const int64_t stride = std::max<int64_t>(1, (num_groups + max_groups - 1) / max_groups);
  for (int64_t i = 0; i < num_groups; i += stride)
    kept.push_back(std::move(groups[static_cast<size_t>(i)]));
  return {{"step", step},
          {"source", source(step)},
          {"max_completion_length",
           setup_.config ? Json(setup_.config->rollout.max_completion_length) : Json()},
          {"num_groups", num_groups},
          {"groups", std::move(kept)}};
}

PushShare StoredRollouts::pushes(int64_t step) const {
  PushShare out{.step = step};
  for (const auto& [place, push] : pushes_of(*setup_.config, file(step))) {
    if (!std::isfinite(push.due_to_length))
      fail("the advantages of wrong answers need log-probabilities (log.rollouts.token_fields)");
    ++out.num_responses;
    out.push += std::abs(push.push);
    out.due_to_length += std::abs(push.due_to_length);
  }
  return out;
}

}  // namespace vernier
