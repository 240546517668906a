#include "rollout/length_request.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/base/text.h"
#include "rewards/units.h"

namespace vernier {
namespace {

struct Texts {
  const char *exact, *at_most;
};

Texts default_texts(const std::string& mode) {
  if (mode == "token") return {"[MLT:{budget}]", "[MLT:<{budget}]"};
  if (mode == "priming")
    return {"\n\nThe text has {prompt_words} words. Answer in {budget}, leaving out {deleted}.",
            "\n\nThe text has {prompt_words} words. Answer in at most {budget}, leaving out "
            "{deleted}."};
  return {"\n\nThink for {budget} tokens.", "\n\nThink for maximum {budget} tokens."};
}

std::string filled(std::string text, std::string_view mark, const std::string& value) {
  for (size_t at = text.find(mark); at != std::string::npos;
       at = text.find(mark, at + value.size()))
    text.replace(at, mark.size(), value);
  return text;
}

constexpr double kMost = 1e12;
constexpr const char* kNothing = "null";  // target_length of a prompt that asks for none

// As a row's target_length.
std::string json_of(const LengthTarget& target) {
  const bool is_number = target.name.find_first_not_of("0123456789") == std::string::npos;
  return is_number ? target.name : dump_json(target.name);
}

// Whole numbers with all their digits.
std::string number(double value) {
  return value == std::floor(value) ? cat(static_cast<int64_t>(value)) : cat(value);
}

// The last message of a chat, or a plain text.
std::string last_text(const Prompt& prompt) {
  if (!prompt.is_chat) return prompt.text;
  return parse_json(prompt.text, cat("prompt ", prompt.id)).back()["content"].get<std::string>();
}

// Adds to the last message of a chat, or to a plain text.
void add_text(Prompt& prompt, const std::string& more) {
  if (!prompt.is_chat) {
    prompt.text += more;
    return;
  }
  Json list = parse_json(prompt.text, cat("prompt ", prompt.id));
  list.back()["content"] = list.back()["content"].get<std::string>() + more;
  prompt.text = dump_json(list);
}

}  // namespace

void LengthRequest::bind(Binder& config) {
  config.choice("mode", mode, {"none", "suffix", "priming", "token"}, "how a prompt asks");
  text = default_texts(mode).exact;
  text_at_most = default_texts(mode).at_most;
  config.text("text", text, "with {budget}, and {prompt_words} and {deleted} if wanted");
  config.text("text_at_most", text_at_most, "the same where the target is the most");
  config.list("targets", targets, 1, int64_t{1} << 30, "lengths to draw from; empty: low to high");
  config.number("low", low, 1, int64_t{1} << 30, "least length");
  config.number("high", high, 1, int64_t{1} << 30, "largest length");
  config.number("at_most_share", at_most_share, 0.0, 1.0, "of the targets that are the most");
  config.number("seed", seed, 0, int64_t{1} << 53, "of the targets");
  config.flag("learn_token", learn_token,
              "the warm start learns the control token too, to open responses with one by itself");
  config.only_if("learn_token", mode == "token", cat("mode = \"", mode, "\""));
  std::string named;
  config.text(
      "table", named,
      "ruler, or a file of targets as configs/lengths/ruler.toml; empty: targets, or low to "
      "high");
  for (const char* key : {"text", "text_at_most", "targets", "at_most_share", "seed", "table"})
    config.only_if(key, mode != "none", "mode = \"none\"");
  for (const char* key : {"low", "high"})
    config.only_if(key, mode != "none" && targets.empty() && named.empty(),
                   mode == "none"  ? "mode = \"none\""
                   : named.empty() ? "targets"
                                   : "table");
  config.only_if("targets", named.empty() && mode != "none",
                 mode == "none" ? "mode = \"none\"" : "table");
  config.only_if("at_most_share", named.empty() && mode != "none",
                 mode == "none" ? "mode = \"none\"" : "table");
  if (!named.empty() && mode != "none") try {
      table = LengthTable::read(named);
    } catch (const UsageError& problem) {
      config.error("table", problem.what());
    }
  if (mode == "none") return;
  if (low > high) config.error("low", cat(low, " is more than high = ", high));
  for (const auto& [key, value] :
       {std::pair("text", &text), std::pair("text_at_most", &text_at_most)})
    if (value->find("{budget}") == std::string::npos)
      config.error(key, "does not have {budget} in it");
}

void LengthRequest::apply(Prompt& prompt) const {
  if (mode == "none") return;
  if (prompt.target_length.empty()) {
    const Rng rng(static_cast<uint64_t>(seed), Stream::plan, 0x6C656E,
                  static_cast<uint64_t>(prompt.index));
    const auto draw = [&](int64_t count) {
      return static_cast<int64_t>(rng.bits(0) % static_cast<uint64_t>(count));
    };
    if (table != nullptr) {
      const auto& all = table->targets();
      prompt.target_length = json_of(all[static_cast<size_t>(draw(std::ssize(all)))]);
      return add_request(prompt);
    }
    int64_t target = targets.empty() ? low + draw(high - low + 1)
                                     : targets[static_cast<size_t>(draw(std::ssize(targets)))];
    if (rng.uniform(1) < at_most_share) target = -target;
    prompt.target_length = cat(target);
  }
  add_request(prompt);
}

void LengthRequest::add_request(Prompt& prompt) const {
  if (mode != "token") add_text(prompt, text_of(prompt));
}

void LengthRequest::ask_for(Prompt& prompt, const std::string& response, int64_t tokens) const {
  if (mode == "none") return;
  ask_for_none(prompt);
  if (table != nullptr) {
    const double length = table->unit() == "tokens" ? static_cast<double>(tokens)
                                                    : text_length(response, table->unit());
    if (const LengthTarget* target = table->taught_by(length))
      prompt.target_length = json_of(*target);
    return;
  }
  const auto fits = [&](int64_t target) { return std::abs(target - tokens) <= tokens / 10; };
  if (targets.empty()) {
    if (tokens >= low && tokens <= high) prompt.target_length = cat(tokens);
  } else if (const auto found = std::ranges::find_if(targets, fits); found != targets.end()) {
    prompt.target_length = cat(*found);
  }
}

void LengthRequest::ask_for_none(Prompt& prompt) { prompt.target_length = kNothing; }

std::vector<std::string> LengthRequest::possible_targets() const {
  std::vector<std::string> out;
  if (mode == "none") return out;
  if (table != nullptr) {
    for (const LengthTarget& target : table->targets()) out.push_back(json_of(target));
    return out;
  }
  std::vector<int64_t> lengths = targets;
  if (lengths.empty()) lengths = {low, std::min(low + 1, high), high};
  for (const int64_t length : lengths) {
    if (at_most_share < 1) out.push_back(cat(length));
    if (at_most_share > 0) out.push_back(cat(-length));
  }
  return out;
}

bool LengthRequest::set_longest(Prompt& prompt) const {
  if (mode == "none" || !prompt.target_length.empty()) return false;
  std::string longest;
  size_t bytes = 0;
  for (const std::string& target : possible_targets()) {
    prompt.target_length = target;
    const size_t own = text_of(prompt).size();
    if (own < bytes) continue;
    bytes = own;
    longest = prompt.target_length;
  }
  prompt.target_length = longest;
  return true;
}

std::string LengthRequest::opening(const Prompt& prompt) const {
  return mode == "token" ? text_of(prompt) : "";
}

std::string LengthRequest::text_of(const Prompt& prompt) const {
  if (prompt.target_length == kNothing) return "";
  const double words = text_length(last_text(prompt), "words");
  const auto with = [&](std::string out, const std::string& budget, double deleted) {
    out = filled(std::move(out), "{budget}", budget);
    out = filled(std::move(out), "{prompt_words}", number(words));
    return filled(std::move(out), "{deleted}", number(std::max(0.0, deleted)));
  };
  std::string problem;
  if (table != nullptr) {
    const LengthTarget* target = table->of(prompt, problem);
    if (target == nullptr) fail(problem);
    return with(text, mode == "token" ? target->name : target->text, words - target->precise.low);
  }
  const Json target = parse_json(prompt.target_length, cat("prompt ", prompt.id));
  if (!target.is_number())
    fail("prompt ", prompt.id, ": target_length: ", prompt.target_length.substr(0, 60),
         " is not a number, and data.length_request writes it into the prompt");
  const double n = std::abs(target.get<double>());
  if (n == 0 || n > kMost)
    fail("prompt ", prompt.id, ": target_length: ", prompt.target_length.substr(0, 60),
         " is no length that a prompt can ask for");
  return with(target.get<double>() < 0 ? text_at_most : text, number(n), words - n);
}

}  // namespace vernier
