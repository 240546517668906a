#include "tools/peer_tree.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace vernier {

namespace {

constexpr double kMostCount = 1 << 30;  // of anything: what Vernier's own keys take

std::optional<double> as_number(const std::string& digits) {
  double out = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (problem != std::errc() || end != digits.data() + digits.size() || !std::isfinite(out))
    return std::nullopt;
  return out;
}

void append_escaped(std::string& out, char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (c == '\n') {
    out += "\\n";
  } else if (byte < 0x20 || byte == 0x7F) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    out += cat("\\u00", kDigits[byte >> 4], kDigits[byte & 15]);
  } else {
    out += c;
  }
}

}  // namespace

// The one place that knows yaml-cpp.
struct PeerTree::Reader {
  PeerTree& tree;
  const std::string where;             // opens messages
  std::map<std::string, int> lines{};  // of each key that has a value

  // An alias can stand in what it stands for, and a few of them for a billion keys.
  static constexpr int kMostLevels = 64;
  static constexpr size_t kMostKeys = 100'000;

  void read_all(const std::string& key, const std::string& text) {
    try {
      const YAML::Node root = YAML::Load(text);
      if (key.empty() && root.IsNull()) return;
      if (key.empty() && !root.IsMap()) fail(where, ": is not a mapping of keys to values");
      read(key, root, root.Mark(), 0);
    } catch (const YAML::Exception& problem) {
      fail(at(problem.mark), ": ", problem.msg);
    }
  }

 private:
  std::string at(const YAML::Mark& mark) const {
    return mark.is_null() ? where : cat(where, ':', mark.line + 1, ':', mark.column + 1);
  }

  void read(const std::string& key, const YAML::Node& node, const YAML::Mark& mark, int level) {
    if (level > kMostLevels)
      fail(at(mark), ": ", in_short(key), " is more than ", kMostLevels,
           " levels deep; does an alias stand in what it stands for?");
    if (node.IsMap()) return read_map(key, node, level);
    const auto [first, is_new] = lines.emplace(key, mark.line + 1);
    if (!is_new)
      fail(at(mark), ": ", in_short(key), " is given twice, first in line ", first->second);
    if (lines.size() > kMostKeys)
      fail(at(mark), ": ", in_short(key), " is one key more than ", kMostKeys,
           ", aliases counted each time; no more are allowed");
    Value value = read_value(node);
    if (!is_utf8(key) || !is_utf8(value.text))
      fail(at(mark), ": ", in_short(key), " = ", in_short(value.text), " is not UTF-8");
    tree.put(key, std::move(value));
  }

  void read_map(const std::string& key, const YAML::Node& node, int level) {
    std::map<std::string, int> own;  // keys, with their lines
    for (const auto& entry : node) {
      const YAML::Node& name = entry.first;
      if (!name.IsScalar() || name.Scalar().empty())
        fail(at(name.Mark()), ": ", key.empty() ? "" : cat(in_short(key), ": "), "a key is ",
             name.IsSequence() ? "a list"
             : name.IsMap()    ? "a mapping"
             : name.IsNull()   ? "null"
                               : "empty",
             "; a text is wanted");
      const std::string full = key.empty() ? name.Scalar() : cat(key, '.', name.Scalar());
      const auto [first, is_new] = own.emplace(name.Scalar(), name.Mark().line + 1);
      if (!is_new)
        fail(at(name.Mark()), ": ", in_short(full), " is given twice, first in line ",
             first->second);
      read(full, entry.second, name.Mark(), level + 1);
    }
  }

  static Value read_value(const YAML::Node& node) {
    Value value;
    if (node.IsSequence()) {
      value.is_list = true;
      for (const YAML::Node& item : node) {
        value.items.push_back(item.IsScalar() ? item.Scalar() : YAML::Dump(item));
        value.text += cat(value.text.empty() ? "" : ", ", value.items.back());
      }
      value.text = cat('[', value.text, ']');
    } else if (node.IsScalar()) {
      value.text = node.Scalar();
    } else {
      value.is_null = true;
      value.text = "null";
    }
    return value;
  }
};

PeerTree::PeerTree(const std::string& text, std::string name) : name_(std::move(name)) {
  Reader{*this, name_}.read_all("", text);
}

void PeerTree::set(const std::string& key, const std::string& value) {
  Reader{*this, in_short(cat(key, '=', value))}.read_all(key, value);
}

