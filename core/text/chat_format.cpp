#include "core/text/chat_format.h"

#include "core/base/errors.h"

namespace vernier {

const std::vector<std::string>& chat_formats() {
  static const std::vector<std::string> names = {"none", "chatml"};
  return names;
}

std::string apply_chat_format(const std::string& format, std::span<const ChatMessage> messages,
                              bool add_generation_prompt) {
  std::string out;
  if (format == "none") {
    for (const ChatMessage& message : messages) {
      if (&message != messages.data()) out += '\n';
      out += message.content;
    }
    return out;
  }
  if (format != "chatml")
    fail("unknown chat format '", format, "'", suggestion(format, chat_formats()), "; known are ",
         join(chat_formats()));
  for (const auto& [role, content] : messages)
    out += cat("<|im_start|>", role, "\n", content, "<|im_end|>\n");
  if (add_generation_prompt) out += "<|im_start|>assistant\n";
  return out;
}

}  // namespace vernier
