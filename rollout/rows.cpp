#include "rollout/rows.h"

#include <zstd.h>

#include <cmath>

#include "core/base/errors.h"

namespace vernier {
namespace {

Json span_json(const TokenSpan& span) {
  return span.begin < 0 ? Json(nullptr) : Json::array({span.begin, span.end});
}

// What a row says under `key`, or `fallback`; another type than T is an error.
template <class T>
T field(const Json& row, const char* key, T fallback, const std::string& where) {
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return fallback;
  try {
    return found->get<T>();
  } catch (const Json::exception&) {
    const std::string shown = dump_json(*found);
    fail(where, ": ", key, ": ", shown.substr(0, 60), " has the wrong type");
  }
}

TokenSpan span_field(const Json& row, const char* key, const std::string& where) {
  const auto pair = field<std::vector<int32_t>>(row, key, {}, where);
  if (pair.empty()) return {};
  if (pair.size() != 2 || pair[0] < 0 || pair[1] < pair[0])
    fail(where, ": ", key, ": ", dump_json(row[key]), " is not [begin, end]");
  return {pair[0], pair[1]};
}

// Columns that are the row's own; everything else belongs to the prompt's row.
Prompt prompt_of(const Json& row, const std::string& where) {
  Prompt prompt;
  prompt.id =
      row.contains("problem") ? dump_json(row["problem"]) : dump_json(row.value("id", Json("")));
  if (row.contains("problem") && row["problem"].is_string())
    prompt.id = row["problem"].get<std::string>();
  prompt.index = field<int64_t>(row, "prompt_index", field<int64_t>(row, "group", 0, where), where);
  const auto text = row.find("prompt");
  if (text != row.end())
    prompt.text = text->is_string() ? text->get<std::string>() : dump_json(*text);
  prompt.ids = field<std::vector<int32_t>>(row, "prompt_ids", {}, where);
  const auto answer = row.find("answer");
  if (answer != row.end() && !answer->is_null())
    prompt.answer = answer->is_string() ? answer->get<std::string>() : dump_json(*answer);
  prompt.verify = field<std::string>(row, "verify", "", where);
  prompt.task = field<std::string>(row, "task", "", where);
  if (row.contains("difficulty") && row["difficulty"].is_number())
    prompt.difficulty = row["difficulty"].get<double>();
  prompt.row = dump_json(row);
  return prompt;
}

Response response_of(const Json& row, const std::string& where) {
  Response response;
  response.sample = field<int64_t>(row, "sample", 0, where);
  response.text = field<std::string>(row, "response", "", where);
  response.ids = field<std::vector<int32_t>>(row, "response_ids", {}, where);
  response.logprobs = field<std::vector<float>>(row, "logprobs", {}, where);
  response.finish_reason =
      finish_reason_from(field<std::string>(row, "finish_reason", "stop", where), where);
  const auto size = static_cast<int32_t>(response.ids.size());
  response.num_tokens = field<int32_t>(row, "num_tokens", size, where);
  if (response.num_tokens < 0 || (size > 0 && response.num_tokens > size))
    fail(where, ": num_tokens: ", response.num_tokens, " does not fit ", size, " response_ids");
  if (size == 0 && !row.contains("num_tokens"))
    fail(where, ": has neither response_ids nor num_tokens; a length cannot be guessed");
  response.raw_num_tokens = field<int32_t>(row, "raw_num_tokens", response.num_tokens, where);
  if (!response.logprobs.empty() &&
      response.logprobs.size() < static_cast<size_t>(response.num_tokens))
    fail(where, ": logprobs: ", response.logprobs.size(), " for ", response.num_tokens, " tokens");
  response.think = span_field(row, "think", where);
  response.answer_span = span_field(row, "answer_span", where);
  if (row.contains("correct") && row["correct"].is_boolean())
    response.correct = row["correct"].get<bool>();
  return response;
}

}  // namespace

Json rollout_row(const Group& group, const Response& response, bool token_fields,
                 const std::string& logprobs_kind) {
  const Prompt& prompt = group.prompt;
  Json row = {{"id", cat(prompt.id, "-", response.sample)},
              {"group", group.id},
              {"sample", response.sample},
              {"step", group.step},
              {"problem", prompt.id},
              {"prompt_index", prompt.index},
              {"task", prompt.task},
              {"difficulty", prompt.difficulty ? Json(*prompt.difficulty) : Json(nullptr)},
              {"prompt", prompt.text},
              {"response", response.text},
              {"answer", prompt.answer},
              {"verify", prompt.verify},
              {"finish_reason", name_of(response.finish_reason)},
              {"num_tokens", response.num_tokens},
              {"raw_num_tokens", response.raw_num_tokens},
              {"think", span_json(response.think)},
              {"answer_span", span_json(response.answer_span)},
              {"correct", response.correct ? Json(*response.correct) : Json(nullptr)},
              {"versions", response.versions}};
  if (token_fields) {
    row["prompt_ids"] = prompt.ids;
    row["response_ids"] = response.ids;
    row["logprobs"] = response.logprobs;
    row["logprobs_kind"] = logprobs_kind;
  }
  if (response.rewards.empty()) return row;
  Json rewards = Json::object(), abstained = Json::object();
  for (const RewardPart& part : response.rewards) {
    if (part.abstained.empty())
      rewards[part.name] = part.value;
    else
      abstained[part.name] = part.abstained;
  }
  row["rewards"] = rewards;
  row["reward"] = response.reward ? Json(*response.reward) : Json(nullptr);
  row["advantage"] = std::isfinite(response.advantage) ? Json(response.advantage) : Json(nullptr);
  row["transforms"] = response.transforms;
  if (!abstained.empty()) row["abstained"] = abstained;
  return row;
}

void read_rollouts(const std::string& path, const std::function<void(Group&&)>& done) {
  LineReader reader(path);
  std::string line;
  Group open;
  bool any = false;
  while (reader.next(line)) {
    const std::string where = reader.where();
    const Json row = parse_json(line, where);
    if (!row.is_object()) fail(where, ": a row is a JSON object");
    const auto group = field<int64_t>(row, "group", 0, where);
    const auto step = field<int64_t>(row, "step", 0, where);
    if (!any || group != open.id || step != open.step) {
      if (any) done(std::move(open));
      open = Group{};
      open.id = group;
      open.step = step;
      open.prompt = prompt_of(row, where);
      any = true;
    }
    open.responses.push_back(response_of(row, where));
    open.responses.back().row = line;
  }
  if (any) done(std::move(open));
}

void write_rollout_files(const fs::path& folder, int64_t step, const std::vector<Group>& groups,
                         bool token_fields, const std::string& logprobs_kind) {
  fs::create_directories(folder);
  std::string rows, index = "length\tcorrect\treward\tgroup\toffset\n";
  for (const Group& group : groups)
    for (const Response& response : group.responses) {
      index += cat(response.num_tokens, "\t",
                   !response.correct   ? "-"
                   : *response.correct ? "1"
                                       : "0",
                   "\t");
      index += response.reward ? cat(*response.reward) : std::string("-");
      index += cat("\t", group.id, "\t", rows.size(), "\n");
      rows += dump_json(rollout_row(group, response, token_fields, logprobs_kind)) + "\n";
    }
  std::string packed(ZSTD_compressBound(rows.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), rows.data(), rows.size(), 3);
  ensure(ZSTD_isError(size) == 0, "compression of the rollouts");
  packed.resize(size);
  write_file(folder / cat("step_", step, ".jsonl.zst"), packed);
  write_file(folder / cat("step_", step, ".idx"), index);
}

}  // namespace vernier
