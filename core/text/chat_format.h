// Puts chat messages into the text that a model was trained on.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace vernier {

struct ChatMessage {
  std::string role, content;
};

/// Names of the known formats.
const std::vector<std::string>& chat_formats();

/// The messages as one text, with the opening of an answer at its end where
/// `add_generation_prompt` asks for it. Formats:
///
///   none     contents, a newline between them; no tags, and no opening
///   chatml   <|im_start|>role, newline, content<|im_end|>, newline; the opening is
///            <|im_start|>assistant, newline
///
/// Another name is a UsageError that lists these. Contents go in as they are, and so do tags
/// written in them.
std::string apply_chat_format(const std::string& format, std::span<const ChatMessage> messages,
                              bool add_generation_prompt);

}  // namespace vernier
