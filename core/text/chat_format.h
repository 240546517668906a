// Puts chat messages into the text that a model was trained on.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vernier {

struct ChatMessage {
  std::string role, content;
};

/// How messages become text.
struct ChatFormat {
  std::string name = "auto";  // of the model's own template: choose_chat_format() puts a name here
  std::string date{};         // YYYY-MM-DD, for formats that tell the model what day it is
};

struct ChatFormatDoc {
  std::string name, doc;
};

/// Names of the known formats; "auto" is none of them.
const std::vector<std::string>& chat_formats();

/// The same with what each one is.
std::vector<ChatFormatDoc> chat_format_docs();

/// The messages as one text, with the opening of an answer at its end where
/// `add_generation_prompt` asks for it: what apply_chat_template(tokenize=False) of the model's own
/// template gives for turns of system, user and assistant, begin token included. "none" joins the
/// contents by a newline. Contents go in as they are, and so do tags written in them.
///
/// A UsageError: a name that is not known, what the template refuses (Mistral's wants turns that
/// alternate), other roles where a template does more with them than write them, a date that is
/// missing or not one.
std::string apply_chat_format(const ChatFormat& format, std::span<const ChatMessage> messages,
                              bool add_generation_prompt);

/// The format of a model's own chat template (Jinja source). Only exact texts are known: one that
/// merely looks alike may differ where it matters.
std::optional<std::string> recognised_chat_format(std::string_view chat_template);

/// `asked` with a known name: "auto" becomes the format of the model's template, or "none" where
/// the model has no template. A UsageError, opened by `where`, that lists the choices where the
/// template is not known, and where the date is missing or has no effect.
ChatFormat choose_chat_format(const ChatFormat& asked, std::string_view chat_template,
                              const std::string& where);

/// "" where `date` is empty or a day as YYYY-MM-DD, else what is wrong with it.
std::string chat_date_problem(const std::string& date);

}  // namespace vernier
