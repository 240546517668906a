// The chain of rewards and transforms: configuration, verdicts, weighted sums, explanations.
#include "rewards/reward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/clock.h"
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
    if (const size_t others = prompt.other_answers.size(); others > 0)
      how += cat(" or one of ", others, " more");
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
  if (part.abstained.empty()) {
    part.value = score.value;
    part.components = score.components;
  }
  return part;
}

// Brings the values of those that will count to the scale of their group.
void normalize(const Group& group, std::span<Score> scores) {
  std::vector<double> values;
  std::vector<char> counts;
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool counted = scores[i].abstain.empty() && std::isfinite(scores[i].value) &&
                         policy_ended(group.responses[i]);
    values.push_back(scores[i].value);
    counts.push_back(counted ? 1 : 0);
  }
  normalize_values(values, counts);
  for (size_t i = 0; i < scores.size(); ++i) {
    if (counts[i] == 0) continue;
    scores[i].explain +=
        cat(scores[i].explain.empty() ? "" : "; ", scores[i].value, " in its group");
    scores[i].value = values[i];
  }
}

// What only_if and min_solve_rate make of a score.
void close_gate(const Composition& composition, const Group& group, const Response& response,
                Score& score) {
  const Gate gate = gate_of(composition, group, response);
  if (!gate.abstained.empty()) score.abstain = gate.abstained;
  if (gate.closed.empty()) return;
  score = {.value = 0, .abstain = "", .explain = cat("0: ", gate.closed), .token_bonus = {}};
}

// Adds the weighted bonus of a part that counts.
void add_bonus(const RewardPart& part, const Score& score, Response& response) {
  if (score.token_bonus.empty() || !part.abstained.empty() || part.weight == 0) return;
  const auto tokens = static_cast<size_t>(response.num_tokens);
  ensure(score.token_bonus.size() == tokens, "a bonus for each token");
  response.token_bonus.resize(tokens, 0.0F);
  for (size_t t = 0; t < tokens; ++t)
    response.token_bonus[t] += static_cast<float>(part.weight * score.token_bonus[t]);
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
    NamedReward named{.name = keys.name, .type = keys.type};
    b.number("weight", named.weight, -kMaxWeight, kMaxWeight,
             "factor of its value in the sum; 0: it is only logged, and asks nothing of the draw; "
             "what a guard turns where the reward has no other knob");
    named.counts = named.weight != 0;
    const std::vector<std::string> earlier(
        reward_names.begin(), std::find(reward_names.begin(), reward_names.end(), keys.name));
    named.composition.bind(b, earlier);
    named.memory = std::make_unique<RewardMemory>();
    ScoringContext own = context;
    own.memory = named.memory.get();
    own.counts = named.counts;
    named.reward = make<RewardRegistry, Reward>(b, keys.type, own);
    if (named.reward == nullptr) return;
    check_composition(b, named);
    check_plan(b, named);
    rewards_.push_back(std::move(named));
  });
  root.tables("transform", [&](Binder& b) {
    const EntryKeys keys =
        bind_entry(b, Transform::kKind, TransformRegistry::names(), transform_names);
    auto transform = make<TransformRegistry, Transform>(b, keys.type, context);
    if (!transform) return;
    if (transform->sets_reward() && spans_step())
      b.error("",
              "changes rewards, and one of the [[reward]]s has its value only when the step is "
              "whole; leave one of them out");
    if (!transform->sets_reward() && !reward_transforms().empty())
      b.error("", cat("comes after transform.", reward_transforms().front(),
                      ", which changes rewards and has to be the last"));
    transforms_.push_back({keys.name, std::move(transform)});
  });
}

// Values of a reward that spans the step come late: nothing may have read them before.
void ScoringChain::check_composition(Binder& b, const NamedReward& named) const {
  for (const NamedReward& one : rewards_)
    if (one.name == named.composition.only_if && one.reward->spans_step())
      b.error("only_if", cat("reward.", one.name, " depends on the whole step and gates nothing"));
  if (named.reward->spans_step() && named.composition.normalize != "none")
    b.error("normalize", cat("reward.", named.name, " depends on the whole step already"));
  if (!named.counts) return;
  if (named.reward->is_advantage() && named.composition.normalize != "none")
    b.error("normalize", "the values are advantages already, which this would change");
  if (named.reward->may_be_gated()) return;
  const char* unfair = "what one answer gets stands against what others get; it cannot be 0 alone";
  if (!named.composition.only_if.empty()) b.error("only_if", unfair);
  if (named.composition.min_solve_rate > 0) b.error("min_solve_rate", unfair);
}

