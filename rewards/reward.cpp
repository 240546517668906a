// The chain of rewards and transforms: configuration, verdicts, weighted sums, explanations.
#include "rewards/reward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "rewards/verify/judge.h"

namespace vernier {
namespace {

constexpr double kMaxWeight = 1e6;
constexpr double kLowWeight = 0.01, kHighWeight = 100;  // of a weight that is turned as a knob
constexpr size_t kMaxShown = 200;  // bytes of a response that an explanation quotes

// Dots would break `--set reward.NAME.key`, slashes the names of metrics.
bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

std::string weight_knob(const std::string& reward) { return cat("reward.", reward, ".weight"); }

struct EntryKeys {
  std::string type, name;
};

// The two keys that every entry of [[reward]] and [[transform]] has. `taken` are the names before.
EntryKeys bind_entry(Binder& b, std::string_view kind, const std::vector<std::string>& types,
                     std::vector<std::string>& taken) {
  EntryKeys keys;
  b.text("type", keys.type, cat("which ", kind, ": ", join(types, " | ")));
  keys.name = keys.type;
  b.text("name", keys.name, "what metrics and messages call it; by default its type");
  if (!is_name(keys.name)) {
    if (b.has("name"))
      b.error("name", cat("\"", keys.name, "\" is not a name: letters, digits, _ and - only"));
    return keys;
  }
  b.rename(cat(kind, ".", keys.name));
  if (std::find(taken.begin(), taken.end(), keys.name) != taken.end())
    b.error("name", cat("an earlier [[", kind, "]] is called ", keys.name,
                        " too; give one of them a name of its own"));
  taken.push_back(keys.name);
  return keys;
}

// Makes the member called `type`, which binds its own keys; null where there is none, as an error.
template <class Members, class T>
std::unique_ptr<T> make(Binder& b, const std::string& type, const ScoringContext& context) {
  const auto& rows = Members::all();
  if (const auto row = rows.find(type); row != rows.end()) return row->second.make(b, context);
  const std::vector<std::string> names = Members::names();
  if (!b.has("type")) {
    b.error("", cat("has no type; one of ", join(names)));
    return nullptr;
  }
  b.error("type", cat("\"", type, "\" is no ", T::kKind, suggestion(type, names),
                      "; known: ", join(names)));
  // The keys beside it belong to the type that was meant. Left unbound, each would be a mistake.
  const std::string meant = nearest(type, names);
  if (!meant.empty()) rows.at(meant).make(b, context);
  return nullptr;
}

std::string shortened(std::string_view text) {
  if (text.size() <= kMaxShown) return std::string(text);
  return cat(text.substr(0, whole_utf8_prefix(text.substr(0, kMaxShown))), "...");
}

Json verdict_step(const Prompt& prompt, const Response& response) {
  Json step = {{"step", "verify"}, {"rule", prompt.verify}};
  step["correct"] = response.correct ? Json(*response.correct) : Json(nullptr);
  return step;
}

// Sets Response::correct. A stored verdict stands where the row has no rule, unless the response
// has changed since.
void set_verdict(const Prompt& prompt, Response& response, bool changed) {
  const std::optional<bool> stored = changed ? std::nullopt : response.correct;
  response.correct.reset();
  std::string how, unverifiable;
  if (const std::optional<Verdict> verdict = judge(prompt, response, &unverifiable)) {
    response.correct = verdict->correct;
    how = cat("found ", verdict->found.empty() ? "nothing" : shortened(verdict->found));
    if (needs_answer(prompt.verify)) how += cat(", want ", shortened(prompt.answer));
  } else if (!policy_ended(response)) {
    how = cat("finish reason ", name_of(response.finish_reason));
  } else if (!unverifiable.empty()) {
    how = unverifiable;
  } else {
    response.correct = stored;
    how = cat(prompt.verify.empty() ? "the row has no rule" : "the row has no answer",
              response.correct ? "; its stored verdict stands" : "");
  }
  if (response.explain.empty()) return;
  Json step = verdict_step(prompt, response);
  step["how"] = how;
  add_explanation(response, dump_json(step));
}

// The verdict that a transform has decided.
void force(const Prompt& prompt, Response& response, bool verdict) {
  response.correct = verdict;
  if (response.explain.empty()) return;
  Json step = verdict_step(prompt, response);
  step["how"] = "set by a transform";
  add_explanation(response, dump_json(step));
}

// A value with its weight, or the reason why there is none.
RewardPart part_of(const std::string& name, double weight, const Score& score,
                   const Response& response) {
  RewardPart part{.name = name, .value = 0, .weight = weight, .abstained = score.abstain};
  if (!policy_ended(response))
    part.abstained = cat("finish reason ", name_of(response.finish_reason));
  else if (part.abstained.empty() && !std::isfinite(weight * score.value))
    part.abstained = "not finite";
  if (part.abstained.empty()) part.value = score.value;
  return part;
}

void explain_part(Response& response, const RewardPart& part, bool depends_on_length,
                  const std::string& how) {
  if (response.explain.empty()) return;
  Json step = {{"step", "reward"}, {"name", part.name}};
  if (part.abstained.empty())
    step["value"] = part.value;
  else
    step["abstained"] = part.abstained;
  step["weight"] = part.weight;
  if (depends_on_length) step["depends_on_length"] = true;
  if (!how.empty()) step["how"] = how;
  add_explanation(response, dump_json(step));
}

void add_up(Response& response) {
  response.reward.reset();
  std::string missing;
  double sum = 0;
  for (const RewardPart& part : response.rewards) {
    // A part of weight 0 is only logged: it cannot take the sum away.
    if (!part.abstained.empty() && part.weight != 0 && missing.empty())
      missing = cat(part.name, " abstained");
    sum += part.weight * part.value;
  }
  if (response.rewards.empty())
    missing = "no reward is configured";
  else if (missing.empty() && !std::isfinite(sum))
    missing = "not finite";
  if (missing.empty()) response.reward = sum;
  if (response.explain.empty()) return;
  Json step = {{"step", "sum"}};
  step["reward"] = response.reward ? Json(sum) : Json(nullptr);
  if (!missing.empty()) step["how"] = missing;
  add_explanation(response, dump_json(step));
}

}  // namespace

void add_explanation(Response& response, std::string_view step) {
  std::string& list = response.explain;
  if (list.empty()) return;
  ensure(list.back() == ']', "Response::explain is a JSON list");
  list.pop_back();
  list += cat(list.size() > 1 ? "," : "", step, "]");
}

void ScoringChain::bind(Binder& root, const ScoringContext& context) {
  rewards_.clear();
  transforms_.clear();
  std::vector<std::string> reward_names, transform_names;
  root.tables("reward", [&](Binder& b) {
    const EntryKeys keys = bind_entry(b, Reward::kKind, RewardRegistry::names(), reward_names);
    double weight = 1;
    b.number("weight", weight, -kMaxWeight, kMaxWeight, "factor of its value in the sum");
    auto reward = make<RewardRegistry, Reward>(b, keys.type, context);
    if (reward) rewards_.push_back({keys.name, keys.type, weight, std::move(reward)});
  });
  root.tables("transform", [&](Binder& b) {
    const EntryKeys keys =
        bind_entry(b, Transform::kKind, TransformRegistry::names(), transform_names);
    auto transform = make<TransformRegistry, Transform>(b, keys.type, context);
    if (!transform) return;
    if (!transform->sets_reward() && !reward_transforms().empty())
      b.error("", cat("comes after transform.", reward_transforms().front(),
                      ", which changes rewards and has to be the last"));
    transforms_.push_back({keys.name, std::move(transform)});
  });
}

std::vector<std::string> ScoringChain::shaping_rewards() const {
  std::vector<std::string> names;
  for (const NamedReward& named : rewards_)
    if (named.weight != 0 && named.type != "accuracy") names.push_back(named.name);
  return names;
}

std::vector<std::string> ScoringChain::reward_transforms() const {
  std::vector<std::string> names;
  for (const NamedTransform& named : transforms_)
    if (named.transform->sets_reward()) names.push_back(named.name);
  return names;
}

std::vector<std::string> ScoringChain::length_rewards() const {
  std::vector<std::string> names;
  for (const NamedReward& named : rewards_)
    if (named.reward->depends_on_length()) names.push_back(named.name);
  return names;
}

bool ScoringChain::pays_beside(const std::string& knob) const {
  return std::any_of(rewards_.begin(), rewards_.end(), [&](const NamedReward& named) {
    return named.weight != 0 && weight_knob(named.name) != knob;
  });
}

std::vector<Knob> ScoringChain::knobs() {
  std::vector<Knob> out;
  for (NamedReward& named : rewards_) {
    if (!named.reward->depends_on_length() || named.weight == 0) continue;
    if (const auto own = named.reward->pressure()) {
      out.push_back({.name = cat("reward.", named.name, ".", own->key),
                     .pressure = *own,
                     .of_reward = true,
                     .set = [&named](double value) { named.reward->set_pressure(value); }});
      continue;
    }
    out.push_back({.name = weight_knob(named.name),
                   .pressure = {.key = "weight",
                                .value = named.weight,
                                .low = kLowWeight,
                                .high = kHighWeight,
                                .smaller_is_more = false,
                                .none = 0},
                   .of_reward = true,
                   .of_weight = true,
                   .set = [&named](double value) { named.weight = value; }});
  }
  for (NamedTransform& named : transforms_)
    if (const auto own = named.transform->pressure())
      out.push_back({.name = cat("transform.", named.name, ".", own->key),
                     .pressure = *own,
                     .set = [&named](double value) { named.transform->set_pressure(value); }});
  return out;
}

void ScoringChain::score_responses(Group& group, std::span<const size_t> which) const {
  for (const size_t i : which) group.responses[i].rewards.clear();
  for (const NamedReward& named : rewards_) {
    std::vector<Score> scores(group.responses.size());
    named.reward->score(group, scores);
    for (const size_t i : which) {
      Response& response = group.responses[i];
      response.rewards.push_back(part_of(named.name, named.weight, scores[i], response));
      explain_part(response, response.rewards.back(), named.reward->depends_on_length(),
                   scores[i].explain);
    }
  }
  for (const size_t i : which) add_up(group.responses[i]);
}

std::vector<std::pair<std::string, double>> ScoringChain::score(Group& group, bool explain) const {
  return score(group, explain, true);
}

void ScoringChain::score_as_sampled(Group& group) const { score(group, false, false); }

bool ScoringChain::transforms_by_length() const {
  return std::ranges::any_of(transforms_, [](const NamedTransform& named) {
    return named.transform->depends_on_length();
  });
}

std::vector<std::pair<std::string, double>> ScoringChain::score(Group& group, bool explain,
                                                                bool by_length) const {
  for (Response& response : group.responses) {
    response.explain = explain ? "[]" : "";
    response.masked = false;
    const std::optional<bool> before_cut =
        response.raw_num_tokens > response.num_tokens ? response.sampled_correct : std::nullopt;
    set_verdict(group.prompt, response, false);
    if (!by_length && before_cut) force(group.prompt, response, *before_cut);
    response.sampled_correct = response.correct;
  }
  std::vector<size_t> all(group.responses.size());
  std::iota(all.begin(), all.end(), size_t{0});
  score_responses(group, all);

  const Transform::Rescore rescore = [this](Group& changed, size_t i, std::optional<bool> verdict) {
    Response& response = changed.responses[i];
    if (verdict)
      force(changed.prompt, response, *verdict);
    else
      set_verdict(changed.prompt, response, true);
    score_responses(changed, std::span(&i, 1));
  };
  std::vector<std::pair<std::string, double>> numbers;
  for (const NamedTransform& named : transforms_) {
    if (!by_length && named.transform->depends_on_length()) continue;
    const auto more = named.transform->apply(group, rescore);
    numbers.insert(numbers.end(), more.begin(), more.end());
  }
  return numbers;
}

}  // namespace vernier
