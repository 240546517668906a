#include "rewards/outside/outside.h"

#include <algorithm>
#include <utility>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "rewards/outside/wire.h"

namespace vernier {
namespace {

constexpr double kGraceS = 1;  // that who answers may take to say that the deadline has passed
// Answers that were taken are kept for who asks again about the same content: a transform that cuts
// one response has the others of its group scored again. They are small.
constexpr size_t kMaxKept = 1 << 16;
constexpr double kKeptS = 3600;

// Columns of stored responses that are large and say nothing about the prompt.
constexpr const char* kHeavy[] = {"response",         "response_ids",    "prompt_ids",   "logprobs",
                                  "sampled_logprobs", "plain_logprobs",  "top_logprobs", "forced",
                                  "explain",          "token_advantages"};

std::string row_of(const Group& group, const Response& response) {
  const std::string& text = response.row.empty() ? group.prompt.row : response.row;
  Json row = Json::object();
  if (!text.empty()) row = parse_json(text, cat("prompt ", group.prompt.id));
  if (!row.is_object()) row = Json::object();
  for (const char* key : kHeavy) row.erase(key);
  if (!row.contains("answer") && !group.prompt.answer.empty()) row["answer"] = group.prompt.answer;
  return dump_json(row);
}

AskedResponse asked_of(const Response& response) {
  return {.sample = response.sample,
          .text = response.text,
          .ids = response.ids,
          .num_tokens = response.num_tokens,
          .finish_reason = name_of(response.finish_reason),
          .think = response.think,
          .answer = response.answer_span};
}

std::string hash_of(const Asked& asked) {
  std::string all = cat(asked.prompt, '\0', asked.answer, '\0', asked.row);
  for (const AskedResponse& one : asked.responses) {
    all += cat('\0', one.sample, '\0', one.text, '\0', one.num_tokens, '\0', one.finish_reason,
               '\0', one.think.begin, '\0', one.think.end, '\0', one.answer.begin, '\0',
               one.answer.end, '\0');
    all.append(reinterpret_cast<const char*>(one.ids.data()), one.ids.size() * sizeof(int32_t));
  }
  return hash_bytes(all.data(), all.size());
}

std::string explained(const Score& score) {
  std::string out;
  for (const auto& [name, value] : score.components)
    out += cat(out.empty() ? "" : ", ", name, " = ", value);
  return out;
}

}  // namespace

void OutsideConfig::bind(Binder& config) {
  name = config.section();
  config.number("deadline_s", deadline_s, 0.01, 86400.0,
                "seconds from the question to its answer; then the response has no reward");
  config.flag("needs_group", needs_group,
              "whether it compares the responses of a group, and so is asked about all at once");
  config.flag("depends_on_length", depends_on_length,
              "whether it looks at lengths, for score --explain");
  config.number("max_failed_share", max_failed_share, 0.0, 1.0,
                "of failure_window: with more failures the run ends; 1 never ends it");
  config.number("failure_window", failure_window, 1, 1 << 20,
                "the last responses, of which failures are counted");
}

OutsideReward::OutsideReward(OutsideConfig config, std::unique_ptr<Answerer> service)
    : config_(std::move(config)),
      ledger_(
          std::make_shared<Ledger>(config_.name, config_.max_failed_share, config_.failure_window)),
      service_(std::move(service)) {}

void OutsideReward::expect(const Group& group, size_t response) const {
  if (config_.needs_group)
    question_of(group, 0, group.responses.size(), false);
  else if (policy_ended(group.responses.at(response)))
    question_of(group, response, 1, false);
}

// The question about `count` responses from `first` on; asks it where nobody has. `take`: for its
// answer.
QuestionPtr OutsideReward::question_of(const Group& group, size_t first, size_t count,
                                       bool take) const {
  ensure(service_ != nullptr, "a reward that was only read is not asked");
  Asked asked{.id = "",
              .prompt = group.prompt.text,
              .answer = group.prompt.answer,
              .row = row_of(group, group.responses.at(first)),
              .responses = {}};
  for (size_t i = first; i < first + count; ++i)
    asked.responses.push_back(asked_of(group.responses[i]));
  // Samples are told apart by their place: stored ones need not be numbered.
  const int64_t place = config_.needs_group ? -1 : static_cast<int64_t>(first);
  Key key(group.step, group.id, place, hash_of(asked));
  QuestionPtr question;
  {
    const std::lock_guard hold(lock_);
    forget(group.step);
    Kept& kept = questions_[key];
    const bool is_new = !kept.question;
    if (is_new) {
      asked.id = cat(group.step, "/", group.id, place < 0 ? "" : cat("/", place), "#", ++asked_);
      kept.question = std::make_shared<Question>(
          std::move(asked), config_.deadline_s,
          [ledger = ledger_](const std::vector<Outcome>& outcomes) { ledger->add(outcomes); });
    }
    question = kept.question;
    if (take && !std::exchange(kept.taken, true))
      taken_.emplace_back(std::chrono::steady_clock::now(), std::move(key));
    if (!is_new) return question;
  }
  service_->ask(question);
  return question;
}

// Of answers that were taken those are forgotten that are too many or old. Whoever has not come for
// one may still do so, however large the step: what a step has left that was broken off is looked
// for in a later one.
void OutsideReward::forget(int64_t step) const {
  const auto oldest =
      std::chrono::steady_clock::now() - as_duration(std::max(kKeptS, 2 * config_.deadline_s));
  for (; !taken_.empty() && (taken_.size() > kMaxKept || taken_.front().first < oldest);
       taken_.pop_front())
    questions_.erase(taken_.front().second);
  if (step <= last_step_) return;
  last_step_ = step;
  std::erase_if(questions_, [&](const auto& entry) {
    const Kept& kept = entry.second;
    return !kept.taken && kept.question->deadline() < oldest;
  });
}

void OutsideReward::collect(const QuestionPtr& question, std::span<Score> scores) const {
  if (!question->wait_until(question->deadline() + as_duration(kGraceS)))
    question->fail("timeout", cat("no answer within ", config_.deadline_s, " s"));
  // Whoever answers in between is waited for: fail() returns false while it is at it.
  question->wait_until(Question::Time::max());
  for (size_t i = 0; i < scores.size(); ++i) {
    const Outcome& outcome = question->outcomes()[i];
    if (outcome.cause == "timeout" && service_->is_stuck())
      fail_run(config_.name, ": ", outcome.score.abstain,
               "; it runs in this process, where it cannot be ended: leave out hosted = false");
    scores[i] = outcome.score;
    scores[i].explain = explained(scores[i]);
  }
}

void OutsideReward::score(const Group& group, std::span<Score> scores) const {
  if (scores.empty()) return;
  if (config_.needs_group) {
    collect(question_of(group, 0, scores.size(), true), scores);
  } else {
    std::vector<QuestionPtr> questions(scores.size());  // all are asked before one is waited for
    for (size_t i = 0; i < scores.size(); ++i)
      if (policy_ended(group.responses[i])) questions[i] = question_of(group, i, 1, true);
    for (size_t i = 0; i < scores.size(); ++i)
      if (questions[i])
        collect(questions[i], scores.subspan(i, 1));
      else
        scores[i].abstain = cat("finish reason ", name_of(group.responses[i].finish_reason));
  }
  ledger_->check();
}

std::map<std::string, int64_t> OutsideReward::counters() const {
  ensure(service_ != nullptr, "a reward that was only read has counted nothing");
  std::map<std::string, int64_t> out = service_->counters();
  for (const auto& [name, count] : ledger_->counters()) out[name] += count;
  return out;
}

}  // namespace vernier
