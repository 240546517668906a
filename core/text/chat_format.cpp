#include "core/text/chat_format.h"

#include <charconv>
#include <chrono>

#include "core/base/errors.h"
#include "core/text/chat_templates.h"
#include "core/text/chat_writers.h"

namespace vernier {
namespace {

enum class Roles { any, three };  // three: system, user and assistant, and at least one message
enum class Date { none, fixed, needed };  // fixed: the template has one for where none is given

struct Row {
  const char *name, *doc;
  std::string (*write)(const ChatTurns&);
  Roles roles = Roles::three;
  Date date = Date::none;
};

constexpr Row kRows[] = {
    {"none",
     "the contents, a newline between them; no tags; the begin token, where the tokenizer sets one",
     write_contents, Roles::any},
    {"chatml", "<|im_start|> and <|im_end|> around each turn", write_chatml, Roles::any},
    {"smollm2", "ChatML with SmolLM2's system message", write_smollm2, Roles::any},
    {"smollm3", "SmolLM3; needs chat_date", write_smollm3, Roles::three, Date::needed},
    {"qwen2.5", "ChatML with the system message of Qwen2.5 Instruct", write_qwen25},
    {"qwen2.5-base", "ChatML with the system message of Qwen2.5's base models", write_qwen25_base},
    {"qwen2.5-math", "ChatML with the system message of Qwen2.5-Math", write_qwen25_math},
    {"qwen3", "Qwen3, whose earlier answers lose their thinking", write_qwen3},
    {"qwen3-instruct", "Qwen3 Instruct 2507: ChatML", write_chatml},
    {"qwen3-thinking", "Qwen3 Thinking 2507: answers begin inside <think>", write_qwen3_thinking},
    {"deepseek-r1", "DeepSeek-R1 Distill: answers begin inside <think>", write_deepseek_r1},
    {"llama3", "Llama 3", write_llama3, Roles::any},
    {"llama3.1", "Llama 3.1 and 3.3; chat_date, else 26 Jul 2024, is in the system turn",
     write_llama31, Roles::three, Date::fixed},
    {"llama3.2", "Llama 3.2; needs chat_date", write_llama31, Roles::three, Date::needed},
    {"mistral-v1", "Mistral-7B-Instruct v0.1 and v0.2", write_mistral_v1},
    {"mistral", "Mistral-7B-Instruct v0.3", write_mistral_v3},
};

const Row& row_of(const std::string& name) {
  for (const Row& row : kRows)
    if (row.name == name) return row;
  fail("unknown chat format '", name, "'", suggestion(name, chat_formats()), "; known are ",
       join(chat_formats()));
}

std::optional<std::chrono::year_month_day> parse_date(const std::string& text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const auto number = [&](size_t begin, size_t size) {
    unsigned value = 0;  // no day, month or year is 0, so it stands for what is not a number too
    const char* const end = text.data() + begin + size;
    return std::from_chars(text.data() + begin, end, value).ptr == end ? value : 0;
  };
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(number(0, 4))),
                                         std::chrono::month(number(5, 2)),
                                         std::chrono::day(number(8, 2)));
  if (!date.ok() || date.year() < std::chrono::year(1000)) return std::nullopt;
  return date;
}

std::string date_problem(const Row& row, const std::string& date) {
  if (date.empty() && row.date == Date::needed)
    return cat("chat format ", row.name,
               " writes the day into every prompt: chat_date is missing, a day as YYYY-MM-DD");
  if (!date.empty() && row.date == Date::none)
    return cat("chat_date has no effect with chat format ", row.name);
  return chat_date_problem(date);
}

void check_messages(const Row& row, std::span<const ChatMessage> messages) {
  if (row.roles == Roles::any) return;
  if (messages.empty()) fail("there are no messages");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant")
      fail("message ", i, " is of role '", role, "'; system, user and assistant are supported");
  }
}

}  // namespace

const std::vector<std::string>& chat_formats() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const Row& row : kRows) out.emplace_back(row.name);
    return out;
  }();
  return names;
}

std::vector<ChatFormatDoc> chat_format_docs() {
  std::vector<ChatFormatDoc> out;
  for (const Row& row : kRows) out.push_back({row.name, row.doc});
  return out;
}

std::string apply_chat_format(const ChatFormat& format, std::span<const ChatMessage> messages,
                              bool add_generation_prompt) {
  const Row& row = row_of(format.name);
  if (const auto problem = date_problem(row, format.date); !problem.empty()) fail(problem);
  return placed(cat("chat format ", row.name), [&] {
    check_messages(row, messages);
    return row.write({messages, add_generation_prompt, parse_date(format.date)});
  });
}

std::optional<std::string> recognised_chat_format(std::string_view chat_template) {
  return chat_format_of_hash(chat_template_hash(chat_template));
}

ChatFormat choose_chat_format(const ChatFormat& asked, std::string_view chat_template,
                              const std::string& where) {
  ChatFormat out = asked;
  if (out.name == "auto") {
    const auto known = chat_template.empty() ? "none" : recognised_chat_format(chat_template);
    if (!known)
      fail(where, ": chat_format = \"auto\" does not know the model's chat template (XXH3 ",
           chat_template_hash(chat_template), "); choose one of ", join(chat_formats()));
    out.name = *known;
  }
  if (const auto problem = date_problem(row_of(out.name), out.date); !problem.empty())
    fail(where, ": ", problem);
  return out;
}

std::string chat_date_problem(const std::string& date) {
  if (date.empty() || parse_date(date)) return "";
  return cat("'", date, "' is not a day as YYYY-MM-DD");
}

}  // namespace vernier