void ScoringChain::check_plan(Binder& b, const NamedReward& named) const {
  if (!named.counts) return;
  const SamplingPlan own = named.reward->plan();
  const auto groups = [](const SamplingPlan& plan) {
    return plan.forced_share > 0 || plan.branches != SamplingPlan::Branches::none;
  };
  for (const NamedReward& other : rewards_) {
    if (!other.counts) continue;
    const SamplingPlan before = other.reward->plan();
    if ((groups(own) && groups(before)) || (own.monitor_every > 0 && before.monitor_every > 0) ||
        (own.reference_generations > 0 && before.reference_generations > 0))
      b.error("type", cat("asks for a sampling plan, and so does reward.", other.name,
                          "; a run has one of each kind"));
  }
}

SamplingPlan ScoringChain::plan() const {
  SamplingPlan out;
  for (const NamedReward& named : rewards_) {
    if (!named.counts) continue;
    const SamplingPlan own = named.reward->plan();
    if (own.monitor_every > 0) {
      out.monitor_every = own.monitor_every;
      out.monitor_prompts = own.monitor_prompts;
    }
    if (own.reference_generations > 0) out.reference_generations = own.reference_generations;
    if (own.forced_share > 0) {
      out.forced_share = own.forced_share;
      out.forced_text = own.forced_text;
    }
    if (own.branches == SamplingPlan::Branches::none) continue;
    out.branches = own.branches;
    out.exit_text = own.exit_text;
    out.exit_tokens = own.exit_tokens;
    out.siblings = own.siblings;
    out.budgets = own.budgets;
  }
  return out;
}

bool ScoringChain::lacks_reference(const Prompt& prompt) const {
  return std::ranges::any_of(rewards_, [&](const NamedReward& one) {
    return one.counts && one.reward->lacks_reference(prompt);
  });
}

std::vector<Abstention> ScoringChain::abstains_on(const Prompt& prompt) const {
  std::vector<Abstention> found;
  for (const NamedReward& named : rewards_)
    if (std::string why = named.reward->abstains_on(prompt);
        !why.empty() && named.counts && !named.composition.is_gated())
      found.push_back({named.name, std::move(why), !named.composition.pauses()});
  return found;
}

bool ScoringChain::is_mute(const std::vector<Abstention>& found, bool by_channel) const {
  if (!by_channel) return std::ranges::any_of(found, &Abstention::in_every_step);
  return !found.empty() &&
         std::ssize(found) == std::ranges::count_if(rewards_, &NamedReward::counts);
}

