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
#include "rollout/rows.h"

namespace vernier {
namespace {

constexpr size_t kMaxTextBytes = 8000;  // of one text that a page shows
constexpr size_t kMaxPieces = 4000;     // tokens of one response that a page colours

// A text for a page: valid UTF-8, and not endless.
Json shown_text(const Json& value) {
  if (!value.is_string()) return value;
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() <= kMaxTextBytes) return to_valid_utf8(text);
  return cat(to_valid_utf8(std::string_view(text).substr(0, kMaxTextBytes)), " … (",
             text.size() - kMaxTextBytes, " bytes more)");
}

Json field_of(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found == row.end() ? Json() : *found;
}

// Calls `use` with each row that is trained on, and the place of its group in the file.
void for_each_sample(const fs::path& path, const std::function<void(const Json&, int64_t)>& use) {
  LineReader reader(path.string());
  std::string line;
  std::optional<Json> group;
  int64_t place = -1;
  while (reader.next(line)) {
    const std::string where = reader.where();
    const Json row = parse_json(line, where);
    if (!row.is_object() || !row.contains("group")) fail(where, ": is no row of a rollout");
    if (row.contains("role")) continue;
    if (!group || *group != row["group"]) {
      group = row["group"];
      ++place;
    }
    use(row, place);
  }
}

// Texts of the tokens, log-probabilities and weight versions: [[text, logprob, version], …]. Bytes
// that are no whole character wait for the token that ends it.
Json pieces_of(const Json& row, const Tokenizer& tokenizer) {
  Json out = Json::array();
  const auto ids = row.find("response_ids"), logprobs = row.find("logprobs");
  if (ids == row.end() || logprobs == row.end() || ids->size() != logprobs->size()) return out;
  std::vector<int64_t> versions;
  for (const Json& part : row.value("versions", Json::array()))
    versions.insert(versions.end(), part.at(1).get<size_t>(), part.at(0).get<int64_t>());
  std::string waiting;
  double sum = 0;
  for (size_t i = 0; i < std::min(ids->size(), kMaxPieces); ++i) {
    const std::array<int32_t, 1> id = {(*ids)[i].get<int32_t>()};
    waiting += tokenizer.decode(id);
    sum += (*logprobs)[i].is_number() ? (*logprobs)[i].get<double>() : 0;
    if (!is_utf8(waiting) && waiting.size() < 8) continue;
    out.push_back({to_valid_utf8(waiting), sum, i < versions.size() ? Json(versions[i]) : Json()});
    waiting.clear();
    sum = 0;
  }
  if (!waiting.empty()) out.push_back({to_valid_utf8(waiting), sum, Json()});
  return out;
}

Json sample_of(const Json& row, const Tokenizer* tokenizer) {
  Json out = {{"text", shown_text(field_of(row, "response"))}};
  for (const char* key :
       {"sample",          "num_tokens",    "raw_num_tokens", "finish_reason", "correct",
        "sampled_correct", "first_correct", "length_rank",    "length_z",      "think",
        "answer_span",     "rewards",       "reward_weights", "abstained",     "reward",
        "advantage",       "transforms",    "masked",         "dropped",       "versions"})
    if (row.contains(key)) out[key] = row[key];
  if (tokenizer == nullptr) return out;
  if (Json pieces = pieces_of(row, *tokenizer); !pieces.empty()) out["tokens"] = std::move(pieces);
  return out;
}

// What `score --explain` says of each response of a file, by group and sample.
struct Push {
  double push = 0, due_to_length = 0;
};
using Pushes = std::map<std::pair<int64_t, int64_t>, Push>;

Pushes pushes_of(RunConfig& config, const std::string& path) {
  Pushes out;
  Scorer scorer(config, true, [&](const Group& group, const Response& response, Json&& row) {
    for (const Json& step : row["explain"])
      if (step.value("step", "") == "push" && step["push"].is_number())
        out[{group.id, response.sample}] = {
            step["push"].get<double>(),
            step["due_to_length"].is_number() ? step["due_to_length"].get<double>() : kUndefined};
  });
  read_rollouts(path, [&](Group&& group) { scorer.take(std::move(group), path); });
  scorer.end_step();
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
  try {
    if (!fs::exists(config)) fail("there is no config.toml");
    setup_ = load_scoring({config.string()}, {});
    obstacle_ = obstacle_of(*setup_.config);
  } catch (const UsageError& problem) {
    obstacle_ = problem.what();
  }
}

fs::path StoredRollouts::file(int64_t step) const {
  return run_ / "rollouts" / cat("step_", step, ".jsonl.zst");
}

std::vector<int64_t> StoredRollouts::evenly(size_t count) const {
  if (steps_.size() <= count) return steps_;
  std::vector<int64_t> out;
  for (size_t i = 0; i < count; ++i)
    out.push_back(steps_[i * (steps_.size() - 1) / std::max<size_t>(count - 1, 1)]);
  return out;
}

Json StoredRollouts::groups(int64_t step, int64_t from, int64_t count) const {
  Json groups = Json::array();
  int64_t last = -1;
  for_each_sample(file(step), [&](const Json& row, int64_t place) {
    last = place;
    if (place < from || place >= from + count) return;
    if (std::ssize(groups) <= place - from) {
      Json group = {{"prompt", shown_text(field_of(row, "prompt"))}};
      for (const char* key : {"group", "problem", "answer", "difficulty", "task"})
        group[key] = field_of(row, key);
      group["samples"] = Json::array();
      groups.push_back(std::move(group));
    }
    groups.back()["samples"].push_back(sample_of(row, setup_.tokenizer.get()));
  });
  return {{"step", step},
          {"source", cat("rollouts/step_", step, ".jsonl.zst")},
          {"from", from},
          {"num_groups", last + 1},
          {"groups", std::move(groups)}};
}

Json StoredRollouts::lengths(int64_t step, int64_t max_groups) const {
  Pushes pushes;
  if (obstacle_.empty()) {
    try {
      pushes = pushes_of(*setup_.config, file(step).string());
    } catch (const UsageError&) {
      // pushes() says why.
    }
  }
  Json groups = Json::array();
  int64_t num_groups = 0;
  for_each_sample(file(step), [&](const Json& row, int64_t place) {
    if (place + 1 > num_groups) {
      ++num_groups;
      Json group = {{"group", row["group"]}, {"problem", field_of(row, "problem")}};
      for (const char* key :
           {"sample", "length", "correct", "ended", "first_correct", "advantage", "due_to_length"})
        group[key] = Json::array();
      groups.push_back(std::move(group));
    }
    Json& group = groups.back();
    const std::string reason = row.value("finish_reason", "");
    group["sample"].push_back(field_of(row, "sample"));
    group["length"].push_back(field_of(row, "raw_num_tokens"));
    group["correct"].push_back(field_of(row, "sampled_correct"));
    group["ended"].push_back(reason == "stop" || reason == "length");
    group["first_correct"].push_back(field_of(row, "first_correct"));
    group["advantage"].push_back(field_of(row, "advantage"));
    const auto push = pushes.find({row["group"].get<int64_t>(), row["sample"].get<int64_t>()});
    group["due_to_length"].push_back(
        push == pushes.end() ? Json() : json_number(push->second.due_to_length));
  });
  Json kept = Json::array();
  const int64_t stride = std::max<int64_t>(1, (num_groups + max_groups - 1) / max_groups);
  for (int64_t i = 0; i < num_groups; i += stride)
    kept.push_back(std::move(groups[static_cast<size_t>(i)]));
  return {{"step", step},
          {"source", cat("rollouts/step_", step, ".jsonl.zst")},
          {"max_completion_length",
           setup_.config ? Json(setup_.config->rollout.max_completion_length) : Json()},
          {"num_groups", num_groups},
          {"groups", std::move(kept)}};
}

PushShare StoredRollouts::pushes(int64_t step) const {
  PushShare out{.step = step};
  for (const auto& [place, push] : pushes_of(*setup_.config, file(step).string())) {
    if (std::isnan(push.due_to_length)) continue;
    ++out.num_responses;
    out.push += std::abs(push.push);
    out.due_to_length += std::abs(push.due_to_length);
  }
  return out;
}

}  // namespace vernier
