// The keys and values of a peer's configuration, and the TOML that they become.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vernier {

/// Keys of YAML with dots between levels. Whoever reads one says by that that it is known.
class PeerTree {
 public:
  /// Throws UsageError, opened by `name`, where the text is not YAML, or not a mapping, and where a
  /// key comes twice, is no text, or lies too deep.
  PeerTree(const std::string& text, std::string name);

  void set(const std::string& key, const std::string& value);  // as YAML

  bool has(const std::string& key) const;  // with a value that is not null
  /// Nothing where the key is not there or null.
  std::optional<std::string> text(const std::string& key);
  std::optional<double> number(const std::string& key);
  /// A whole number; throws UsageError where it is below `least`.
  std::optional<double> whole(const std::string& key, int64_t least = 1);
  std::optional<bool> flag(const std::string& key);
  std::vector<std::string> list(const std::string& key);
  std::vector<double> numbers(const std::string& key);

  /// What it was written as, for messages.
  std::string written(const std::string& key) const;
  const std::vector<std::string>& keys() const { return order_; }
  const std::string& name() const { return name_; }
  bool is_read(const std::string& key) const { return read_.contains(key); }

 private:
  struct Value {
    std::string text;
    std::vector<std::string> items;
    bool is_list = false, is_null = false;
  };
  struct Reader;
  void put(const std::string& key, Value value);
  const Value* find(const std::string& key);

  std::string name_;
  std::map<std::string, Value> values_;
  std::map<std::string, bool> read_;
  std::vector<std::string> order_;
};

/// A configuration in the making: sections in the order of their first key.
class TomlText {
 public:
  void number(const std::string& section, const std::string& key, double value);
  void numbers(const std::string& section, const std::string& key, std::span<const double> values);
  void flag(const std::string& section, const std::string& key, bool value);
  void text(const std::string& section, const std::string& key, const std::string& value);
  void raw(const std::string& section, const std::string& key, const std::string& literal);
  void comment(const std::string& section, const std::string& line);  // line ends are escaped
  /// Adds an entry to a list of tables, "[NAME]", and gives the section that its keys go to.
  std::string entry(const std::string& list);

  std::string str() const;

 private:
  std::string& lines_of(const std::string& section);
  std::vector<std::pair<std::string, std::string>> sections_;
};

/// A text as TOML writes it.
std::string toml_text(std::string_view text);
std::string toml_number(double value);

/// A text as a comment can have it: line ends and other control characters escaped.
std::string one_line(std::string_view text);
/// The same, cut where it is long: for messages.
std::string in_short(std::string_view text);

}  // namespace vernier
