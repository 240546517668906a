#include "trainer/guard.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/metrics/bounds.h"
#include "core/metrics/statistics.h"
#include "rollout/rows.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"guard/pressure", "", "[guard]: value of the knob in force; undefined without pressure"},
    {"guard/move", "", "[guard]: wait, begin, hold, tighten, relax, roll_back, stop or end"},
    {"guard/reason", "", "[guard]: why"},
    {"guard/reference_accuracy", "share", "[guard]: what the policy is held to"},
    {"guard/accuracy_loss", "share", "[guard]: reference less policy, on the same prompts"},
    {"guard/accuracy_loss_low", "share", "[guard]: its lower bound, anytime-valid, 95 %"},
    {"guard/accuracy_loss_high", "share", "[guard]: its upper bound, likewise"},
    {"guard/best_step", "step", "[guard]: of the shortest policy that held"},
    {"guard/best_length", "tokens", "[guard]: its mean length in its evaluation"}};

constexpr double kLevel = 0.05;
constexpr size_t kHashDigits = 16;
constexpr double kFalling = 0.98;  // of the length before: less has fallen, more may be noise
constexpr double kShorter = 0.99;  // of the best length: less is a step ahead
constexpr double kRise = 0.5;      // of max_accuracy_loss: what is less is not worth waiting for
constexpr double kRoom = 1.1;      // between two strengths that are worth telling apart

double level_of(int64_t look) {
  return kLevel / static_cast<double>(look) / static_cast<double>(look + 1);
}

// Upper bound of the mean of values in [low, high].
double upper_mean_bound(std::vector<double> values, double low, double high, double alpha) {
  for (double& value : values) value = -value;
  return -lower_mean_bound(values, -high, -low, alpha);
}

double ratio(const std::vector<PromptScore>& prompts, double PromptScore::*sum,
             double PromptScore::*count) {
  double top = 0, bottom = 0;
  for (const PromptScore& prompt : prompts) {
    top += prompt.*sum;
    bottom += prompt.*count;
  }
  return bottom > 0 ? top / bottom : kUndefined;
}

Json json_of(const Scores& scores) {
  Json prompts = Json::array();
  for (const PromptScore& p : scores.prompts)
    prompts.push_back({p.prompt, p.content, static_cast<int64_t>(p.right),
                       static_cast<int64_t>(p.judged), static_cast<int64_t>(p.tokens),
                       static_cast<int64_t>(p.counted)});
  return {{"step", scores.step}, {"prompts", prompts}};
}

Scores scores_from(const Json& json) {
  Scores out{.step = json.at("step").get<int64_t>(), .prompts = {}};
  for (const Json& p : json.at("prompts"))
    out.prompts.push_back({p.at(0).get<int64_t>(), p.at(1).get<std::string>(),
                           p.at(2).get<double>(), p.at(3).get<double>(), p.at(4).get<double>(),
                           p.at(5).get<double>()});
  return out;
}

bool same_prompts(const Scores& a, const Scores& b) {
  return std::equal(a.prompts.begin(), a.prompts.end(), b.prompts.begin(), b.prompts.end(),
                    [](const PromptScore& x, const PromptScore& y) {
                      return x.prompt == y.prompt && x.content == y.content;
                    });
}

// Losses with the variance of those of two evaluations of this very policy, by the responses of
// each prompt, or where it has one by the accuracy of all.
std::vector<double> as_noisy_as(const Scores& scores) {
  const double accuracy = scores.accuracy();
  double variance = 0, prompts = 0;
  for (const PromptScore& p : scores.prompts) {
    if (p.judged == 0) continue;
    const double share = p.right / p.judged;
    variance +=
        p.judged > 1 ? 2 * share * (1 - share) / (p.judged - 1) : 2 * accuracy * (1 - accuracy);
    prompts += 1;
  }
  const double spread = std::min(1.0, std::sqrt(variance / prompts));
  std::vector<double> out(static_cast<size_t>(prompts), spread);
  for (size_t i = 0; i < out.size(); i += 2) out[i] = -spread;
  return out;
}

double strength_of(const Pressure& pressure, double value) {
  return pressure.smaller_is_more ? 1 / value : value;
}

std::string percent(double share) { return cat(fixed(100 * share, 2), " %"); }

}  // namespace

