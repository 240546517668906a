// Chat formats against what transformers makes of the models' own templates.
#include "core/text/chat_format.h"

#include <doctest/doctest.h>

#include <set>
#include <source_location>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/text/chat_templates.h"
#include "core/text/tokenizer.h"

#ifndef VERNIER_SMOLLM2_GGUF  // path of SmolLM2-135M-Instruct; tests that need it skip without it
#define VERNIER_SMOLLM2_GGUF ""
#endif

namespace vernier {
namespace {

using Messages = std::vector<ChatMessage>;

const fs::path kGoldens = fs::path(std::source_location::current().file_name()).parent_path() /
                          "cases" / "text" / "chat_formats.json";

const Json& goldens() {
  static const Json file = parse_json(read_file(kGoldens), kGoldens.string());
  return file;
}

Messages messages_of(const Json& list) {
  Messages out;
  for (const Json& message : list)
    out.push_back({message["role"].get<std::string>(), message["content"].get<std::string>()});
  return out;
}

void check_case(const ChatFormat& format, const Messages& messages, const Json& want) {
  if (want.contains("error")) {
    CHECK_THROWS_AS(apply_chat_format(format, messages, false), UsageError);
    CHECK_THROWS_AS(apply_chat_format(format, messages, true), UsageError);
    return;
  }
  const auto text = want[0].get<std::string>();
  CHECK(apply_chat_format(format, messages, false) == text);
  CHECK(apply_chat_format(format, messages, true) == text + want[1].get<std::string>());
}

TEST_CASE("chat formats write what the models' own templates write") {
  const Json& conversations = goldens()["conversations"];
  CHECK(conversations.size() >= 40);
  std::set<std::string> tested = {"none"};
  for (const Json& entry : goldens()["formats"]) {
    const ChatFormat format{.name = entry["format"], .date = entry["date"]};
    const Json& cases = entry["cases"];
    for (size_t i = 0; i < cases.size(); ++i) {
      CAPTURE(format.name);
      CAPTURE(format.date);
      CAPTURE(dump_json(conversations[i]));
      check_case(format, messages_of(conversations[i]), cases[i]);
    }
    tested.insert(format.name);
  }
  CHECK(tested == std::set<std::string>(chat_formats().begin(), chat_formats().end()));
}

TEST_CASE("known chat templates are those that were rendered") {
  for (const Json& entry : goldens()["formats"])
    for (const Json& known : entry["templates"]) {
      CAPTURE(known["models"].get<std::string>());
      CHECK(chat_format_of_hash(known["hash"].get<std::string>()) ==
            entry["format"].get<std::string>());
    }
  CHECK(chat_template_hash("{{ messages }}") == "6b3d80cfa9a53fc3a5863d2d1164e7a8");
  CHECK(chat_template_hash("{{ messages }}\n") == chat_template_hash("{{ messages }}"));
  CHECK(chat_template_hash("{{ messages }}\n\n") != chat_template_hash("{{ messages }}"));
  CHECK(chat_template_hash("{{ messages }} ") != chat_template_hash("{{ messages }}"));
  CHECK(!recognised_chat_format("{{ messages }}"));
  CHECK(!recognised_chat_format(""));
}

TEST_CASE("SmolLM2's chat template is recognised") {
  if (!fs::exists(VERNIER_SMOLLM2_GGUF)) {
    MESSAGE("skipped: no SmolLM2-135M-Instruct at '", VERNIER_SMOLLM2_GGUF, "'");
    return;
  }
  const std::string own = Tokenizer::open(VERNIER_SMOLLM2_GGUF).chat_template();
  CHECK(recognised_chat_format(own) == "smollm2");
  CHECK(recognised_chat_format(own + "\n") == "smollm2");
  CHECK(!recognised_chat_format(" " + own));
  CHECK(choose_chat_format({}, own, "m").name == "smollm2");
  CHECK(choose_chat_format({.name = "chatml"}, own, "m").name == "chatml");
}

TEST_CASE("a chat format is chosen, and nothing is guessed") {
  CHECK(choose_chat_format({}, "", "m").name == "none");
  CHECK(choose_chat_format({.name = "qwen3"}, "{{ messages }}", "m").name == "qwen3");
  CHECK_THROWS_WITH_AS(choose_chat_format({}, "{{ messages }}", "models/m"),
                       doctest::Contains("models/m: chat_format = \"auto\" does not know the "
                                         "model's chat template (XXH3 6b3d80cfa9a53fc3"),
                       UsageError);
  CHECK_THROWS_WITH_AS(choose_chat_format({}, "{{ messages }}", "m"),
                       doctest::Contains("choose one of none, chatml, smollm2, smollm3, qwen2.5, "),
                       UsageError);
  CHECK_THROWS_WITH_AS(choose_chat_format({.name = "chatnl"}, "", "m"),
                       doctest::Contains("unknown chat format 'chatnl' (did you mean chatml?)"),
                       UsageError);
}

TEST_CASE("the day is asked for where it is written") {
  const auto chosen = [](const std::string& name, const std::string& date) {
    return choose_chat_format({.name = name, .date = date}, "", "m").date;
  };
  CHECK(chosen("smollm3", "2024-02-29") == "2024-02-29");
  CHECK(chosen("llama3.1", "").empty());
  CHECK(chosen("llama3.2", "2024-02-29") == "2024-02-29");
  CHECK_THROWS_WITH_AS(chosen("llama3.2", ""),
                       "m: chat format llama3.2 writes the day into every prompt: chat_date is "
                       "missing, a day as YYYY-MM-DD",
                       UsageError);
  CHECK_THROWS_WITH_AS(chosen("smollm3", ""),
                       doctest::Contains("m: chat format smollm3 writes the "
                                         "day into every prompt"),
                       UsageError);
  CHECK_THROWS_WITH_AS(chosen("llama3", "2025-03-09"),
                       "m: chat_date has no effect with chat format llama3", UsageError);
  for (const char* wrong : {"2025-02-29", "2025-3-9", "09-03-2025", "2025-13-01", "2025-00-10",
                            "2025-03-0x", "+025-03-09", "2025-03-09 ", "today", "0000-01-01"}) {
    CAPTURE(wrong);
    CHECK(chat_date_problem(wrong) == cat("'", wrong, "' is not a day as YYYY-MM-DD"));
    CHECK_THROWS_AS(chosen("smollm3", wrong), UsageError);
  }
  CHECK(chat_date_problem("2025-12-31").empty());
  CHECK(apply_chat_format({.name = "llama3.1", .date = "2025-05-31"}, Messages{{"user", "a"}}, true)
            .find("\nToday Date: 31 May 2025\n") != std::string::npos);
}

TEST_CASE("contents alone, ChatML without messages, roles that are not done") {
  const Messages messages = {{"system", "Be brief."}, {"user", "2+2?"}};
  CHECK(apply_chat_format({.name = "none"}, messages, false) == "Be brief.\n2+2?");
  CHECK(apply_chat_format({.name = "none"}, messages, true) == "Be brief.\n2+2?");
  CHECK(apply_chat_format({.name = "chatml"}, {}, false).empty());
  CHECK(apply_chat_format({.name = "chatml"}, Messages{{"tool", "4"}}, false) ==
        "<|im_start|>tool\n4<|im_end|>\n");
  for (const std::string& name : chat_formats()) {
    if (name == "none" || name == "chatml" || name == "smollm2" || name == "llama3") continue;
    const ChatFormat format{.name = name,
                            .date = name == "smollm3" || name == "llama3.2" ? "2025-03-09" : ""};
    CAPTURE(name);
    CHECK_THROWS_WITH_AS(apply_chat_format(format, Messages{{"user", "a"}, {"tool", "4"}}, true),
                         doctest::Contains("message 1 is of role 'tool'; system, user and"),
                         UsageError);
    CHECK_THROWS_WITH_AS(apply_chat_format(format, {}, true),
                         doctest::Contains("there are no messages"), UsageError);
  }
  CHECK_THROWS_WITH_AS(
      apply_chat_format({.name = "mistral"}, Messages{{"user", "a"}, {"user", "b"}}, true),
      doctest::Contains("chat format mistral: message 1 is of role user where assistant is due"),
      UsageError);
  CHECK_THROWS_WITH_AS(apply_chat_format({}, messages, true),
                       doctest::Contains("unknown chat format 'auto'"), UsageError);
  CHECK(chat_format_docs().size() == chat_formats().size());
}

}  // namespace
}  // namespace vernier
