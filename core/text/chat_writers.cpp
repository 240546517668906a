#include "core/text/chat_writers.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/base/errors.h"

namespace vernier {
namespace {

using std::string_view;

// What Python's str.strip() takes off, and so Jinja's trim.
constexpr string_view kSpaces[] = {"\t",     "\n",     "\v",     "\f",     "\r",     "\x1C",
                                   "\x1D",   "\x1E",   "\x1F",   " ",      "\u0085", "\u00A0",
                                   "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004",
                                   "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200A",
                                   "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"};

string_view strip_end(string_view text) {
  while (true) {
    const auto space = std::find_if(std::begin(kSpaces), std::end(kSpaces),
                                    [&](string_view s) { return text.ends_with(s); });
    if (space == std::end(kSpaces)) return text;
    text.remove_suffix(space->size());
  }
}

string_view strip(string_view text) {
  while (true) {
    const auto space = std::find_if(std::begin(kSpaces), std::end(kSpaces),
                                    [&](string_view s) { return text.starts_with(s); });
    if (space == std::end(kSpaces)) return strip_end(text);
    text.remove_prefix(space->size());
  }
}

string_view strip_newlines_before(string_view text) {
  return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}

string_view strip_newlines_after(string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);  // npos + 1 is 0
}

string_view before_first(string_view text, string_view tag) {
  return text.substr(0, text.find(tag));
}

// All of it where the tag is not there.
string_view after_last(string_view text, string_view tag) {
  const size_t at = text.rfind(tag);
  return at == string_view::npos ? text : text.substr(at + tag.size());
}

std::string without(std::string text, string_view part) {
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos;) text.erase(at, part.size());
  return text;
}

bool has(string_view text, string_view part) { return text.find(part) != string_view::npos; }

bool has_system(const ChatTurns& turns) { return turns.messages.front().role == "system"; }

// "09 March 2025", or "09 Mar 2025".
std::string day_text(std::chrono::year_month_day date, bool short_month) {
  static constexpr std::array<string_view, 12> kMonths = {
      "January", "February", "March",     "April",   "May",      "June",
      "July",    "August",   "September", "October", "November", "December"};
  const string_view month = kMonths[static_cast<unsigned>(date.month()) - 1];
  const auto day = static_cast<unsigned>(date.day());
  return cat(day < 10 ? "0" : "", day, " ", short_month ? month.substr(0, 3) : month, " ",
             static_cast<int>(date.year()));
}

// ---- ChatML and its children

std::string chatml_turn(string_view role, string_view content) {
  return cat("<|im_start|>", role, "\n", content, "<|im_end|>\n");
}

constexpr string_view kChatmlOpening = "<|im_start|>assistant\n";

// `system` where the messages do not begin with a system turn of their own.
std::string chatml_after(string_view system, const ChatTurns& turns) {
  if (turns.messages.empty() || has_system(turns)) return write_chatml(turns);
  return chatml_turn("system", system) + write_chatml(turns);
}

// Place of the last question; answers before it lose their thinking. A tool's result, which goes in
// as a user's turn, is no question.
size_t last_question(std::span<const ChatMessage> messages) {
  for (size_t i = messages.size(); i-- > 0;) {
    const string_view content = messages[i].content;
    if (messages[i].role == "user" &&
        !(content.starts_with("<tool_response>") && content.ends_with("</tool_response>")))
      return i;
  }
  return messages.size() - 1;
}

std::string qwen3(const ChatTurns& turns, string_view opening) {
  const auto& messages = turns.messages;
  const size_t question = last_question(messages);
  std::string out;
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role != "assistant") {
      out += chatml_turn(role, content);
      continue;
    }
    string_view thinking, answer = content;
    if (has(content, "</think>")) {
      thinking = strip_newlines_before(after_last(before_first(content, "</think>"), "<think>"));
      answer = strip_newlines_before(after_last(content, "</think>"));
    }
    if (i > question && (i + 1 == messages.size() || !thinking.empty()))
      out += chatml_turn(role, cat("<think>\n", strip_newlines_after(thinking), "\n</think>\n\n",
                                   strip_newlines_before(answer)));
    else
      out += chatml_turn(role, answer);
  }
  if (turns.add_generation_prompt) out += opening;
  return out;
}

