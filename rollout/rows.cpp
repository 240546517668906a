#include "rollout/rows.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "core/base/errors.h"
#include "core/metrics/statistics.h"

namespace vernier {
namespace {

Json span_json(const TokenSpan& span) {
  return span.begin < 0 ? Json(nullptr) : Json::array({span.begin, span.end});
}

std::string shown(const Json& value) { return dump_json(value).substr(0, 60); }

// An integer as it stands: nothing is rounded, nothing wraps.
template <class T>
T integer_of(const Json& value, const std::string& what) {
  const bool whole = value.is_number_integer();
  const bool fits = whole && (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX) &&
                    std::in_range<T>(value.get<int64_t>());
  if (!fits)
    fail(what, ": ", shown(value), " is not an integer of ", std::numeric_limits<T>::min(), " to ",
         std::numeric_limits<T>::max());
  return static_cast<T>(value.get<int64_t>());
}

template <class T>
T integer_field(const Json& row, const char* key, T fallback, const std::string& where) {
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return fallback;
  return integer_of<T>(*found, cat(where, ": ", key));
}

std::vector<int32_t> integers_field(const Json& row, const char* key, const std::string& where) {
  std::vector<int32_t> out;
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return out;
  if (!found->is_array()) fail(where, ": ", key, ": ", shown(*found), " is not a list");
  for (const Json& value : *found) out.push_back(integer_of<int32_t>(value, cat(where, ": ", key)));
  return out;
}

// What a row says under `key`, or `fallback`; another type than T is an error.
template <class T>
T field(const Json& row, const char* key, T fallback, const std::string& where) {
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return fallback;
  try {
    return found->get<T>();
  } catch (const Json::exception&) {
    fail(where, ": ", key, ": ", shown(*found), " has the wrong type");
  }
}

// Weight versions, each with the tokens that were drawn with it.
std::vector<std::pair<int64_t, int32_t>> versions_field(const Json& row, const std::string& where) {
  std::vector<std::pair<int64_t, int32_t>> out;
  const auto found = row.find("versions");
  if (found == row.end() || found->is_null()) return out;
  const std::string what = cat(where, ": versions");
  if (!found->is_array()) fail(what, ": ", shown(*found), " is not a list");
  for (const Json& part : *found) {
    if (!part.is_array() || part.size() != 2)
      fail(what, ": ", shown(part), " is not [version, tokens]");
    out.emplace_back(integer_of<int64_t>(part[0], what), integer_of<int32_t>(part[1], what));
  }
  return out;
}

TokenSpan span_field(const Json& row, const char* key, const std::string& where) {
  const auto pair = integers_field(row, key, where);
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
  prompt.index = integer_field<int64_t>(row, "prompt_index", 0, where);
  const auto text = row.find("prompt");
  if (text != row.end())
    prompt.text = text->is_string() ? text->get<std::string>() : dump_json(*text);
  prompt.ids = integers_field(row, "prompt_ids", where);
  const auto answer = row.find("answer");
  if (answer != row.end() && !answer->is_null())
    prompt.answer = answer->is_string() ? answer->get<std::string>() : dump_json(*answer);
  prompt.other_answers = field<std::vector<std::string>>(row, "other_answers", {}, where);
  prompt.verify = field<std::string>(row, "verify", "", where);
  prompt.task = field<std::string>(row, "task", "", where);
  if (row.contains("difficulty") && !row["difficulty"].is_null())
    prompt.difficulty = field<double>(row, "difficulty", 0, where);
  if (row.contains("max_completion_length") && !row["max_completion_length"].is_null())
    prompt.max_completion_length = integer_field<int64_t>(row, "max_completion_length", 0, where);
  prompt.row = dump_json(row);
  keep_columns(row, prompt);
  return prompt;
}

constexpr float kRounding = 1e-4F;  // that the logarithm of a probability may be above 0

// Lists that go with the tokens are as long as they are, and forced places are among them.
void check_tokens(const Response& response, const std::string& where) {
  const auto check = [&](const char* key, const std::vector<float>& values) {
    if (!values.empty() && values.size() < static_cast<size_t>(response.num_tokens))
      fail(where, ": ", key, ": ", values.size(), " for ", response.num_tokens, " tokens");
    for (const float value : values)
      if (!(value <= kRounding && std::isfinite(value)))
        fail(where, ": ", key, ": ", value, " is not the logarithm of a probability");
  };
  check("logprobs", response.logprobs);
  check("sampled_logprobs", response.sampled_logprobs);
  check("plain_logprobs", response.plain_logprobs);
  const auto& bonus = response.token_bonus;
  if (!bonus.empty() && bonus.size() != static_cast<size_t>(response.num_tokens))
    fail(where, ": token_bonus: ", bonus.size(), " for ", response.num_tokens, " tokens");
  for (const auto& [key, places] :
       {std::pair("forced", &response.forced), std::pair("assumed", &response.assumed)}) {
    int32_t before = -1;
    for (const int32_t place : *places) {
      if (place <= before || place >= response.raw_num_tokens)
        fail(where, ": ", key, ": ", place, " is not a place of ", response.raw_num_tokens,
             " tokens, in rising order");
      before = place;
    }
  }
}

// An object by name, in its own order.
template <class T>
std::vector<std::pair<std::string, T>> by_name(const Json& row, const char* key,
                                               const std::string& where) {
  std::vector<std::pair<std::string, T>> out;
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return out;
  if (!found->is_object()) fail(where, ": ", key, ": ", shown(*found), " is not an object");
  for (const auto& [name, value] : found->items())
    out.emplace_back(name, field<T>(*found, name.c_str(), T{}, cat(where, ": ", key)));
  return out;
}

// The parts of a reward and their sum, as they are stored.
void read_rewards(const Json& row, const std::string& where, Response& response) {
  for (const auto& [name, value] : by_name<double>(row, "rewards", where))
    response.rewards.push_back({.name = name, .value = value, .weight = 1, .abstained = ""});
  for (const auto& [name, why] : by_name<std::string>(row, "abstained", where))
    response.rewards.push_back({.name = name, .value = 0, .weight = 1, .abstained = why});
  if (const Json components = row.value("reward_components", Json::object());
      components.is_object())
    for (RewardPart& part : response.rewards)
      part.components = by_name<double>(components, part.name.c_str(), where);
  for (const auto& [name, weight] : by_name<double>(row, "reward_weights", where))
    for (RewardPart& part : response.rewards)
      if (part.name == name) part.weight = weight;
  if (row.contains("reward") && !row["reward"].is_null())
    response.reward = field<double>(row, "reward", 0, where);
  response.masked = field<bool>(row, "masked", false, where);
}

Response response_of(const Json& row, const std::string& where) {
  Response response;
  response.sample = integer_field<int64_t>(row, "sample", 0, where);
  response.text = field<std::string>(row, "response", "", where);
  response.ids = integers_field(row, "response_ids", where);
  response.logprobs = field<std::vector<float>>(row, "logprobs", {}, where);
  response.sampled_logprobs = field<std::vector<float>>(row, "sampled_logprobs", {}, where);
  response.plain_logprobs = field<std::vector<float>>(row, "plain_logprobs", {}, where);
  response.forced = integers_field(row, "forced", where);
  response.assumed = integers_field(row, "assumed", where);
  response.token_bonus = field<std::vector<float>>(row, "token_bonus", {}, where);
  if (const auto branch = integers_field(row, "branch", where);
      branch.size() == 3 && *std::ranges::min_element(branch) >= 0)
    response.branch = {branch[0], branch[1], branch[2]};
  else if (!branch.empty())
    fail(where, ": branch: is not [thought, exit, cut], each 0 or more");
  const auto left_out = field<std::string>(row, "left_out", "", where);
  if (!left_out.empty() && left_out != "in_batch" && left_out != "out")
    fail(where, ": left_out: \"", left_out, "\" is neither \"in_batch\" nor \"out\"");
  response.left_out = !left_out.empty();
  response.left_out_in_batch = left_out == "in_batch";
  response.flags = field<std::vector<std::string>>(row, "flags", {}, where);
  response.finish_reason =
      finish_reason_from(field<std::string>(row, "finish_reason", "stop", where), where);
  const auto size = static_cast<int32_t>(response.ids.size());
  response.num_tokens = integer_field<int32_t>(row, "num_tokens", size, where);
  if (response.num_tokens < 0 || (size > 0 && response.num_tokens > size))
    fail(where, ": num_tokens: ", response.num_tokens, " does not fit ", size, " response_ids");
  if (size == 0 && !row.contains("num_tokens"))
    fail(where, ": has neither response_ids nor num_tokens; a length cannot be guessed");
  response.raw_num_tokens =
      integer_field<int32_t>(row, "raw_num_tokens", response.num_tokens, where);
  check_tokens(response, where);
  response.think = span_field(row, "think", where);
  response.answer_span = span_field(row, "answer_span", where);
  if (row.contains("first_correct") && !row["first_correct"].is_null())
    response.first_correct = integer_field<int32_t>(row, "first_correct", 0, where);
  if (row.contains("correct") && !row["correct"].is_null())
    response.correct = field<bool>(row, "correct", false, where);
  response.sampled_correct = response.correct;
  if (row.contains("sampled_correct") && !row["sampled_correct"].is_null())
    response.sampled_correct = field<bool>(row, "sampled_correct", false, where);
  response.versions = versions_field(row, where);
  read_rewards(row, where, response);
  return response;
}

// What `vernier replay` needs and other readers can do without.
void check_token_fields(const Json& row, const std::string& where) {
  for (const char* key : {"prompt_ids", "response_ids", "logprobs"})
    if (!row.contains(key) || !row[key].is_array() ||
        (row[key].empty() && !row["response_ids"].empty()))
      fail(where, ": has no ", key, "; rollouts have them with log.rollouts.token_fields = true");
  const std::string kind = field<std::string>(row, "logprobs_kind", "tempered", where);
  if (kind != "tempered")
    fail(where, ": logprobs_kind: \"", kind, "\" is not \"tempered\": under logits / temperature");
}

// A column that the prompt's row brought, or null.
Json column(const std::string& json) { return json.empty() ? Json() : Json::parse(json); }

// Where a length stands among those of its group, as sampled.
struct LengthPlace {
  double rank = kUndefined;  // from 1, the shortest; equal ones share the mean of theirs
  double z = kUndefined;     // standard deviations (n - 1) over the mean
};

// Undefined of responses that the policy did not end: how long they would have become nobody knows.
std::vector<LengthPlace> length_places(const Group& group) {
  std::vector<double> lengths;
  for (const Response& response : group.responses)
    if (policy_ended(response)) lengths.push_back(response.raw_num_tokens);
  const double mean = mean_of(lengths), deviation = std_of(lengths);
  std::vector<LengthPlace> out;
  for (const Response& response : group.responses) {
    LengthPlace& place = out.emplace_back();
    if (!policy_ended(response)) continue;
    const double length = response.raw_num_tokens;
    double below = 0, equal = 0;
    for (const double other : lengths) {
      below += other < length ? 1 : 0;
      equal += other == length ? 1 : 0;
    }
    place.rank = below + (equal + 1) / 2;
    if (deviation > 0) place.z = (length - mean) / deviation;
  }
  return out;
}

// The other columns of the prompt's row.
void add_columns(const Json& source, Json& row) {
  // Fields that a row has only sometimes: a column of that name would be taken for them.
  static const std::set<std::string> kOurs = {
      "assumed",       "branch",           "explain",       "left_out",
      "prompt_ids",    "response_ids",     "role",          "token_bonus",
      "logprobs",      "forced",           "greedy_reward", "reward_components",
      "logprobs_kind", "sampled_logprobs", "plain_logprobs"};
  for (const auto& [name, value] : source.items())
    if (!row.contains(name) && !kOurs.contains(name)) row[name] = value;
}

}  // namespace

void keep_columns(const Json& row, Prompt& prompt) {
  const auto keep = [&](const char* key, std::string& field) {
    const auto found = row.find(key);
    field = found == row.end() || found->is_null() ? "" : dump_json(*found);
  };
  keep("round", prompt.round);
  keep("baseline", prompt.baseline);
  keep("target_length", prompt.target_length);
}

Json rollout_row(const Group& group, const Response& response, bool token_fields,
                 const std::string& logprobs_kind) {
  const Prompt& prompt = group.prompt;
  Json row = {
      {"id", cat(prompt.id, "-", response.sample)},
      {"group", group.id},
      {"sample", response.sample},
      {"step", group.step},
      {"problem", prompt.id},
      {"prompt_index", prompt.index},
      {"round", column(prompt.round)},
      {"task", prompt.task},
      {"difficulty", prompt.difficulty ? Json(*prompt.difficulty) : Json(nullptr)},
      {"prompt", prompt.text},
      {"response", response.text},
      {"answer", prompt.answer},
      {"verify", prompt.verify},
      {"finish_reason", name_of(response.finish_reason)},
      {"flags", response.flags},
      {"num_tokens", response.num_tokens},
      {"raw_num_tokens", response.raw_num_tokens},
      {"think", span_json(response.think)},
      {"answer_span", span_json(response.answer_span)},
      {"first_correct", response.first_correct ? Json(*response.first_correct) : Json()},
      {"correct", response.correct ? Json(*response.correct) : Json(nullptr)},
      {"sampled_correct", response.sampled_correct ? Json(*response.sampled_correct) : Json()},
      {"baseline", column(prompt.baseline)},
      {"target_length", column(prompt.target_length)},
      {"versions", response.versions}};
  if (token_fields) {
    row["prompt_ids"] = prompt.ids;
    row["response_ids"] = response.ids;
    row["logprobs"] = response.logprobs;
    row["logprobs_kind"] = logprobs_kind;
    if (!response.sampled_logprobs.empty()) row["sampled_logprobs"] = response.sampled_logprobs;
    if (!response.plain_logprobs.empty()) row["plain_logprobs"] = response.plain_logprobs;
    row["forced"] = response.forced;
    if (!response.assumed.empty()) row["assumed"] = response.assumed;
    if (!response.token_bonus.empty()) row["token_bonus"] = response.token_bonus;
  }
  if (!group.role.empty()) row["role"] = group.role;
  const Branch& branch = response.branch;
  if (branch.thought >= 0) row["branch"] = Json::array({branch.thought, branch.exit, branch.cut});
  if (response.left_out) row["left_out"] = response.left_out_in_batch ? "in_batch" : "out";
  if (!prompt.other_answers.empty()) row["other_answers"] = prompt.other_answers;
  if (prompt.max_completion_length) row["max_completion_length"] = *prompt.max_completion_length;
  Json rewards = Json::object(), abstained = Json::object(), weights = Json::object();
  for (const RewardPart& part : response.rewards) {
    for (const auto& [name, value] : part.components)
      row["reward_components"][part.name][name] = value;
    if (part.abstained.empty())
      rewards[part.name] = part.value;
    else
      abstained[part.name] = part.abstained;
    if (part.weight != 1) weights[part.name] = part.weight;
  }
  row["rewards"] = rewards;
  row["reward_weights"] = weights;
  row["reward"] = response.reward ? Json(*response.reward) : Json(nullptr);
  row["advantage"] = std::isfinite(response.advantage) ? Json(response.advantage) : Json(nullptr);
  row["transforms"] = response.transforms;
  row["abstained"] = abstained;
  row["masked"] = response.masked;
  row["dropped"] = group.dropped.empty() ? Json(nullptr) : Json(group.dropped);
  if (const auto& greedy = group.greedy_reward)
    row["greedy_reward"] = std::isfinite(*greedy) ? Json(*greedy) : Json(nullptr);
  return row;
}

std::vector<Json> rollout_rows(const Group& group, bool token_fields,
                               const std::string& logprobs_kind) {
  const Prompt& prompt = group.prompt;
  const Json columns =
      prompt.row.empty() ? Json::object() : parse_json(prompt.row, cat("prompt ", prompt.id));
  std::vector<Json> rows;
  const std::vector<LengthPlace> places = length_places(group);
  for (const Response& response : group.responses) {
    const LengthPlace& place = places[rows.size()];
    rows.push_back(rollout_row(group, response, token_fields, logprobs_kind));
    rows.back()["length_rank"] = json_number(place.rank);
    rows.back()["length_z"] = json_number(place.z);
    add_columns(columns, rows.back());
  }
  return rows;
}

namespace {

// Rows of one group agree on what was asked.
void check_same_prompt(const Json& first, const Json& row, const std::string& where) {
  for (const char* key : {"prompt", "prompt_ids", "problem", "answer", "other_answers", "verify",
                          "dropped", "greedy_reward", "role"})
    if (first.value(key, Json()) != row.value(key, Json()))
      fail(where, ": ", key, ": ", shown(row.value(key, Json())), " differs from ",
           shown(first.value(key, Json())), " of the group's first row");
}

}  // namespace

void read_rollouts(const std::string& path, const std::function<void(Group&&)>& done,
                   bool token_fields) {
  LineReader reader(path);
  std::string line;
  Group open;
  Json first;
  std::set<std::pair<int64_t, int64_t>> seen;
  const auto hand_over = [&] {
    if (open.responses.empty()) return;
    std::stable_sort(open.responses.begin(), open.responses.end(),
                     [](const Response& a, const Response& b) { return a.sample < b.sample; });
    done(std::move(open));
  };
  while (reader.next(line)) {
    const std::string where = reader.where();
    const Json row = parse_json(line, where);
    if (!row.is_object()) fail(where, ": a row is a JSON object");
    if (!row.contains("group")) fail(where, ": has no group; rewards compare the responses of one");
    const auto group = integer_field<int64_t>(row, "group", 0, where);
    const auto step = integer_field<int64_t>(row, "step", 0, where);
    if (open.responses.empty() || group != open.id || step != open.step) {
      hand_over();
      if (!seen.emplace(step, group).second)
        fail(where, ": group ", group, " of step ", step,
             " goes on after other groups; sort the rows by group");
      open = Group{};
      open.id = group;
      open.step = step;
      open.prompt = prompt_of(row, where);
      open.dropped = field<std::string>(row, "dropped", "", where);
      open.role = field<std::string>(row, "role", "", where);
      if (!open.role.empty() && open.role != "monitor" && open.role != "reference")
        fail(where, ": role: \"", open.role, "\" is neither \"monitor\" nor \"reference\"");
      if (row.contains("greedy_reward"))
        open.greedy_reward =
            field<double>(row, "greedy_reward", std::numeric_limits<double>::quiet_NaN(), where);
      first = row;
    }
    check_same_prompt(first, row, where);
    if (token_fields) check_token_fields(row, where);
    open.responses.push_back(response_of(row, where));
    open.responses.back().row = line;
  }
  hand_over();
}

std::vector<std::string> rollout_files(const std::string& path) {
  if (!fs::is_directory(path)) return {path};
  constexpr std::array<std::string_view, 1> kSuffixes = {".jsonl.zst"};
  std::vector<std::string> out;
  for (const auto& [step, file] : step_files(path, kSuffixes)) out.push_back(file.string());
  if (out.empty()) fail(path, ": has no step_N.jsonl.zst");
  return out;
}

std::string index_line(const Group& group, const Response& response, uint64_t offset) {
  // As sampled: a cut is the trainer's doing, and its tokens were paid for.
  const std::optional<bool> correct =
      response.sampled_correct ? response.sampled_correct : response.correct;
  std::string out = cat(response.raw_num_tokens, "\t", !correct ? "-" : *correct ? "1" : "0", "\t");
  out += response.reward ? cat(*response.reward) : std::string("-");
  return out + cat("\t", group.id, "\t", offset, "\t", name_of(response.finish_reason), "\n");
}

// One zstd frame.
struct RolloutWriter::Stream {
  DurableFile file;
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::string buffer = std::string(ZSTD_CStreamOutSize(), '\0');
  uint64_t taken = 0;  // bytes of rows

