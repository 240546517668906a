// What the chat formats write. The table in chat_format.cpp names them.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>

#include "core/text/chat_format.h"

namespace vernier {

struct ChatTurns {
  std::span<const ChatMessage> messages;
  bool add_generation_prompt = false;
  std::optional<std::chrono::year_month_day> date;
};

std::string write_contents(const ChatTurns& turns);
std::string write_chatml(const ChatTurns& turns);
std::string write_smollm2(const ChatTurns& turns);
std::string write_smollm3(const ChatTurns& turns);
std::string write_qwen25(const ChatTurns& turns);
std::string write_qwen25_base(const ChatTurns& turns);
std::string write_qwen25_math(const ChatTurns& turns);
std::string write_qwen3(const ChatTurns& turns);
std::string write_qwen3_thinking(const ChatTurns& turns);
std::string write_deepseek_r1(const ChatTurns& turns);
std::string write_llama3(const ChatTurns& turns);
std::string write_llama31(const ChatTurns& turns);
std::string write_mistral_v1(const ChatTurns& turns);
std::string write_mistral_v3(const ChatTurns& turns);

}  // namespace vernier
