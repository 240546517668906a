#include "rollout/endpoint/access.h"

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/text.h"

namespace vernier {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(16 * high + low);
    i += 2;
  }
  return out;
}

// The next part up to `separator`, and the rest behind it.
std::string_view next_part(std::string_view& rest, char separator) {
  const size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return part;
}

}  // namespace

std::string read_token(const std::string& path) {
  if (path.empty()) return "";
  std::string token = placed("--token-file", [&] { return read_file(path); });
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  if (token.empty()) fail("--token-file: ", path, ": holds no token; it is one line of text");
  for (const char byte : token)
    if (byte <= ' ' || byte > '~')
      fail("--token-file: ", path, ": a token is one line of visible ASCII characters, no spaces");
  return token;
}

bool same_secret(const std::string& given, const std::string& wanted) {
  if (wanted.empty()) return false;
  unsigned differences = given.size() == wanted.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i)
    differences |= static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^
                                         static_cast<unsigned char>(wanted[i % wanted.size()]));
  return differences == 0;
}

std::optional<std::string> bearer_token(const std::string& header) {
  std::string scheme = header.substr(0, 7);
  for (char& letter : scheme)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  if (scheme != "bearer ") return std::nullopt;
  return header.substr(scheme.size());
}

std::optional<std::string> cookie_value(const std::string& header, const std::string& name) {
  std::string_view rest = header;
  while (!rest.empty()) {
    std::string_view pair = next_part(rest, ';');
    while (!pair.empty() && pair.front() == ' ') pair.remove_prefix(1);
    const std::string_view key = next_part(pair, '=');
    if (key == name) return std::string(pair);
  }
  return std::nullopt;
}

std::optional<std::string> query_value(const std::string& query, const std::string& name) {
  std::string_view rest = query;
  while (!rest.empty()) {
    std::string_view pair = next_part(rest, '&');
    const std::string_view key = next_part(pair, '=');
    if (percent_decoded(key) == name) return percent_decoded(pair);
  }
  return std::nullopt;
}

std::string url_of(const std::string& host, int port) {
  const bool v6 = host.find(':') != std::string::npos;
  return cat("http://", v6 ? "[" : "", host, v6 ? "]" : "", ":", port);
}

}  // namespace vernier