  explicit Stream(fs::path path) : file(std::move(path)) {
    ensure(context != nullptr, "memory for compression");
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 3);
  }
  ~Stream() { ZSTD_freeCCtx(context); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void write(std::string_view text, ZSTD_EndDirective how) {
    ZSTD_inBuffer input{text.data(), text.size(), 0};
    for (size_t left = 1; left > 0;) {
      ZSTD_outBuffer output{buffer.data(), buffer.size(), 0};
      left = ZSTD_compressStream2(context, &output, &input, how);
      ensure(ZSTD_isError(left) == 0, "compression of the rollouts");
      file.write(buffer.data(), output.pos);
      if (how == ZSTD_e_continue) left = input.size - input.pos;
    }
    taken += text.size();
  }
};

RolloutWriter::RolloutWriter(const fs::path& folder, int64_t step)
    : folder_(folder), step_(step), index_(cat(kIndexHeader, "\n")) {
  fs::create_directories(folder);
  stream_ = std::make_unique<Stream>(folder / cat("step_", step, ".jsonl.zst"));
}

RolloutWriter::~RolloutWriter() = default;

void RolloutWriter::add(const Group& group, const std::vector<std::string>& rows) {
  ensure(rows.size() == group.responses.size(), "a row a response");
  for (size_t i = 0; i < rows.size(); ++i) {
    // The index is of what is trained on.
    if (group.role.empty()) index_ += index_line(group, group.responses[i], stream_->taken);
    stream_->write(rows[i] + "\n", ZSTD_e_continue);
  }
}

void RolloutWriter::commit() {
  stream_->write("", ZSTD_e_end);
  stream_->file.commit();
  write_file(folder_ / cat("step_", step_, ".idx"), index_);
}

std::vector<std::string> row_texts(const Group& group, bool token_fields,
                                   const std::string& logprobs_kind) {
  std::vector<std::string> out;
  for (const Json& row : rollout_rows(group, token_fields, logprobs_kind))
    out.push_back(dump_json(row));
  return out;
}

void write_rollout_files(const fs::path& folder, int64_t step, const std::vector<Group>& groups,
                         bool token_fields, const std::string& logprobs_kind,
                         std::span<const Group> measured) {
  RolloutWriter writer(folder, step);
  for (const std::span<const Group> part : {measured, std::span<const Group>(groups)})
    for (const Group& group : part)
      writer.add(group, row_texts(group, token_fields, logprobs_kind));
  writer.commit();
}

}  // namespace vernier
