#include "tools/peer_tree.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace vernier {

// The one place that knows yaml-cpp.
struct PeerTree::Reader {
  PeerTree& tree;

  static YAML::Node parsed(const std::string& text, const std::string& where) {
    try {
      return YAML::Load(text);
    } catch (const YAML::Exception& problem) {
      fail(where, ":", problem.mark.line + 1, ":", problem.mark.column + 1, ": ", problem.msg);
    }
  }

  void read(const std::string& key, const YAML::Node& node) const {
    Value value;
    switch (node.Type()) {
      case YAML::NodeType::Map:
        if (node.size() == 0) return;
        for (const auto& entry : node) {
          const std::string own = entry.first.as<std::string>();
          read(key.empty() ? own : cat(key, '.', own), entry.second);
        }
        return;
      case YAML::NodeType::Sequence:
        value.is_list = true;
        for (const YAML::Node& item : node) {
          value.items.push_back(item.IsScalar() ? item.Scalar() : YAML::Dump(item));
          value.text += cat(value.text.empty() ? "" : ", ", value.items.back());
        }
        value.text = cat('[', value.text, ']');
        break;
      case YAML::NodeType::Scalar:
        value.text = node.Scalar();
        break;
      default:
        value.is_null = true;
        value.text = "null";
    }
    tree.put(key, std::move(value));
  }
};

PeerTree::PeerTree(const std::string& text, std::string name) : name_(std::move(name)) {
  const YAML::Node root = Reader::parsed(text, name_);
  if (!root.IsMap() && !root.IsNull()) fail(name_, ": is not a mapping of keys to values");
  if (root.IsMap()) Reader{*this}.read("", root);
}

void PeerTree::set(const std::string& key, const std::string& value) {
  Reader{*this}.read(key, Reader::parsed(value, cat(key, '=', value)));
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
  if (value->is_list) fail(name_, ": ", key, ": is the list ", value->text, "; a text is wanted");
  return value->text;
}

std::optional<double> PeerTree::number(const std::string& key) {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::string& digits = value->text;
  double out = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (problem != std::errc() || end != digits.data() + digits.size() || !std::isfinite(out))
    fail(name_, ": ", key, ": '", digits, "' is not a number");
  return out;
}

std::optional<bool> PeerTree::flag(const std::string& key) {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::string word = value->text;
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (word == "true" || word == "yes" || word == "on") return true;
  if (word == "false" || word == "no" || word == "off") return false;
  fail(name_, ": ", key, ": '", value->text, "' is neither true nor false");
}

std::vector<std::string> PeerTree::list(const std::string& key) {
  const Value* value = find(key);
  if (value == nullptr) return {};
  return value->is_list ? value->items : std::vector<std::string>{value->text};
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
  raw(section, key,
      value == std::floor(value) && std::abs(value) < 1e15 ? cat(static_cast<int64_t>(value))
                                                           : cat(value));
}

void TomlText::flag(const std::string& section, const std::string& key, bool value) {
  raw(section, key, cat(value));
}

void TomlText::text(const std::string& section, const std::string& key, const std::string& value) {
  raw(section, key, toml_text(value));
}

void TomlText::comment(const std::string& section, const std::string& line) {
  lines_of(section) += cat("# ", line, '\n');
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
    if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      out += cat("\\u00", kDigits[static_cast<unsigned char>(c) >> 4], kDigits[c & 15]);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace vernier