void GuardConfig::bind(Binder& config) {
  config.number("max_accuracy_loss", max_accuracy_loss, 0.0, 0.5,
                "accuracy that may be given for length: the run ends at the shortest policy that "
                "loses no more for sure; 0: no guard");
  config.text_or_number("reference", reference,
                        "what accuracy is held to: \"peak\", the best evaluation so far, with no "
                        "pressure until it stops rising; \"start\"; a number; or a run's folder");
  config.text(
      "knob", knob,
      "which key is turned: algo.KEY, reward.NAME.KEY or transform.NAME.KEY; empty: the only "
      "one that this configuration has");
  config.number("patience", patience, 1, 1000,
                "evaluations without a rise before pressure begins, and without a shorter policy "
                "before the run stops");
  config.number("factor", factor, 1.1, 100.0, "of the pressure from one strength to the next");
  for (const char* key : {"reference", "knob", "patience", "factor"})
    config.only_if(key, on(), "max_accuracy_loss = 0");
  if (!on()) return;
  if (max_accuracy_loss < kLeastAccuracyLoss)
    config.error("max_accuracy_loss", cat(max_accuracy_loss, " is below ", kLeastAccuracyLoss,
                                          ", which no evaluation can tell from nothing"));
  const auto number = fixed_reference();
  if (number && !(*number > 0 && *number <= 1))
    config.error("reference", cat(reference, " is not an accuracy above 0 and at most 1"));
  if (!number && reference != "peak" && reference != "start" && !fs::is_directory(reference))
    config.error("reference", cat("\"", reference,
                                  "\" is neither peak, start, a number, nor the "
                                  "folder of a run"));
}

