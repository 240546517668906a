#include "core/text/decoder.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/text/regex.h"
#include "core/text/unicode.h"

namespace vernier {
namespace {

using Tokens = std::vector<std::string>;

std::optional<int> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

Tokens joined_bytes(const Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (valid_length(bytes) == bytes.size())
      out.push_back(bytes);
    else
      out.insert(out.end(), bytes.size(), "\uFFFD");
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (const auto byte = byte_of_token(token)) {
      bytes += *byte;
      continue;
    }
    flush();
    out.push_back(token);
  }
  flush();
  return out;
}

std::string stripped(const std::string& token, const DecoderStep& step) {
  std::string_view rest = token;
  for (int64_t i = 0; i < step.start && rest.starts_with(step.pattern); ++i)
    rest.remove_prefix(step.pattern.size());
  for (int64_t i = 0; i < step.end && rest.ends_with(step.pattern); ++i)
    rest.remove_suffix(step.pattern.size());
  return std::string(rest);
}

std::string fused(const Tokens& tokens) {
  std::string out;
  for (const std::string& token : tokens) out += token;
  return out;
}

}  // namespace

// Rust's parser of numbers takes "<0x+A>" too.
std::optional<char> byte_of_token(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const auto high = token[3] == '+' ? 0 : hex_digit(token[3]), low = hex_digit(token[4]);
  if (!high || !low) return std::nullopt;
  return static_cast<char>(*high * 16 + *low);
}

std::string decode_tokens(const std::vector<DecoderStep>& steps, Tokens tokens) {
  using Kind = DecoderStep::Kind;
  for (const DecoderStep& step : steps) {
    if (step.kind == Kind::byte_fallback) {
      tokens = joined_bytes(tokens);
    } else if (step.kind == Kind::fuse) {
      tokens = {fused(tokens)};
    } else if (step.kind == Kind::strip) {
      for (std::string& token : tokens) token = stripped(token, step);
    } else {
      const Regex search = Regex::literal(step.pattern);
      for (size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = search.replace(tokens[i], step.drops_first && i == 0 ? "" : step.content);
    }
  }
  return fused(tokens);
}

}  // namespace vernier
