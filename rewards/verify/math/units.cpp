#include "rewards/verify/math/units.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "rewards/verify/scan.h"

namespace vernier::math {
namespace {

struct Unit {
  std::string_view word, name;
  // A word that is as likely a product of letters is a unit only with space before it, and in
  // doubt.
  bool letters = false;
};

// Sorted by the word. Plurals in s and es are found by their singular.
constexpr std::array kUnits = {
    Unit{"C", "C", true},       Unit{"F", "F", true},       Unit{"Hz", "Hz"},
    Unit{"J", "J", true},       Unit{"K", "K", true},       Unit{"L", "l", true},
    Unit{"N", "N", true},       Unit{"Pa", "Pa"},           Unit{"V", "V", true},
    Unit{"W", "W", true},       Unit{"acre", "acre"},       Unit{"am", "am", true},
    Unit{"cc", "cm^3", true},   Unit{"cent", "cent"},       Unit{"centimeter", "cm"},
    Unit{"centimetre", "cm"},   Unit{"cm", "cm"},           Unit{"coin", "coin"},
    Unit{"cu", "cubic"},        Unit{"cubic", "cubic"},     Unit{"d", "day", true},
    Unit{"day", "day"},         Unit{"deg", "degree"},      Unit{"degree", "degree"},
    Unit{"digit", "digit"},     Unit{"dm", "dm"},           Unit{"dollar", "dollar"},
    Unit{"edge", "edge"},       Unit{"euro", "euro"},       Unit{"feet", "foot"},
    Unit{"foot", "foot"},       Unit{"ft", "foot"},         Unit{"g", "g", true},
    Unit{"gal", "gallon"},      Unit{"gallon", "gallon"},   Unit{"gm", "g"},
    Unit{"gram", "g"},          Unit{"h", "hour", true},    Unit{"hectare", "hectare"},
    Unit{"hour", "hour"},       Unit{"hr", "hour"},         Unit{"inch", "inch"},
    Unit{"integer", "integer"}, Unit{"kg", "kg"},           Unit{"kilogram", "kg"},
    Unit{"kilometer", "km"},    Unit{"kilometre", "km"},    Unit{"km", "km"},
    Unit{"kmh", "km/hour"},     Unit{"kmph", "km/hour"},    Unit{"kph", "km/hour"},
    Unit{"l", "l", true},       Unit{"lb", "pound"},        Unit{"liter", "l"},
    Unit{"litre", "l"},         Unit{"m", "m", true},       Unit{"meal", "meal"},
    Unit{"men", "man"},         Unit{"meter", "m"},         Unit{"metre", "m"},
    Unit{"mg", "mg"},           Unit{"mile", "mile"},       Unit{"milliliter", "ml"},
    Unit{"millimeter", "mm"},   Unit{"min", "minute"},      Unit{"minute", "minute"},
    Unit{"ml", "ml"},           Unit{"mm", "mm"},           Unit{"month", "month"},
    Unit{"mph", "mile/hour"},   Unit{"ounce", "ounce"},     Unit{"oz", "ounce"},
    Unit{"people", "person"},   Unit{"person", "person"},   Unit{"pm", "pm", true},
    Unit{"point", "point"},     Unit{"pound", "pound"},     Unit{"rad", "radian"},
    Unit{"radian", "radian"},   Unit{"rupee", "rupee"},     Unit{"s", "second", true},
    Unit{"sec", "second"},      Unit{"second", "second"},   Unit{"sq", "square"},
    Unit{"square", "square"},   Unit{"student", "student"}, Unit{"t", "ton", true},
    Unit{"ton", "ton"},         Unit{"unit", "unit"},       Unit{"way", "way"},
    Unit{"week", "week"},       Unit{"yard", "yard"},       Unit{"yd", "yard"},
    Unit{"year", "year"},       Unit{"yen", "yen"},         Unit{"yr", "year"},
};
static_assert(std::ranges::is_sorted(kUnits, {}, &Unit::word));

const Unit* unit_of(std::string_view word) {
  const auto find = [](std::string_view singular) -> const Unit* {
    const auto found = std::ranges::lower_bound(kUnits, singular, {}, &Unit::word);
    return found != kUnits.end() && found->word == singular ? &*found : nullptr;
  };
  if (const Unit* unit = find(word)) return unit;
  if (word.size() > 3 && word.ends_with("es"))
    if (const Unit* unit = find(word.substr(0, word.size() - 2))) return unit;
  if (word.size() > 2 && word.ends_with('s')) return find(word.substr(0, word.size() - 1));
  return nullptr;
}

// Words that change the number before them or take it back: none of them is a unit. Sorted.
constexpr std::array<std::string_view, 95> kNoUnits = {
    "billion",   "billions",  "but",        "crore",     "crores",    "cubed",      "double",
    "doubled",   "dozen",     "dozens",     "eight",     "eighteen",  "eighth",     "eighths",
    "eighty",    "eleven",    "except",     "factorial", "false",     "fewer",      "fifteen",
    "fifth",     "fifths",    "fifty",      "five",      "forty",     "four",       "fourteen",
    "fourth",    "fourths",   "gross",      "half",      "halved",    "halves",     "hundred",
    "hundreds",  "hundredth", "hundredths", "if",        "incorrect", "isn't",      "lakh",
    "lakhs",     "less",      "maybe",      "million",   "millions",  "minus",      "negative",
    "never",     "nine",      "nineteen",   "ninety",    "ninth",     "ninths",     "no",
    "not",       "one",       "or",         "otherwise", "perhaps",   "possibly",   "seven",
    "seventeen", "seventh",   "sevenths",   "seventy",   "six",       "sixteen",    "sixth",
    "sixths",    "sixty",     "squared",    "ten",       "tenth",     "tenths",     "third",
    "thirds",    "thirteen",  "thirty",     "thousand",  "thousands", "thousandth", "thousandths",
    "three",     "thrice",    "trillion",   "trillions", "triple",    "twelve",     "twenty",
    "twice",     "two",       "wrong",      "zero",
};
static_assert(std::ranges::is_sorted(kNoUnits));

// The words inside of one \text{square meters}.
template <typename Act>
void for_words(std::string_view text, Act&& act) {
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" .~"), text.size());
    if (end > 0) act(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// "5 cm squared" is an area, "5 squared" is 25.
bool may_be_units(std::string_view text, bool after_unit) {
  bool out = true;
  for_words(text, [&](std::string_view word) {
    const bool power = word == "squared" || word == "cubed";
    if (std::ranges::binary_search(kNoUnits, word) && !(power && after_unit)) out = false;
    after_unit = unit_of(word) != nullptr;
  });
  return out;
}

bool ends_operand(const Token& token) {
  switch (token.kind) {
    case Tok::number:
    case Tok::run:
    case Tok::word:
    case Tok::name:
    case Tok::close:
    case Tok::bar:
    case Tok::bang:
    case Tok::percent:
    case Tok::degree:
    case Tok::pi:
    case Tok::infinity:
    case Tok::finish:
      return true;
    default:
      return false;
  }
}

bool is_separator(const Token& token) {
  return token.kind == Tok::comma || token.kind == Tok::both || token.kind == Tok::either;
}

// Finds where the units at the end of one element begin.
class Finder {
 public:
  Finder(std::span<const Token> list, bool doubtful_too)
      : list_(list), doubtful_too_(doubtful_too) {}

  // The number of tokens that stay. `doubtful` is set where letters were left for their doubt.
  size_t run(bool& doubtful) {
    const size_t sure = end_of(false, doubtful);
    if (!doubtful_too_ || !doubtful) return sure;
    bool ignored = false;
    const size_t all = end_of(true, ignored);
    // "R + 2 h" and "v t" are no lengths of time: letters are units behind numbers alone.
    const auto stays = list_.first(all);
    const auto equals = std::find_if(stays.rbegin(), stays.rend(), [](const Token& token) {
      return token.kind == Tok::relation;
    });
    return std::all_of(stays.rbegin(), equals, is_numeric) ? all : sure;
  }

 private:
  static bool is_numeric(const Token& token) {
    switch (token.kind) {
      case Tok::run:
      case Tok::word:
      case Tok::name:
      case Tok::decorated:
      case Tok::pi:
      case Tok::plus:
        return false;
      default:
        return true;
    }
  }

  size_t end_of(bool doubtful_too, bool& doubtful) const {
    size_t end = list_.size();
    bool apart = true;  // an operator stands before what was taken last
    while (end > 0) {
      const size_t atom = unit_at(end, doubtful_too, doubtful);
      if (atom == end) break;
      // "3 g t" is a product; "m s^{-1}" is not.
      const bool letter = list_[atom].text.size() == 1 && !is_roman(atom);
      const bool inverse =
          end < list_.size() && (is(end + 2, Tok::minus) || is(end + 3, Tok::minus));
      if (letter && !apart && !inverse) break;
      end = atom;
      apart = end >= 1 && (list_[end - 1].kind == Tok::divide || list_[end - 1].kind == Tok::times);
      // "m/s", "km per hour": the bar goes with what is below it.
      const bool joined = end >= 2 && (list_[end - 1].kind == Tok::divide ||
                                       list_[end - 1].kind == Tok::times || is_per(end - 1));
      if (!joined) continue;
      bool ignored = false;
      const Tok before = list_[end - 2].kind;
      if (unit_at(end - 1, doubtful_too, ignored) != end - 1 || before == Tok::close ||
          (list_[end - 1].kind != Tok::times && before == Tok::number && !list_[end].spaced) ||
          (is_per(end - 1) && before == Tok::number))
        --end;
    }
    if (end == list_.size() || end == 0 || !ends_operand(list_[end - 1])) return list_.size();
    return end;
  }

  bool is(size_t at, Tok kind, std::string_view text = {}) const {
    return at < list_.size() && list_[at].kind == kind && (text.empty() || list_[at].text == text);
  }

  // Where the unit before `end` begins, with its power; `end` where there is none.
  size_t unit_at(size_t end, bool doubtful_too, bool& doubtful) const {
    size_t atom = end;
    // "cm^2", "cm^{2}", "s^{-2}", "s^-2"
    if (atom >= 3 && is(atom - 1, Tok::close) && is(atom - 2, Tok::number)) {
      const size_t sign = is(atom - 3, Tok::minus) ? 1 : 0;
      if (atom >= 4 + sign && is(atom - 3 - sign, Tok::open) && is(atom - 4 - sign, Tok::power))
        atom -= 4 + sign;
    } else if (atom >= 2 && is(atom - 1, Tok::number)) {
      const size_t sign = is(atom - 2, Tok::minus) ? 1 : 0;
      if (atom >= 2 + sign && is(atom - 2 - sign, Tok::power)) atom -= 2 + sign;
    } else if (const size_t fraction = fraction_at(end); fraction != end) {
      return fraction;
    }
    if (const size_t bracket = bracket_at(end); bracket != end) return bracket;
    return atom > 0 && is_unit(atom - 1, doubtful_too, doubtful) ? atom - 1 : end;
  }

  // "(square units)"
  size_t bracket_at(size_t end) const {
    if (end < 4 || !is(end - 1, Tok::close, "(")) return end;
    size_t at = end - 1;
    bool ignored = false;
    while (at > 1 && is_roman(at - 1) && is_unit(at - 1, false, ignored)) --at;
    return at < end - 1 && at >= 2 && is(at - 1, Tok::open, "(") ? at - 1 : end;
  }

  // "\frac{\text{m}}{\text{s}}"
  size_t fraction_at(size_t end) const {
    if (end < 8) return end;
    const size_t begin = end - 7;
    const bool braces = is(begin, Tok::frac) && is(begin + 1, Tok::open) &&
                        is(begin + 3, Tok::close) && is(begin + 4, Tok::open) &&
                        is(begin + 6, Tok::close);
    const auto is_named = [&](size_t at) {
      return is_roman(at) && unit_of(trimmed(list_[at].text)) != nullptr;
    };
    return braces && is_named(begin + 2) && is_named(begin + 5) ? begin : end;
  }

  bool is_roman(size_t at) const {
    return list_[at].kind == Tok::word || (list_[at].kind == Tok::run && list_[at].roman);
  }

  bool is_per(size_t at) const { return list_[at].text == "per" || list_[at].text == "a"; }

  bool is_unit(size_t at, bool doubtful_too, bool& doubtful) const {
    const Token& token = list_[at];
    if (at == 0) return false;
    const Token& before = list_[at - 1];
    const bool after_unit = before.kind == Tok::run && unit_of(before.text) != nullptr;
    const bool letters = token.kind == Tok::word || token.kind == Tok::run;
    if (!letters || !may_be_units(token.text, after_unit)) return false;
    const Unit* unit = unit_of(token.text);
    if (is_roman(at)) return unit != nullptr || !is_symbol(token.text);
    if (before.kind == Tok::subscript || before.kind == Tok::power) return false;
    if (before.kind == Tok::degree && (token.text == "C" || token.text == "F")) return true;
    const bool below = before.kind == Tok::divide;
    if (unit != nullptr && !unit->letters &&
        (before.kind == Tok::number || token.text.size() >= 4 || after_unit || below))
      return true;
    // Single letters, and words that nobody knows.
    const bool perhaps =
        unit != nullptr ? token.spaced || below : token.spaced && token.text.size() >= 3;
    if (!perhaps) return false;
    doubtful = true;
    return doubtful_too;
  }

  // A letter, or capitals as of a segment: \mathrm{i}, \text{x}, \mathrm{AB}.
  static bool is_symbol(std::string_view text) {
    const bool capitals =
        text.size() <= 3 && std::ranges::all_of(text, [](char c) { return c >= 'A' && c <= 'Z'; });
    return text.size() == 1 || capitals;
  }

  std::span<const Token> list_;
  bool doubtful_too_;
};

// One spelling of the unit that these tokens say.
void name_units(std::span<const Token> list, Units& units) {
  std::string power;
  const auto say = [&](std::string_view word) {
    const Unit* unit = unit_of(word);
    if (word == "squared" || word == "cubed") {
      units.name += word == "squared" ? "^2" : "^3";
    } else if (unit == nullptr) {
      units.known = false;
      units.name += word;
    } else if (unit->name == "square" || unit->name == "cubic") {
      power = unit->name == "square" ? "^2" : "^3";
    } else {
      units.name += unit->name;
      units.name += power;
      power.clear();
    }
  };
  for (const Token& token : list) {
    if (token.kind == Tok::divide || token.text == "per") {
      units.name += '/';
    } else if (token.kind == Tok::power) {
      units.name += '^';
    } else if (token.kind == Tok::number) {
      units.name += token.text;
    } else if (token.kind == Tok::run || token.kind == Tok::word) {
      for_words(token.text, [&](std::string_view word) {
        if (word == "per")
          units.name += '/';
        else
          say(word);
      });
    }
  }
}

}  // namespace

Units take_units(Tokens& tokens, bool doubtful_too) {
  Units units;
  const auto has_letters = [](const Token& token) {
    return token.kind == Tok::run || token.kind == Tok::word;
  };
  if (std::ranges::none_of(tokens.list, has_letters)) {
    units.name = tokens.currency;
    return units;
  }
  std::vector<Token> out;
  out.reserve(tokens.list.size());
  const std::span<const Token> list = tokens.list;
  int depth = 0;
  for (size_t begin = 0, at = 0; at <= list.size(); ++at) {
    if (at < list.size()) {
      const Tok kind = list[at].kind;
      if (kind == Tok::open || kind == Tok::begin) ++depth;
      if (kind == Tok::close || kind == Tok::finish) --depth;
      if (depth > 0 || !is_separator(list[at])) continue;
    }
    const std::span<const Token> element = list.subspan(begin, at - begin);
    const size_t stays = Finder(element, doubtful_too).run(units.doubtful);
    const auto taken = element.subspan(stays);
    name_units(taken, units);
    units.letters = units.letters || std::ranges::any_of(taken, [](const Token& token) {
                      return token.kind == Tok::run && !token.roman && token.text.size() <= 3;
                    });
    out.insert(out.end(), element.begin(), element.begin() + static_cast<int64_t>(stays));
    if (at < list.size()) out.push_back(list[at]);
    begin = at + 1;
  }
  tokens.list = std::move(out);
  if (units.name.empty()) units.name = tokens.currency;
  return units;
}

bool units_agree(const Units& a, const Units& b) {
  return a.name.empty() || b.name.empty() || !a.known || !b.known || a.name == b.name;
}

}  // namespace vernier::math