void PeerTree::put(const std::string& key, Value value) {
  if (value.text == "None" || value.text == "???") value.is_null = true;  // Python's, Hydra's
  if (!values_.contains(key)) order_.push_back(key);
  values_[key] = std::move(value);
}

const PeerTree::Value* PeerTree::find(const std::string& key) {
  read_[key] = true;
  const auto found = values_.find(key);
  return found == values_.end() || found->second.is_null ? nullptr : &found->second;
}

bool PeerTree::has(const std::string& key) const {
  const auto found = values_.find(key);
  return found != values_.end() && !found->second.is_null;
}

std::string PeerTree::written(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? "" : found->second.text;
}

std::optional<std::string> PeerTree::text(const std::string& key) {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_list)
    fail(name_, ": ", key, ": is the list ", in_short(value->text), "; a text is wanted");
  return value->text;
}

std::optional<double> PeerTree::number(const std::string& key) {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<double> out = as_number(value->text);
  if (!out) fail(name_, ": ", key, ": '", in_short(value->text), "' is not a number");
  return out;
}

std::optional<double> PeerTree::whole(const std::string& key, int64_t least) {
  const std::optional<double> value = number(key);
  if (!value) return value;
  if (*value != std::floor(*value) || *value < static_cast<double>(least))
    fail(name_, ": ", key, ": ", written(key), " is not a whole number of at least ", least);
  if (*value > kMostCount)
    fail(name_, ": ", key, ": ", written(key), " is more than ", toml_number(kMostCount),
         ", the most that is allowed");
  return value;
}

std::optional<bool> PeerTree::flag(const std::string& key) {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::string word = value->text;
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (word == "true" || word == "yes" || word == "on") return true;
  if (word == "false" || word == "no" || word == "off") return false;
  fail(name_, ": ", key, ": '", in_short(value->text), "' is neither true nor false");
}

std::vector<std::string> PeerTree::list(const std::string& key) {
  const Value* value = find(key);
  if (value == nullptr) return {};
  return value->is_list ? value->items : std::vector<std::string>{value->text};
}

std::vector<double> PeerTree::numbers(const std::string& key) {
  std::vector<double> out;
  for (const std::string& item : list(key)) {
    const std::optional<double> value = as_number(item);
    if (!value)
      fail(name_, ": ", key, ": '", in_short(item), "' is not a number; a list of them is wanted");
    out.push_back(*value);
  }
  return out;
}

std::string& TomlText::lines_of(const std::string& section) {
  for (auto& [name, lines] : sections_)
    if (name == section) return lines;
  return sections_.emplace_back(section, "").second;
}

void TomlText::raw(const std::string& section, const std::string& key, const std::string& literal) {
  lines_of(section) += cat(key, " = ", literal, '\n');
}

void TomlText::number(const std::string& section, const std::string& key, double value) {
  raw(section, key, toml_number(value));
}

void TomlText::numbers(const std::string& section, const std::string& key,
                       std::span<const double> values) {
  std::string list;
  for (const double value : values) list += cat(list.empty() ? "" : ", ", toml_number(value));
  raw(section, key, cat('[', list, ']'));
}

void TomlText::flag(const std::string& section, const std::string& key, bool value) {
  raw(section, key, cat(value));
}

void TomlText::text(const std::string& section, const std::string& key, const std::string& value) {
  raw(section, key, toml_text(value));
}

void TomlText::comment(const std::string& section, const std::string& line) {
  lines_of(section) += cat("# ", one_line(line), '\n');
}

std::string TomlText::entry(const std::string& list) {
  const std::string name = cat(list, " #", sections_.size());
  lines_of(name);
  return name;
}

std::string TomlText::str() const {
  std::string out;
  for (const auto& [name, lines] : sections_) {
    const std::string plain = name.substr(0, name.find(" #"));
    out += cat(out.empty() ? "" : "\n", plain.empty() ? "" : cat('[', plain, "]\n"), lines);
  }
  return out;
}

std::string toml_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    append_escaped(out, c);
  }
  return out + "\"";
}

std::string toml_number(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15 ? cat(static_cast<int64_t>(value))
                                                              : cat(value);
}

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : to_valid_utf8(text)) append_escaped(out, c);
  return out;
}

std::string in_short(std::string_view text) {
  constexpr size_t kMostBytes = 120;
  const std::string line = one_line(text);
  if (line.size() <= kMostBytes) return line;
  const std::string_view head = std::string_view(line).substr(0, kMostBytes);
  return cat(head.substr(0, whole_utf8_prefix(head)), "...");
}

}  // namespace vernier
