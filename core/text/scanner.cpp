// Cuts by hand-written loops, for the expressions that most models use.
#include <array>

#include "core/text/cutter.h"
#include "core/text/patterns.h"
#include "core/text/unicode.h"

namespace vernier {
namespace {

using Pieces = std::vector<std::string_view>;

// A place in a text, and what stands there.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) { read(); }

  bool done() const { return at_ >= text_.size(); }
  size_t at() const { return at_; }
  size_t end() const { return end_; }  // of the character
  char32_t code() const { return code_; }
  CharacterClass what() const { return what_; }  // kOther at the end of the text
  bool is_space() const { return (what_ & kSpace) != 0; }
  bool is_other() const { return what_ == kOther && !done(); }

  void next() {
    at_ = end_;
    read();
  }
  void skip(CharacterClass what) {
    while (what_ == what && !done()) next();
  }
  void move_to(size_t at) {
    at_ = end_ = at;
    read();
  }

 private:
  void read() {
    what_ = kOther;
    code_ = 0;
    if (done()) return;
    end_ = at_ + decode_valid(text_.data() + at_, code_);
    what_ = code_ < ascii_.size() ? ascii_[code_] : character_class(code_);
  }

  static std::array<CharacterClass, 128> make_ascii() {
    std::array<CharacterClass, 128> out{};
    for (char32_t code = 0; code < out.size(); ++code) out[code] = character_class(code);
    return out;
  }
  static const std::array<CharacterClass, 128>& ascii() {
    static const std::array<CharacterClass, 128> table = make_ascii();
    return table;
  }

  std::string_view text_;
  size_t at_ = 0, end_ = 0;
  char32_t code_ = 0;
  CharacterClass what_ = kOther;
  const std::array<CharacterClass, 128>& ascii_ = ascii();
};

// Bytes of 's 't 're 've 'm 'll 'd at the head of `text`, 0 where it has another one.
size_t contraction(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  const char second = text[1], third = text.size() > 2 ? text[2] : '\0';
  if (second == 's' || second == 't' || second == 'm' || second == 'd') return 2;
  const bool two = (second == 'r' && third == 'e') || (second == 'v' && third == 'e') ||
                   (second == 'l' && third == 'l');
  return two ? 3 : 0;
}

// The same without regard to case: the long s, U+017F, is an s then.
size_t contraction_of_any_case(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  if (text.substr(1).starts_with("\u017F")) return 3;
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  std::array<char, 3> head = {'\'', lower(text[1]), text.size() > 2 ? lower(text[2]) : '\0'};
  return contraction({head.data(), std::min(text.size(), head.size())});
}

// `\s+(?!\S)|\s+` at the head of a run of spaces: all of it, less the last one where text follows,
// but at least one. `last` is where the run's last character begins.
size_t spaces_end(size_t begin, size_t last, const Cursor& after) {
  return after.done() || last == begin ? after.at() : last;
}

// Cuts the whole text: `piece_end` says where the piece at the cursor ends, and may move it on.
template <class PieceEnd>
void cut_all(std::string_view text, Pieces& pieces, const PieceEnd& piece_end) {
  Cursor cursor(text);
  while (!cursor.done()) {
    const size_t begin = cursor.at();
    const size_t end = piece_end(cursor);
    pieces.push_back(text.substr(begin, end - begin));
    if (end != cursor.at()) cursor.move_to(end);
  }
}

class Gpt2Scanner final : public Cutter {
 public:
  void cut(std::string_view text, Pieces& pieces) const override {
    cut_all(text, pieces, [&](Cursor& cursor) { return piece_end(text, cursor); });
  }

 private:
  static size_t piece_end(std::string_view text, Cursor& cursor) {
    const size_t begin = cursor.at();
    if (cursor.code() == '\'')
      if (const size_t length = contraction(text.substr(begin))) return begin + length;
    if (cursor.is_space()) {
      size_t last = begin;
      const bool blank = cursor.code() == ' ';
      cursor.next();
      if (!blank || cursor.done() || cursor.is_space()) {
        while (!cursor.done() && cursor.is_space()) {
          last = cursor.at();
          cursor.next();
        }
        return spaces_end(begin, last, cursor);
      }
    }
    cursor.skip(cursor.what());
    return cursor.at();
  }
};

// Llama 3's and Qwen 2's expressions, which differ in how many digits make a piece.
class Llama3Scanner final : public Cutter {
 public:
  explicit Llama3Scanner(int max_digits) : max_digits_(max_digits) {}

  void cut(std::string_view text, Pieces& pieces) const override {
    cut_all(text, pieces, [&](Cursor& cursor) { return piece_end(text, cursor); });
  }

 private:
  size_t piece_end(std::string_view text, Cursor& cursor) const {
    const size_t begin = cursor.at();
    if (cursor.code() == '\'')
      if (const size_t length = contraction_of_any_case(text.substr(begin))) return begin + length;
    const CharacterClass what = cursor.what();
    const bool blank = cursor.code() == ' ';
    if (what == kNumber) {
      for (int i = 0; i < max_digits_ && cursor.what() == kNumber; ++i) cursor.next();
      return cursor.at();
    }
    cursor.next();
    if (what == kLetter || (what != kNewline && cursor.what() == kLetter)) {
      cursor.skip(kLetter);
      return cursor.at();
    }
    if (what == kOther || (blank && cursor.is_other())) {
      cursor.skip(kOther);
      cursor.skip(kNewline);
      return cursor.at();
    }
    return whitespace_end(begin, what, cursor);
  }

  // `\s*[\r\n]+|\s+(?!\S)|\s+`, the cursor after the first character.
  static size_t whitespace_end(size_t begin, CharacterClass first, Cursor& cursor) {
    size_t last = begin, after_newline = first == kNewline ? cursor.at() : 0;
    while (!cursor.done() && cursor.is_space()) {
      last = cursor.at();
      const bool newline = cursor.what() == kNewline;
      cursor.next();
      if (newline) after_newline = cursor.at();
    }
    return after_newline > 0 ? after_newline : spaces_end(begin, last, cursor);
  }

  int max_digits_;
};

// Each number character on its own, or runs of them.
class DigitScanner final : public Cutter {
 public:
  explicit DigitScanner(bool alone) : alone_(alone) {}

  void cut(std::string_view text, Pieces& pieces) const override {
    Cursor cursor(text);
    while (!cursor.done()) {
      const size_t begin = cursor.at();
      const bool number = cursor.what() == kNumber;
      cursor.next();
      if (!number || !alone_)
        while (!cursor.done() && (cursor.what() == kNumber) == number) cursor.next();
      pieces.push_back(text.substr(begin, cursor.at() - begin));
    }
  }

 private:
  bool alone_;
};

}  // namespace

std::unique_ptr<Cutter> make_scanner(const PretokenizerStep& step) {
  using Kind = PretokenizerStep::Kind;
  if (step.kind == Kind::digit) return std::make_unique<DigitScanner>(true);
  if (step.kind == Kind::digits) return std::make_unique<DigitScanner>(false);
  if (step.kind != Kind::regex || step.behavior != SplitBehavior::isolated || step.invert)
    return nullptr;
  if (step.pattern == kGpt2Regex) return std::make_unique<Gpt2Scanner>();
  if (step.pattern == kLlama3Regex) return std::make_unique<Llama3Scanner>(3);
  if (step.pattern == kQwen2Regex) return std::make_unique<Llama3Scanner>(1);
  return nullptr;
}

}  // namespace vernier
