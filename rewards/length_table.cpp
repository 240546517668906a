#include "rewards/length_table.h"

#include <algorithm>
#include <limits>

#include "core/base/config.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "rewards/units.h"

extern "C" const char ruler_table_begin[], ruler_table_end[];  // NOLINT: of ruler_table.S

namespace vernier {
namespace {

constexpr double kNoEnd = std::numeric_limits<double>::infinity();

// [low, high], or [low] where there is no end; false where neither is there.
bool bind_bounds(Binder& config, const char* key, LengthBounds& bounds, const char* doc) {
  std::vector<double> list;
  config.list(key, list, 0.0, 1e12, doc);
  if (list.empty()) return false;
  if (list.size() > 2 || (list.size() == 2 && list[0] > list[1]))
    config.error(key, "expected [low, high], or [low] where there is no end");
  bounds = {list[0], list.size() > 1 ? list[1] : kNoEnd};
  return true;
}

// Of a match: no length lies above low and at most at it.
bool bind_match(Binder& config, const char* key, LengthBounds& bounds, const char* doc) {
  const bool there = bind_bounds(config, key, bounds, doc);
  if (there && bounds.low == bounds.high)
    config.error(key, cat("no length is more than ", bounds.low, " and at most ", bounds.high));
  return there;
}

// Rows ask by a name of digits as by a number.
bool is_written_otherwise(const std::string& name) {
  constexpr size_t kDigits = 15;
  return name.find_first_not_of("0123456789") == std::string::npos &&
         (name.size() > kDigits || (name.size() > 1 && name[0] == '0'));
}

void bind_target(Binder& config, LengthTarget& target) {
  config.text_or_number("name", target.name, "as target_length and a control token have it");
  target.text = target.name;
  config.text("text", target.text, "as a sentence has it; empty: the name");
  config.number("level", target.level, 0, 1000, "by which scores are reported");
  const bool precise = bind_match(config, "precise", target.precise,
                                  "more than the first and at most the second: a precise match");
  const bool flexible =
      bind_match(config, "flexible", target.flexible, "the same of a flexible match");
  LengthBounds training;
  if (bind_bounds(config, "training", training, "demonstrations of such a length ask for it"))
    target.training = training;
  if (target.name.empty()) config.error("name", "is missing");
  if (is_written_otherwise(target.name))
    config.error("name", cat(target.name,
                             " is a number that is written in another way; allowed are at most 15 "
                             "digits, without a 0 before them"));
  if (!precise) config.error("precise", "is missing");
  if (!flexible) config.error("flexible", "is missing");
}

}  // namespace

std::shared_ptr<const LengthTable> LengthTable::read(const std::string& name) {
  auto table = std::make_shared<LengthTable>();
  ConfigFile file = name == "ruler"
                        ? ConfigFile::parse({ruler_table_begin, ruler_table_end}, "ruler.toml")
                        : ConfigFile::load(name);
  file.bind([&](Binder& root) {
    root.choice("unit", table->unit_, length_units(), "of all lengths here");
    root.tables("target", [&](Binder& config) {
      LengthTarget target;
      bind_target(config, target);
      for (const LengthTarget& other : table->targets_)
        if (other.name == target.name) config.error("name", cat(target.name, " is there twice"));
      table->targets_.push_back(std::move(target));
    });
    if (table->targets_.empty()) root.error("target", "the table has no [[target]]");
  });
  return table;
}

const LengthTarget* LengthTable::of(const Prompt& prompt, std::string& problem) const {
  if (prompt.target_length.empty() || prompt.target_length == "null") return nullptr;
  const Json asked = parse_json(prompt.target_length, cat("prompt ", prompt.id));
  const std::string name = asked.is_string() ? asked.get<std::string>() : prompt.target_length;
  const auto found =
      std::ranges::find_if(targets_, [&](const LengthTarget& one) { return one.name == name; });
  if (found != targets_.end()) return &*found;
  std::vector<std::string> known;
  for (const LengthTarget& target : targets_) known.push_back(target.name);
  problem = cat("prompt ", prompt.id, ": target_length: ", prompt.target_length.substr(0, 60),
                " is none of ", join(known));
  return nullptr;
}

const LengthTarget* LengthTable::taught_by(double length) const {
  const auto found = std::ranges::find_if(targets_, [&](const LengthTarget& one) {
    return one.training && length >= one.training->low && length <= one.training->high;
  });
  return found == targets_.end() ? nullptr : &*found;
}

}  // namespace vernier
