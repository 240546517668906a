#include "core/text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/base/errors.h"
#include "core/text/regex.h"
#include "core/text/unicode.h"

namespace vernier {
namespace {

using Kind = NormalizerStep::Kind;

// Stands for a character that the normalizers of `tokenizers` do not know: a private one, which is
// nobody's part and blocks what marks do.
constexpr int32_t kPlaceholder = 0xF8FF;

bool is_inert(char32_t code) {
  const auto within = [&](const auto& ranges) {
    const auto after =
        std::upper_bound(ranges.begin(), ranges.end(), code,
                         [](char32_t value, const auto& range) { return value < range.first; });
    return after != ranges.begin() && code <= std::prev(after)->last;
  };
  return code >= 0x300 &&
         (code == kPlaceholder || within(inert_ranges()) || within(newer_categories()));
}

int combining_class(int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Sorts each run of combining marks by class. utf8proc does so by insertion, which is quadratic in
// the length of a run.
void order_marks(std::vector<int32_t>& codes) {
  const auto is_mark = [](int32_t code) { return combining_class(code) != 0; };
  auto begin = codes.begin();
  while ((begin = std::find_if(begin, codes.end(), is_mark)) != codes.end()) {
    const auto end = std::find_if_not(begin, codes.end(), is_mark);
    std::stable_sort(begin, end,
                     [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// One of Unicode's normal forms.
std::string to_form(std::string_view text, Kind form) {
  if (is_ascii(text)) return std::string(text);
  const bool compatible = form == Kind::nfkc || form == Kind::nfkd;
  const bool composed = form == Kind::nfc || form == Kind::nfkc;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<int32_t> codes;
  std::vector<char32_t> inert;  // behind the placeholders, in their order
  for (size_t i = 0; i < text.size();) {
    char32_t code = 0;
    i += decode_valid(text.data() + i, code);
    if (is_inert(code)) {
      inert.push_back(code);
      codes.push_back(kPlaceholder);
      continue;
    }
    std::array<int32_t, 32> parts{};  // the longest decomposition has 18
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<int32_t>(code), parts.data(),
                                               parts.size(), options, &boundary);
    ensure(count > 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()),
           "a short decomposition");
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
  }
  order_marks(codes);
  if (composed) {
    const auto size = utf8proc_normalize_utf32(
        codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    ensure(size >= 0, "composition of decomposed text");
    codes.resize(static_cast<size_t>(size));
  }
  std::string out;
  size_t next = 0;
  for (const int32_t code : codes)
    append_character(code == kPlaceholder ? inert.at(next++) : static_cast<char32_t>(code), out);
  return out;
}

// Character by character, as Rust's char::to_lowercase: of all, U+0130 alone becomes two.
std::string to_lowercase(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    char32_t code = 0;
    i += decode_valid(text.data() + i, code);
    if (code == 0x130)
      out += "i\u0307";
    else
      append_character(static_cast<char32_t>(utf8proc_tolower(static_cast<int32_t>(code))), out);
  }
  return out;
}

}  // namespace

class Normalizer::Step {
 public:
  explicit Step(const NormalizerStep& step) : step_(step) {
    if (step.kind == Kind::replace)
      search_.emplace(step.regex ? Regex(step.pattern) : Regex::literal(step.pattern));
  }

  std::string apply(std::string_view text) const {
    switch (step_.kind) {
      case Kind::lowercase:
        return to_lowercase(text);
      case Kind::strip:
        if (step_.left) text.remove_prefix(leading_spaces(text));
        if (step_.right) text.remove_suffix(trailing_spaces(text));
        return std::string(text);
      case Kind::prepend:
        return text.empty() ? std::string() : step_.content + std::string(text);
      case Kind::replace:
        return search_->replace(text, step_.content);
      default:
        return to_form(text, step_.kind);
    }
  }

 private:
  NormalizerStep step_;
  std::optional<Regex> search_;  // of `replace`
};

Normalizer::Normalizer(const std::vector<NormalizerStep>& steps) {
  for (const NormalizerStep& step : steps) steps_.emplace_back(step);
}
Normalizer::~Normalizer() = default;
Normalizer::Normalizer(Normalizer&&) noexcept = default;
Normalizer& Normalizer::operator=(Normalizer&&) noexcept = default;

std::string Normalizer::apply(std::string_view text) const {
  constexpr size_t kMostGrowth = 100, kFree = 100'000;  // bytes
  std::string out(text);
  for (const Step& step : steps_) {
    out = step.apply(out);
    if (out.size() > kMostGrowth * text.size() + kFree)
      fail("the normalizer makes ", out.size(), " bytes of ", text.size(),
           "; a file made to exhaust the memory");
  }
  return out;
}

}  // namespace vernier