// ---- SmolLM3

constexpr string_view kSmollm3Thinks =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face. Your role as an "
    "assistant involves thoroughly exploring questions through a systematic thinking process "
    "before providing the final precise and accurate solutions. This requires engaging in a "
    "comprehensive cycle of analysis, summarizing, exploration, reassessment, reflection, "
    "backtracking, and iteration to develop well-considered thinking process. Please structure "
    "your response into two main sections: Thought and Solution using the specified format: "
    "<think> Thought section </think> Solution section. In the Thought section, detail your "
    "reasoning process in steps. Each step should include detailed considerations such as "
    "analysing questions, summarizing relevant findings, brainstorming new ideas, verifying the "
    "accuracy of the current steps, refining any errors, and revisiting previous steps. In the "
    "Solution section, based on various attempts, explorations, and reflections from the Thought "
    "section, systematically present the final solution that you deem correct. The Solution "
    "section should be logical, accurate, and concise and detail necessary steps needed to reach "
    "the conclusion.";
constexpr string_view kSmollm3 =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face.";

struct Smollm3System {
  bool thinks = true;
  std::string turn;
};

// Only with /system_override does the template close this turn by <|im_end|>.
Smollm3System smollm3_system(const ChatTurns& turns) {
  const std::string given = has_system(turns) ? turns.messages.front().content : "";
  Smollm3System out{.thinks = !has(given, "/no_think"), .turn = "<|im_start|>system\n"};
  const std::string own{strip_end(without(without(given, "/no_think"), "/think"))};
  if (has(given, "/system_override")) {
    out.turn += cat(strip_end(without(own, "/system_override")), "<|im_end|>\n");
    return out;
  }
  out.turn += cat("## Metadata\n\nKnowledge Cutoff Date: June 2025\nToday Date: ",
                  day_text(turns.date.value(), false),
                  "\nReasoning Mode: ", out.thinks ? "/think" : "/no_think",
                  "\n\n## Custom Instructions\n\n");
  out.turn += !own.empty() ? string_view(own) : out.thinks ? kSmollm3Thinks : kSmollm3;
  out.turn += "\n\n";
  return out;
}

// ---- DeepSeek, Llama, Mistral

constexpr string_view kLlamaBegin = "<|begin_of_text|>";
constexpr string_view kLlamaOpening = "<|start_header_id|>assistant<|end_header_id|>\n\n";

std::string llama_turn(string_view role, string_view content) {
  return cat("<|start_header_id|>", role, "<|end_header_id|>\n\n", content, "<|eot_id|>");
}

// The turns after the system turn; they have to alternate.
std::span<const ChatMessage> mistral_turns(const ChatTurns& turns) {
  const size_t skipped = has_system(turns) ? 1 : 0;
  const auto rest = turns.messages.subspan(skipped);
  for (size_t i = 0; i < rest.size(); ++i) {
    const char* wanted = i % 2 == 0 ? "user" : "assistant";
    if (rest[i].role != wanted)
      fail("message ", skipped + i, " is of role ", rest[i].role, " where ", wanted,
           " is due: after a system turn, which may be left out, user and assistant alternate");
  }
  return rest;
}

}  // namespace

std::string write_contents(const ChatTurns& turns) {
  std::string out;
  for (const ChatMessage& message : turns.messages) {
    if (&message != turns.messages.data()) out += '\n';
    out += message.content;
  }
  return out;
}

std::string write_chatml(const ChatTurns& turns) {
  std::string out;
  for (const auto& [role, content] : turns.messages) out += chatml_turn(role, content);
  if (turns.add_generation_prompt) out += kChatmlOpening;
  return out;
}

