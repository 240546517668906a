// One script throughout: the share of a response's letters that belong to it.
//
//   r_i = letters of the script / letters        1 of a response without letters
//
// Mathematics between dollar signs and LaTeX commands are not looked at, as their letters are Latin
// in every language. Letters are counted, not words: a script is told, not a language (English and
// French are one). Blind to correctness: never abstains.
// Source: DeepSeek-R1's language consistency reward, arXiv:2501.12948 (share of words in the target
// language; its code is not public).
#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "core/base/text.h"
#include "core/text/unicode.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

using Ranges = std::vector<std::pair<char32_t, char32_t>>;

const std::map<std::string, Ranges>& scripts() {
  static const std::map<std::string, Ranges> table = {
      {"arabic", {{0x600, 0x6FF}, {0x750, 0x77F}, {0x8A0, 0x8FF}, {0xFB50, 0xFEFF}}},
      {"cyrillic", {{0x400, 0x52F}}},
      {"devanagari", {{0x900, 0x97F}}},
      {"greek", {{0x370, 0x3FF}, {0x1F00, 0x1FFF}}},
      {"han",
       {{0x3005, 0x3007},
        {0x3400, 0x4DBF},
        {0x4E00, 0x9FFF},
        {0xF900, 0xFAFF},
        {0x20000, 0x2FA1F}}},
      {"hangul", {{0x1100, 0x11FF}, {0x3130, 0x318F}, {0xAC00, 0xD7AF}}},
      {"hebrew", {{0x590, 0x5FF}}},
      {"japanese",
       {{0x3005, 0x3007},
        {0x3040, 0x30FF},
        {0x31F0, 0x31FF},
        {0x3400, 0x4DBF},
        {0x4E00, 0x9FFF},
        {0xF900, 0xFAFF}}},
      {"latin",
       {{0x41, 0x5A},
        {0x61, 0x7A},
        {0xAA, 0xAA},
        {0xBA, 0xBA},
        {0xC0, 0x24F},
        {0x1E00, 0x1EFF},
        {0xFF21, 0xFF5A}}},
      {"thai", {{0xE00, 0xE7F}}}};
  return table;
}

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// `text` without $...$ and \commands.
std::string without_mathematics(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text[at] == '$' ? text.find('$', at + 1) : std::string_view::npos;
    if (end != std::string_view::npos) {
      at = end + 1;
    } else if (text[at] == '\\') {
      for (++at; at < text.size() && is_ascii_letter(text[at]);) ++at;
    } else {
      out += text[at++];
    }
  }
  return out;
}

class Language final : public Reward {
 public:
  explicit Language(Binder& config) {
    std::vector<std::string> names;
    for (const auto& [name, ranges] : scripts()) names.push_back(name);
    config.choice("script", script_, names, "that responses are to be written in");
  }

  bool needs_group() const override { return false; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const auto [own, letters] = count(to_valid_utf8(group.responses[i].text));
      scores[i].value = letters == 0 ? 1 : own / letters;
      scores[i].explain = cat(own, " of ", letters, " letters are ", script_);
    }
  }

 private:
  std::pair<double, double> count(const std::string& valid) const {
    const std::string prose = without_mathematics(valid);
    const Ranges& ranges = scripts().at(script_);
    std::string_view text = prose;
    double own = 0, letters = 0;
    char32_t code = 0;
    while (const size_t taken = read_character(text, code)) {
      text.remove_prefix(taken);
      if (character_class(code) != kLetter) continue;
      letters += 1;
      own += std::ranges::any_of(
          ranges, [&](const auto& range) { return code >= range.first && code <= range.second; });
    }
    return {own, letters};
  }

  std::string script_ = "latin";
};

const RewardRegistry::Entry entry{
    "language",
    {"the share of letters in one script", "r = letters of the script / letters", "letters",
     "DeepSeek-R1, arXiv:2501.12948 (its code was not read)"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Language>(config);
    }};

}  // namespace
}  // namespace vernier