std::vector<std::string> ScoringChain::advantages() const {
  std::vector<std::string> names;
  for (const NamedReward& named : rewards_)
    if (named.weight != 0 && named.reward->is_advantage()) names.push_back(named.name);
  return names;
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

void ScoringChain::score_part(size_t place, Group& group, std::span<const size_t> which) const {
  NamedReward& named = rewards_[place];
  const double weight = named.weight * named.composition.factor(group.step);
  std::vector<Score> scores(group.responses.size());
  const Clock clock;
  named.reward->score(group, scores);
  named.seconds += clock.seconds();
  if (named.composition.normalize == "group") normalize(group, scores);
  for (const size_t i : which) {
    Response& response = group.responses[i];
    close_gate(named.composition, group, response, scores[i]);
    RewardPart part = part_of(named.name, weight, scores[i], response);
    explain_part(response, part, named.reward->depends_on_length(), scores[i].explain);
    add_bonus(part, scores[i], response);
    if (place < response.rewards.size())
      response.rewards[place] = std::move(part);
    else
      response.rewards.push_back(std::move(part));
  }
}

void ScoringChain::score_responses(Group& group, std::span<const size_t> which) const {
  for (const size_t i : which) {
    group.responses[i].rewards.clear();
    group.responses[i].token_bonus.clear();
  }
  // All are told before one is waited for: those who ask somebody else answer side by side.
  for (const NamedReward& named : rewards_)
    for (const size_t i : named.reward->needs_group() ? which.first(1) : which)
      named.reward->expect(group, i);
  for (size_t k = 0; k < rewards_.size(); ++k) score_part(k, group, which);
  for (const size_t i : which) add_up(group.responses[i]);
}

void ScoringChain::observe(const Group& group, StepNotes& notes) const {
  for (const NamedReward& named : rewards_)
    notes.add(named.name, group.id, named.reward->observe(group));
}

bool ScoringChain::spans_step() const {
  return std::ranges::any_of(rewards_,
                             [](const NamedReward& one) { return one.reward->spans_step(); });
}

void ScoringChain::finish_step(std::span<Group> groups, const StepNotes& notes) {
  if (!spans_step()) return;
  for (const NamedReward& named : rewards_)
    if (named.reward->spans_step()) named.reward->prepare_step(notes.of(named.name));
  for (Group& group : groups) {
    std::vector<size_t> all(group.responses.size());
    std::iota(all.begin(), all.end(), size_t{0});
    for (size_t k = 0; k < rewards_.size(); ++k)
      if (rewards_[k].reward->spans_step()) score_part(k, group, all);
    for (Response& response : group.responses) add_up(response);
  }
  for (const NamedReward& named : rewards_)  // the next step begins with its groups alone
    if (named.reward->spans_step()) named.reward->prepare_step({});
}

bool ScoringChain::learns() const {
  return std::ranges::any_of(rewards_, [](const NamedReward& one) { return one.reward->learns(); });
}

void ScoringChain::expect(const Group& group, size_t response) const {
  for (const NamedReward& named : rewards_)
    if (!named.reward->needs_group()) named.reward->expect(group, response);
}

void ScoringChain::expect(const Group& group) const {
  for (const NamedReward& named : rewards_)
    if (named.reward->needs_group() && !group.responses.empty()) named.reward->expect(group, 0);
}

bool ScoringChain::asks_outside() const {
  return std::ranges::any_of(rewards_,
                             [](const NamedReward& one) { return one.reward->asks_outside(); });
}

std::vector<std::pair<std::string, double>> ScoringChain::seconds() const {
  std::vector<std::pair<std::string, double>> out;
  for (const NamedReward& named : rewards_) out.emplace_back(named.name, named.seconds);
  if (!transforms_.empty()) out.emplace_back("transforms", transform_seconds_);
  return out;
}

std::vector<std::pair<std::string, int64_t>> ScoringChain::take_counters() {
  std::vector<std::pair<std::string, int64_t>> out;
  for (NamedReward& named : rewards_)
    for (const auto& [what, count] : named.reward->counters()) {
      int64_t& before = named.counted[what];
      out.emplace_back(cat("rewards/", named.name, "/", what), count - before);
      before = count;
    }
  return out;
}

void ScoringChain::measure(Group& group) const {
  for (Response& response : group.responses) {
    response.explain.clear();
    set_verdict(group.prompt, response, false);
    response.sampled_correct = response.correct;
    response.rewards.clear();
    response.reward.reset();
  }
}

void ScoringChain::learn(const StepNotes& notes) {
  for (const NamedReward& named : rewards_) named.reward->learn(notes.of(named.name));
}

void ScoringChain::mark() {
  for (const NamedReward& named : rewards_) named.memory->mark();
}

void ScoringChain::roll_back() {
  for (const NamedReward& named : rewards_) named.memory->roll_back();
}

std::vector<std::pair<std::string, double>> ScoringChain::memory_numbers() const {
  std::vector<std::pair<std::string, double>> out;
  for (const NamedReward& named : rewards_)
    for (const auto& [name, value] : named.memory->numbers())
      out.emplace_back(cat("rewards/", named.name, "/", name), value);
  return out;
}

Json ScoringChain::state() const {
  Json out = Json::object();
  for (const NamedReward& named : rewards_)
    if (Json one = named.memory->state(); !one.is_null()) out[named.name] = std::move(one);
  return out.empty() ? Json(nullptr) : out;
}

void ScoringChain::restore(const Json& state) {
  if (!state.is_null() && !state.is_object()) fail("memories of rewards: not an object");
  for (const NamedReward& named : rewards_)
    named.memory->restore(state.is_object() ? state.value(named.name, Json()) : Json(),
                          cat("memory of reward.", named.name));
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
    response.left_out = response.left_out_in_batch = false;
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
  const Clock clock;
  for (const NamedTransform& named : transforms_) {
    if (!by_length && named.transform->depends_on_length()) continue;
    const auto more = named.transform->apply(group, rescore);
    numbers.insert(numbers.end(), more.begin(), more.end());
  }
  transform_seconds_ += clock.seconds();
  return numbers;
}

}  // namespace vernier