std::string write_smollm2(const ChatTurns& turns) {
  return chatml_after("You are a helpful AI assistant named SmolLM, trained by Hugging Face",
                      turns);
}

std::string write_qwen25(const ChatTurns& turns) {
  return chatml_after("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
                      turns);
}

std::string write_qwen25_base(const ChatTurns& turns) {
  return chatml_after("You are a helpful assistant.", turns);
}

std::string write_qwen25_math(const ChatTurns& turns) {
  return chatml_after("Please reason step by step, and put your final answer within \\boxed{}.",
                      turns);
}

std::string write_qwen3(const ChatTurns& turns) { return qwen3(turns, kChatmlOpening); }

std::string write_qwen3_thinking(const ChatTurns& turns) {
  return qwen3(turns, cat(kChatmlOpening, "<think>\n"));
}

// System turns that are not the first are left out, as the template does.
std::string write_smollm3(const ChatTurns& turns) {
  const Smollm3System system = smollm3_system(turns);
  const std::string no_thinking = system.thinks ? "" : "<think>\n\n</think>\n";
  std::string out = system.turn;
  for (const auto& [role, content] : turns.messages) {
    if (role == "user") out += chatml_turn(role, content);
    if (role == "assistant")
      out += chatml_turn(role, cat(no_thinking, strip_newlines_before(content)));
  }
  if (turns.add_generation_prompt) out += cat(kChatmlOpening, no_thinking);
  return out;
}

// The last system turn stands first, wherever it was; the other ones are left out.
std::string write_deepseek_r1(const ChatTurns& turns) {
  string_view system;
  std::string out;
  for (const auto& [role, content] : turns.messages) {
    if (role == "system") system = content;
    if (role == "user") out += cat("<｜User｜>", content);
    if (role == "assistant")
      out += cat("<｜Assistant｜>", after_last(content, "</think>"), "<｜end▁of▁sentence｜>");
  }
  if (turns.add_generation_prompt) out += "<｜Assistant｜><think>\n";
  return cat("<｜begin▁of▁sentence｜>", system, out);
}

std::string write_llama3(const ChatTurns& turns) {
  std::string out{turns.messages.empty() ? "" : kLlamaBegin};
  for (const auto& [role, content] : turns.messages) out += llama_turn(role, strip(content));
  if (turns.add_generation_prompt) out += kLlamaOpening;
  return out;
}

std::string write_llama31(const ChatTurns& turns) {
  const bool given = has_system(turns);
  std::string out{kLlamaBegin};
  out += llama_turn("system", cat("Cutting Knowledge Date: December 2023\nToday Date: ",
                                  turns.date ? day_text(*turns.date, true) : "26 Jul 2024", "\n\n",
                                  given ? strip(turns.messages.front().content) : ""));
  for (const auto& [role, content] : turns.messages.subspan(given ? 1 : 0))
    out += llama_turn(role, strip(content));
  if (turns.add_generation_prompt) out += kLlamaOpening;
  return out;
}

// The system turn goes into the first question.
std::string write_mistral_v1(const ChatTurns& turns) {
  std::string out = "<s>";
  const auto rest = mistral_turns(turns);
  for (const ChatMessage& message : rest) {
    const bool first = &message == rest.data() && has_system(turns);
    if (message.role == "user")
      out += cat(" [INST] ", first ? cat(turns.messages.front().content, "\n\n") : "",
                 message.content, " [/INST]");
    else
      out += cat(" ", message.content, "</s>");
  }
  return out;
}

// The system turn goes into the last message, and is left out where that is an answer.
std::string write_mistral_v3(const ChatTurns& turns) {
  std::string out = "<s>";
  const auto rest = mistral_turns(turns);
  for (const ChatMessage& message : rest) {
    const bool last = &message == &rest.back() && has_system(turns);
    if (message.role == "user")
      out += cat("[INST] ", last ? cat(turns.messages.front().content, "\n\n") : "",
                 message.content, "[/INST]");
    else
      out += cat(" ", strip(message.content), "</s>");
  }
  return out;
}

}  // namespace vernier