std::optional<double> GuardConfig::fixed_reference() const {
  double value = 0;
  const char* end = reference.data() + reference.size();
  const auto [stop, problem] = std::from_chars(reference.data(), end, value);
  return problem == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

std::optional<Knob> choose_knob(Binder& config, const GuardConfig& guard,
                                const std::vector<Knob>& knobs) {
  std::vector<std::string> names;
  for (const Knob& knob : knobs) names.push_back(knob.name);
  auto chosen = std::find_if(knobs.begin(), knobs.end(),
                             [&](const Knob& knob) { return knob.name == guard.knob; });
  if (guard.knob.empty() && knobs.size() == 1) chosen = knobs.begin();
  if (knobs.empty()) {
    config.error("max_accuracy_loss",
                 "nothing in this configuration presses on length with a strength that could be "
                 "turned; add a reward on length, or use algo.type = \"drpo\"");
    return std::nullopt;
  }
  if (chosen == knobs.end()) {
    config.error("knob", guard.knob.empty()
                             ? cat("is not set, and there are several: ", join(names))
                             : cat("\"", guard.knob, "\" is no knob", suggestion(guard.knob, names),
                                   "; this configuration has ", join(names)));
    return std::nullopt;
  }
  const Pressure& range = chosen->pressure;
  if (!(range.value >= range.low && range.value <= range.high)) {
    config.error(
        "knob", cat(chosen->name, " = ", range.value,
                    " is no strength to begin with; its range is ", range.low, " to ", range.high));
    return std::nullopt;
  }
  return *chosen;
}

int64_t planned_bounds(int64_t evaluations) { return 2 * evaluations; }

int64_t fewest_prompts(double max_accuracy_loss, int64_t bounds) {
  const auto decides = [&](int64_t prompts) {
    const std::vector<double> none(static_cast<size_t>(prompts), 0.0);
    return upper_mean_bound(none, -1, 1, level_of(bounds)) <= max_accuracy_loss;
  };
  int64_t enough = 1;
  while (!decides(enough)) enough *= 2;
  for (int64_t step = enough / 4; step > 0; step /= 2)
    if (decides(enough - step)) enough -= step;
  return enough;
}

double Scores::accuracy() const {
  return ratio(prompts, &PromptScore::right, &PromptScore::judged);
}

double Scores::mean_length() const {
  return ratio(prompts, &PromptScore::tokens, &PromptScore::counted);
}

PromptScore score_of(const Group& group) {
  PromptScore out{.prompt = group.id};
  const std::string content = group.prompt.text + '\0' + group.prompt.answer;
  out.content = hash_bytes(content.data(), content.size()).substr(0, kHashDigits);
  for (const Response& response : group.responses) {
    if (!policy_ended(response)) continue;
    out.tokens += response.num_tokens;
    out.counted += 1;
    if (!response.correct) continue;
    out.judged += 1;
    out.right += *response.correct ? 1 : 0;
  }
  return out;
}

Scores scores_of(std::vector<PromptScore> prompts, int64_t step) {
  Scores out{.step = step, .prompts = std::move(prompts)};
  std::sort(out.prompts.begin(), out.prompts.end(),
            [](const PromptScore& a, const PromptScore& b) { return a.prompt < b.prompt; });
  return out;
}

Scores newest_scores(const fs::path& folder) {
  constexpr std::array<std::string_view, 1> kSuffixes = {".jsonl"};
  const std::map<int64_t, fs::path> files = step_files(folder / "eval", kSuffixes);
  if (files.empty())
    fail("guard.reference: ", folder.string(), " has no evaluation (eval/step_N.jsonl)");
  std::vector<PromptScore> prompts;
  read_rollouts(files.rbegin()->second.string(),
                [&](Group&& group) { prompts.push_back(score_of(group)); });
  return scores_of(std::move(prompts), files.rbegin()->first);
}

Guard::Guard(const GuardConfig& config, Knob knob, int64_t evaluations)
    : config_(config), knob_(std::move(knob)), planned_(planned_bounds(evaluations)) {
  const Pressure& range = knob_.pressure;
  const double ends[] = {strength_of(range, range.low), strength_of(range, range.high)};
  least_ = std::min(ends[0], ends[1]);
  most_ = std::max(ends[0], ends[1]);
  strength_ = strength_of(range, range.value);
  if (has_fixed_reference() && !config.fixed_reference())
    reference_ = newest_scores(config.reference);
}

double Guard::value_of(double strength) const {
  return knob_.pressure.smaller_is_more ? 1 / strength : strength;
}

double Guard::pressure() const {
  return phase_ == Phase::pressing ? value_of(strength_) : knob_.pressure.none;
}

std::vector<double> Guard::losses(const Scores& reference, const Scores& now) const {
  const std::optional<double> number = config_.fixed_reference();
  std::vector<double> out;
  for (size_t i = 0; i < now.prompts.size(); ++i) {
    const PromptScore& p = now.prompts[i];
    if (p.judged == 0) continue;
    if (number) {
      out.push_back(*number - p.right / p.judged);
      continue;
    }
    const PromptScore& before = reference.prompts[i];
    if (before.judged > 0) out.push_back(before.right / before.judged - p.right / p.judged);
  }
  return out;
}

std::pair<double, double> Guard::range_of_loss() const {
  const std::optional<double> number = config_.fixed_reference();
  return number ? std::pair(*number - 1, *number) : std::pair(-1.0, 1.0);
}

Guard::Loss Guard::bounds(const Scores& now) {
  const std::vector<double> found = losses(reference_, now);
  const auto [low, high] = range_of_loss();
  const double alpha = level_of(++looks_);
  return {mean_of(found), lower_mean_bound(found, low, high, alpha),
          upper_mean_bound(found, low, high, alpha)};
}

// Whether a policy without any loss, but as noisy as the one at hand, would be found to hold by the
// last of the planned bounds.
void Guard::check_samples(const std::vector<double>& found) const {
  const double mean = mean_of(found);
  std::vector<double> centred = found;
  for (double& value : centred) value -= mean;
  const auto [low, high] = range_of_loss();
  const double width =
      upper_mean_bound(centred, std::min(low, low - mean), std::max(high, high - mean),
                       level_of(std::max(looks_ + 1, planned_)));
  if (width <= config_.max_accuracy_loss) return;
  const double needed = static_cast<double>(found.size()) * width * width /
                        (config_.max_accuracy_loss * config_.max_accuracy_loss);
  fail("guard.max_accuracy_loss = ", config_.max_accuracy_loss, ": on ", found.size(),
       " prompts no loss at all cannot be told from one of ", fixed(width, 3), "; it takes some ",
       fixed(std::ceil(needed / 100) * 100, 0),
       " prompts (data.eval_prompts) with as many responses each (eval.n), or more responses");
}

// Losses are of the same prompts in the same order.
void Guard::check_prompts(const Scores& now) {
  if (reference_.step < 0 || same_prompts(reference_, now)) return;
  if (has_fixed_reference())
    fail("guard.reference: the evaluation of ", config_.reference, " has ",
         reference_.prompts.size(), " prompts, and they are not the ", now.prompts.size(),
         " of this run's evaluations");
  if (phase_ == Phase::waiting) {  // anew
    reference_ = anchor_ = best_ = Scores();
    return;
  }
  fail("guard: the evaluations have other prompts than when it began to press (",
       reference_.prompts.size(),
       " of them); set data.eval_prompts, data.eval_seed and the prompts "
       "back, or begin in another folder");
}

// Takes over a new peak; true where it is one.
bool Guard::follow(const Scores& now) {
  if (has_fixed_reference()) return false;
  const bool first = reference_.step < 0;
  if (!first && (config_.reference == "start" || !(now.accuracy() > reference_.accuracy())))
    return false;
  reference_ = now;
  return true;
}

Move Guard::look(const Scores& now, bool last) {
  if (!std::isfinite(now.accuracy()))
    fail("guard: no response of the evaluation at step ", now.step, " has a verdict");
  const Guard before = *this;
  try {
    check_prompts(now);
    now_ = now.step;
    loss_.reset();
    ended_ = last;
    Move move = phase_ == Phase::waiting ? wait(now) : press(now);
    if (!last || phase_ == Phase::stopped) return move;
    Move end = finish();
    end.reason = cat(move.reason, "; ", end.reason);
    end.keep = move.keep;
    return end;
  } catch (const UsageError&) {
    *this = before;
    throw;
  }
}

Move Guard::finish() {
  const Phase then = phase_;  // where more steps would go on from
  Move end = stop("end", "no step is left");
  phase_ = then;
  ended_ = true;
  return end;
}

Move Guard::wait(const Scores& now) {
  if (has_fixed_reference()) {
    check_samples(losses(reference_, now));
    loss_ = bounds(now);
    if (!holds(*loss_)) return {"wait", cat("it has yet to reach the reference: ", told())};
    best_ = now;
    return begin(now, cat("it has reached the reference: ", told()));
  }
  const bool peak = follow(now);
  if (peak) best_ = now;
  if (config_.reference == "start") {
    check_samples(as_noisy_as(now));
    return begin(now, "the reference is the start");
  }
  const double rise = kRise * config_.max_accuracy_loss;
  if (anchor_.step < 0 || now.accuracy() > anchor_.accuracy() + rise) {
    anchor_ = now;
    still_ = 0;
    return {"wait", cat("accuracy rises: ", percent(now.accuracy())), peak};
  }
  if (++still_ < config_.patience)
    return {"wait",
            cat("accuracy, ", percent(now.accuracy()), ", is not ", percent(rise),
                " above that of step ", anchor_.step, ": ", still_, " of ", config_.patience),
            peak};
  check_samples(losses(anchor_, now));
  Move move =
      begin(now, cat("accuracy has not risen by ", percent(rise), " since step ", anchor_.step));
  move.keep = peak;
  return move;
}

Move Guard::begin(const Scores& now, const std::string& why) {
  phase_ = Phase::pressing;
  still_ = 0;
  last_length_ = now.mean_length();
  return {"begin", cat(why, "; ", in_force()), true};
}

Move Guard::press(const Scores& now) {
  const bool peak = follow(now);
  // The best so far may be too far below it.
  if (peak && !holds(bounds(best_))) best_ = now;
  loss_ = bounds(now);
  if (peak || holds(*loss_)) {
    Move move = held(now);
    move.keep = move.keep || peak;
    return move;
  }
  ++still_;
  if (loss_->low > config_.max_accuracy_loss) return lost("lost");
  if (in_doubt_) return lost("in doubt twice");
  return doubtful();
}

Move Guard::held(const Scores& now) {
  const double length = now.mean_length();
  const bool shortest = best_.step < 0 || length < best_.mean_length();
  still_ = best_.step < 0 || length < kShorter * best_.mean_length() ? 0 : still_ + 1;
  if (shortest) best_ = now;
  held_ = std::max(held_, strength_);
  in_doubt_ = false;
  const bool falling = length < kFalling * last_length_;
  last_length_ = length;
  if (falling) return {"hold", cat(told(), "; the length is still falling"), shortest};
  const double next = next_up();
  if (next < kRoom * strength_) {
    if (still_ >= config_.patience) {
      Move move = stop("stop", cat(told(), "; no strength is left to try, and ", still_,
                                   " evaluations brought no shorter policy"));
      move.keep = shortest;
      return move;
    }
    return {"hold", cat(told(), "; no strength is left to try"), shortest};
  }
  strength_ = next;
  return {"tighten", cat(told(), "; ", in_force()), shortest};
}

double Guard::next_up() const {
  double next = strength_ * config_.factor;
  if (failed_ > 0) next = std::min(next, std::sqrt(strength_ * failed_));
  return std::min(next, most_);
}

// Notes that the strength in force is too much and takes a smaller one; false where there is none.
bool Guard::fail_here() {
  failed_ = failed_ > 0 ? std::min(failed_, strength_) : strength_;
  if (held_ >= failed_) held_ = 0;  // it did for a while
  strength_ = held_ > 0 ? std::sqrt(held_ * failed_) : failed_ / config_.factor;
  return strength_ >= least_;
}

Move Guard::doubtful() {
  in_doubt_ = true;
  if (!fail_here()) return stop("stop", cat(told(), "; in doubt at the least of the pressures"));
  return {"relax", cat(told(), "; in doubt; ", in_force())};
}

Move Guard::lost(const std::string& why) {
  in_doubt_ = false;
  if (!fail_here()) return stop("stop", cat(told(), "; ", why, " at the least of the pressures"));
  last_length_ = best_.mean_length();
  return {"roll_back", cat(told(), "; ", why, "; back to step ", best_.step, "; ", in_force()),
          false, best_.step};
}

Move Guard::stop(const std::string& name, const std::string& why) {
  phase_ = Phase::stopped;
  if (best_.step < 0) return {name, cat(why, "; no policy has held")};
  const std::string which =
      cat("; the end is the policy of step ", best_.step, ", ", fixed(best_.mean_length(), 1),
          " tokens, accuracy ", percent(best_.accuracy()));
  return {name, why + which, false, best_.step == now_ ? std::nullopt : std::optional(best_.step)};
}

std::string Guard::in_force() const { return cat(knob_.name, " = ", fixed(pressure(), 4)); }

std::string Guard::told() const {
  return cat("loss ", percent(loss_->value), " [", percent(loss_->low), ", ", percent(loss_->high),
             "] of ", percent(config_.max_accuracy_loss));
}

std::vector<int64_t> Guard::kept() const {
  std::vector<int64_t> out = {best_.step};
  if (!has_fixed_reference()) out.push_back(reference_.step);
  return out;
}

void Guard::write(const Move& move, Metrics& metrics) const {
  metrics.set("guard/move", Json(move.name));
  metrics.set("guard/reason", Json(move.reason));
  metrics.set_finite("guard/reference_accuracy",
                     config_.fixed_reference().value_or(reference_.accuracy()));
  const Loss undefined{kUndefined, kUndefined, kUndefined};
  const Loss loss = loss_.value_or(undefined);
  metrics.set_finite("guard/accuracy_loss", loss.value);
  metrics.set_finite("guard/accuracy_loss_low", loss.low);
  metrics.set_finite("guard/accuracy_loss_high", loss.high);
  metrics.set_finite("guard/best_step",
                     best_.step < 0 ? kUndefined : static_cast<double>(best_.step));
  metrics.set_finite("guard/best_length", best_.mean_length());
}

Json Guard::state() const {
  return {{"knob", knob_.name},
          {"held_to", config_.reference},
          {"phase", static_cast<int>(phase_)},
          {"ended", ended_},
          {"looked_at", now_},
          {"strength", strength_},
          {"held", held_},
          {"failed", failed_},
          {"looks", looks_},
          {"still", still_},
          {"in_doubt", in_doubt_},
          {"last_length", last_length_},
          {"reference", json_of(reference_)},
          {"best", json_of(best_)},
          {"anchor", json_of(anchor_)}};
}

void Guard::restore(const Json& state) {
  try {
    const auto knob = state.at("knob").get<std::string>();
    const auto held_to = state.at("held_to").get<std::string>();
    if (knob != knob_.name || held_to != config_.reference)
      fail("guard: the run turned ", knob, " with the reference ", held_to, ", and now it is ",
           knob_.name, " with ", config_.reference, "; set it back, or begin in another folder");
    const int phase = state.at("phase").get<int>();
    if (phase < 0 || phase > static_cast<int>(Phase::stopped))
      fail("the checkpoint's state of the guard is not one: phase ", phase);
    phase_ = static_cast<Phase>(phase);
    ended_ = state.at("ended").get<bool>();
    now_ = state.at("looked_at").get<int64_t>();
    strength_ = state.at("strength").get<double>();
    held_ = state.at("held").get<double>();
    failed_ = state.at("failed").get<double>();
    looks_ = state.at("looks").get<int64_t>();
    still_ = state.at("still").get<int64_t>();
    in_doubt_ = state.at("in_doubt").get<bool>();
    last_length_ = state.at("last_length").get<double>();
    reference_ = scores_from(state.at("reference"));
    best_ = scores_from(state.at("best"));
    anchor_ = scores_from(state.at("anchor"));
  } catch (const Json::exception& problem) {
    fail("the checkpoint's state of the guard is not one: ", problem.what());
  }
}

}  // namespace vernier
