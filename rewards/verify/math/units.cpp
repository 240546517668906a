#include "rewards/verify/math/units.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

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
    Unit{"C", "C", true},
    Unit{"F", "F", true},
    Unit{"Hz", "Hz"},
    Unit{"J", "J", true},
    Unit{"K", "K", true},
    Unit{"L", "l", true},
    Unit{"N", "N", true},
    Unit{"Pa", "Pa"},
    Unit{"V", "V", true},
    Unit{"W", "W", true},
    Unit{"acre", "acre"},
    Unit{"am", "am", true},
    Unit{"cc", "cm^3", true},
    Unit{"cent", "cent"},
    Unit{"centimeter", "cm"},
    Unit{"centimetre", "cm"},
    Unit{"cm", "cm"},
    Unit{"coin", "coin"},
    Unit{"cu", "cubic"},
    Unit{"cubic", "cubic"},
    Unit{"d", "day", true},
    Unit{"day", "day"},
    Unit{"deg", "degree"},
    Unit{"degree", "degree"},
    Unit{"digit", "digit"},
    Unit{"dm", "dm"},
    Unit{"dollar", "dollar"},
    Unit{"edge", "edge"},
    Unit{"feet", "foot"},
    Unit{"foot", "foot"},
    Unit{"ft", "foot"},
    Unit{"g", "g", true},
    Unit{"gal", "gallon"},
    Unit{"gallon", "gallon"},
    Unit{"gm", "g"},
    Unit{"gram", "g"},
    Unit{"h", "hour", true},
    Unit{"hectare", "hectare"},
    Unit{"hour", "hour"},
    Unit{"hr", "hour"},
    Unit{"inch", "inch"},
    Unit{"integer", "integer"},
    Unit{"kg", "kg"},
    Unit{"kilogram", "kg"},
    Unit{"kilometer", "km"},
    Unit{"kilometre", "km"},
    Unit{"km", "km"},
    Unit{"kmh", "km/hour"},
    Unit{"kmph", "km/hour"},
    Unit{"kph", "km/hour"},
    Unit{"l", "l", true},
    Unit{"lb", "pound"},
    Unit{"liter", "l"},
    Unit{"litre", "l"},
    Unit{"m", "m", true},
    Unit{"meal", "meal"},
    Unit{"men", "man"},
    Unit{"meter", "m"},
    Unit{"metre", "m"},
    Unit{"mg", "mg"},
    Unit{"mile", "mile"},
    Unit{"milliliter", "ml"},
    Unit{"millimeter", "mm"},
    Unit{"min", "minute"},
    Unit{"minute", "minute"},
    Unit{"ml", "ml"},
    Unit{"mm", "mm"},
    Unit{"month", "month"},
    Unit{"mph", "mile/hour"},
    Unit{"ounce", "ounce"},
    Unit{"oz", "ounce"},
    Unit{"people", "person"},
    Unit{"person", "person"},
    Unit{"pm", "pm", true},
    Unit{"point", "point"},
    Unit{"pound", "pound"},
    Unit{"rad", "radian"},
    Unit{"radian", "radian"},
    Unit{"rupee", "rupee"},
    Unit{"s", "second", true},
    Unit{"sec", "second"},
    Unit{"second", "second"},
    Unit{"sq", "square"},
    Unit{"square", "square"},
    Unit{"student", "student"},
    Unit{"t", "ton", true},
    Unit{"ton", "ton"},
    Unit{"unit", "unit"},
    Unit{"way", "way"},
    Unit{"week", "week"},
    Unit{"yard", "yard"},
    Unit{"yd", "yard"},
    Unit{"year", "year"},
    Unit{"yr", "year"},
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
constexpr std::array<std::string_view, 62> kNoUnits = {
    "and",       "billion",  "billions",  "but",      "cubed",    "dozen",      "dozens",
    "eight",     "eighteen", "eighty",    "eleven",   "except",   "factorial",  "fifteen",
    "fifths",    "fifty",    "five",      "forty",    "four",     "fourteen",   "fourth",
    "fourths",   "half",     "halves",    "hundred",  "hundreds", "hundredths", "if",
    "isn't",     "maybe",    "million",   "millions", "nine",     "nineteen",   "ninety",
    "no",        "not",      "one",       "or",       "perhaps",  "possibly",   "seven",
    "seventeen", "seventy",  "six",       "sixteen",  "sixty",    "squared",    "ten",
    "tenths",    "third",    "thirds",    "thirteen", "thirty",   "thousand",   "thousands",
    "three",     "trillion", "trillions", "twelve",   "twenty",   "two",
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
    size_t end = list_.size();
    while (end > 0) {
      size_t atom = end;
      // "cm^2", "cm^{2}"
      if (atom >= 4 && list_[atom - 1].kind == Tok::close && list_[atom - 2].kind == Tok::number &&
          list_[atom - 3].kind == Tok::open && list_[atom - 4].kind == Tok::power)
        atom -= 4;
      else if (atom >= 2 && list_[atom - 1].kind == Tok::number &&
               list_[atom - 2].kind == Tok::power)
        atom -= 2;
      if (atom == 0 || !is_unit(atom - 1, doubtful)) break;
      --atom;
      // "m/s", "km per hour": the bar goes with what is below it.
      const bool joined = atom >= 2 && (list_[atom - 1].kind == Tok::divide ||
                                        list_[atom - 1].kind == Tok::times || is_per(atom - 1));
      bool ignored = false;
      if (joined && (is_unit(atom - 2, ignored) || list_[atom - 2].kind == Tok::close ||
                     (is_per(atom - 1) && list_[atom - 2].kind == Tok::number)))
        --atom;
      end = atom;
    }
    if (end == list_.size() || end == 0 || !ends_operand(list_[end - 1])) return list_.size();
    return end;
  }

 private:
  bool is_per(size_t at) const { return list_[at].text == "per" || list_[at].text == "a"; }

  bool is_unit(size_t at, bool& doubtful) const {
    const Token& token = list_[at];
    if (at == 0) return false;
    const Token& before = list_[at - 1];
    const bool after_unit = before.kind == Tok::run && unit_of(before.text) != nullptr;
    const bool letters = token.kind == Tok::word || token.kind == Tok::run;
    if (!letters || !may_be_units(token.text, after_unit)) return false;
    if (token.kind == Tok::word || token.roman) return true;
    if (before.kind == Tok::subscript || before.kind == Tok::power) return false;
    const Unit* unit = unit_of(token.text);
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
    return doubtful_too_;
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
  if (std::ranges::none_of(tokens.list, has_letters)) return units;
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
    name_units(element.subspan(stays), units);
    out.insert(out.end(), element.begin(), element.begin() + static_cast<int64_t>(stays));
    if (at < list.size()) out.push_back(list[at]);
    begin = at + 1;
  }
  tokens.list = std::move(out);
  return units;
}

bool units_agree(const Units& a, const Units& b) {
  return a.name.empty() || b.name.empty() || !a.known || !b.known || a.name == b.name;
}

}  // namespace vernier::math
