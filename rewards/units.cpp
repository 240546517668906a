#include "rewards/units.h"

#include <utf8proc.h>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/text/unicode.h"
#include "rewards/verify/scan.h"

namespace vernier {
namespace {

// Calls `body` with every code point of a text.
template <class Body>
void for_each_code(std::string_view text, const Body& body) {
  char32_t code = 0;
  while (!text.empty()) {
    const size_t taken = read_character(text, code);
    if (taken == 0) fail("a length was asked for of a text that is not UTF-8");
    body(static_cast<utf8proc_int32_t>(code));
    text.remove_prefix(taken);
  }
}

// Of the scripts and punctuation that are written without spaces between words.
bool is_cjk(utf8proc_int32_t code) {
  return (code >= 0x3000 && code <= 0x30FF) || (code >= 0x3400 && code <= 0x4DBF) ||
         (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0xAC00 && code <= 0xD7AF) ||
         (code >= 0xF900 && code <= 0xFAFF) || (code >= 0xFF00 && code <= 0xFFEF) ||
         (code >= 0x20000 && code <= 0x2FA1F);
}

bool is_space_code(utf8proc_int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return (code >= '\t' && code <= '\r') || category == UTF8PROC_CATEGORY_ZS ||
         category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

bool is_word_code(utf8proc_int32_t code) {
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return code == '_';
  }
}

// Runs of code points for which `inside` holds; with `alone` each of some counts for itself.
template <class Inside, class Alone>
double runs(std::string_view text, const Inside& inside, const Alone& alone) {
  double count = 0;
  bool in_run = false;
  for_each_code(text, [&](utf8proc_int32_t code) {
    if (alone(code)) {
      count += 1;
      in_run = false;
      return;
    }
    const bool now = inside(code);
    if (now && !in_run) count += 1;
    in_run = now;
  });
  return count;
}

double lines(std::string_view text) {
  double count = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (!trimmed(text.substr(0, end)).empty()) count += 1;
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return count;
}

}  // namespace

const std::vector<std::string>& length_units() {
  static const std::vector<std::string> names = {"tokens",    "characters", "words",
                                                 "word_runs", "cjk_words",  "steps"};
  return names;
}

double text_length(std::string_view text, const std::string& unit) {
  const auto never = [](utf8proc_int32_t) { return false; };
  const auto filled = [](utf8proc_int32_t code) { return !is_space_code(code); };
  if (unit == "steps") return lines(text);
  if (unit == "words") return runs(text, filled, never);
  if (unit == "cjk_words") return runs(text, filled, is_cjk);
  if (unit == "word_runs") return runs(text, is_word_code, never);
  ensure(unit == "characters", cat("a unit of texts, not ", unit));
  double count = 0;
  for_each_code(text, [&](utf8proc_int32_t) { count += 1; });
  return count;
}

double response_length(const Response& response, const std::string& unit,
                       const std::string& after) {
  if (unit == "tokens") return response.num_tokens;
  std::string_view text = response.text;
  if (const size_t at = after.empty() ? std::string_view::npos : text.rfind(after);
      at != std::string_view::npos)
    text.remove_prefix(at + after.size());
  return text_length(text, unit);
}

}  // namespace vernier
