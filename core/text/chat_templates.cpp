#include "core/text/chat_templates.h"

#include "core/base/files.h"

namespace vernier {
namespace {

struct KnownTemplate {
  std::string_view hash, format;
};

// tools/golden_chat.py renders each of them, and chat_format_test holds the formats to the result.
constexpr KnownTemplate kTemplates[] = {
    // SmolLM-135M-, 360M- and 1.7B-Instruct
    {"f0a6a8278439fdb056191e205a440263", "chatml"},
    // SmolLM2-135M-, 360M- and 1.7B-Instruct
    {"98f63cc3d421d28f99ab995e9629dacd", "smollm2"},
    // SmolLM3-3B
    {"9408eaaa587ef819a7378c92fb95c56c", "smollm3"},
    // Qwen2.5-0.5B- to 72B-Instruct, Qwen2.5-Coder-Instruct, Qwen2.5-Coder-1.5B and 7B
    {"e392aa06018503fd2469c9508f79506e", "qwen2.5"},
    // Qwen2.5-0.5B to 72B, Qwen2.5-Coder-0.5B, 3B, 14B and 32B, Qwen2.5-7B- and 14B-Instruct-1M
    {"0fe61c920a9d3925c31e98db8c19d1d3", "qwen2.5-base"},
    // Qwen2.5-Math-1.5B and 7B, with and without -Instruct
    {"b1b920f93fbb74f2c6edd04ed56ba18c", "qwen2.5-math"},
    // Qwen3-0.6B to 235B-A22B, current revision
    {"0fab82ce8f4d5175c9e0155c80737cf2", "qwen3"},
    // Qwen3-0.6B-Base to 30B-A3B-Base; Qwen3-0.6B as it was released
    {"4457e3d12b367a860283f874ff58d644", "qwen3"},
    // Qwen3-4B-, 30B-A3B- and 235B-A22B-Instruct-2507
    {"cc9ddd5a40bc1c0c8fb5d937b1e8f5d0", "qwen3-instruct"},
    // Qwen3-4B-, 30B-A3B- and 235B-A22B-Thinking-2507
    {"cb53a145cfc5e326bdee364f122d2352", "qwen3-thinking"},
    // DeepSeek-R1-Distill, Qwen and Llama, since their answers begin inside <think>
    {"b59c4fde1d06da0055b25ceb4910aa64", "deepseek-r1"},
    // Meta-Llama-3-8B- and 70B-Instruct
    {"09facc0e4aa943189799ad6e2dea0594", "llama3"},
    // Llama-3.1-8B- and 70B-Instruct, Llama-3.3-70B-Instruct
    {"9ddcd6cd71f96dd76ca7779b7730196a", "llama3.1"},
    // Llama-3.2-1B- and 3B-Instruct
    {"573e1bcc8c56f178c3d57e38f5ff0756", "llama3.2"},
    // Mistral-7B-Instruct-v0.1 and v0.2, Mixtral-8x7B-Instruct-v0.1, current revision
    {"6aef58edf0d62df9f89cfc57f651ff3d", "mistral-v1"},
    // Mistral-7B-Instruct-v0.3, Mixtral-8x22B-Instruct-v0.1, Mistral-Small-Instruct-2409
    {"df3ebcd92fa9a63fc6614466504d495b", "mistral"},
};

}  // namespace

std::string chat_template_hash(std::string_view chat_template) {
  if (chat_template.ends_with('\n')) chat_template.remove_suffix(1);
  return hash_bytes(chat_template.data(), chat_template.size());
}

std::optional<std::string> chat_format_of_hash(std::string_view hash) {
  for (const KnownTemplate& known : kTemplates)
    if (known.hash == hash) return std::string(known.format);
  return std::nullopt;
}

}  // namespace vernier
