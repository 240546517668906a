// Binds a TOML file onto structs: types, ranges, defaults and units in one call a key.
//
// The same calls serve four purposes: reading a file, collecting every mistake in it, writing the
// effective configuration, and printing the reference. There is no second list of keys.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vernier {

/// One key as a Binder saw it, for `vernier reference` and the effective configuration.
struct KeyRecord {
  std::string section;   // "rollout", "model.new", "reward.accuracy"
  int array_index = -1;  // place in a list of tables; -1 in a plain table
  std::string list;      // path of that list: "reward", "data.source"
  std::string key;
  std::string value;    // effective value as TOML; "" where an optional key is not set
  std::string allowed;  // "1 to 4096", "grpo | drpo"
  std::string doc;      // meaning and unit
  bool written = true;  // false: of a table that the file leaves out; not in effective()
};

class ConfigFile;

/// One table of a configuration file. Every call reads one key into a field that holds its default.
/// A mistake is collected, not thrown; the field keeps its default then.
class Binder {
 public:
  void number(std::string_view key, int64_t& field, int64_t low, int64_t high,
              std::string_view doc);
  void number(std::string_view key, double& field, double low, double high, std::string_view doc);
  void flag(std::string_view key, bool& field, std::string_view doc);
  void text(std::string_view key, std::string& field, std::string_view doc);
  /// A text, or a number, which is read as the text that it is written with.
  void text_or_number(std::string_view key, std::string& field, std::string_view doc);
  void choice(std::string_view key, std::string& field, std::vector<std::string> allowed,
              std::string_view doc);
  /// False where the list is refused.
  bool list(std::string_view key, std::vector<double>& field, double low, double high,
            std::string_view doc);
  bool list(std::string_view key, std::vector<int64_t>& field, int64_t low, int64_t high,
            std::string_view doc);
  /// A list of texts; where `allowed` has any, of those alone. None comes twice, unless `twice`
  /// (the words of a command). False where the list is refused.
  bool texts(std::string_view key, std::vector<std::string>& field,
             const std::vector<std::string>& allowed, std::string_view doc, bool twice = false);
  /// A table from token ids to numbers: { "1234" = -2.5 }.
  void by_id(std::string_view key, std::map<int64_t, double>& field, double low, double high,
             std::string_view doc);

  /// A table of whatever keys, for somebody else to read: `field` becomes its JSON, and stays what
  /// it was where the file has none.
  void any_table(std::string_view key, std::string& field, std::string_view doc);

  /// Binds the sub-table `key` where there is one; its keys are recorded either way.
  /// Returns whether the file has the table. One that is `optional` and left out has no effect, and
  /// is not part of the effective configuration.
  bool table(std::string_view key, const std::function<void(Binder&)>& bind, bool optional = false);

  /// Binds each entry of the list of tables `key`, in order of the file.
  void tables(std::string_view key, const std::function<void(Binder&)>& bind);

  bool has(std::string_view key) const;

  /// Says that `key`, bound before, has an effect only where `condition` holds. Elsewhere it is a
  /// mistake to give it ("... has no effect with `otherwise`"), and it is not part of the effective
  /// configuration.
  void only_if(std::string_view key, bool condition, std::string_view otherwise);

  /// Collects a mistake at `key` (or at the table, where `key` is empty).
  void error(std::string_view key, std::string_view message);

  /// Names this table in messages: "reward.accuracy" for an entry of the list `reward`.
  void rename(std::string_view section);
  const std::string& section() const { return section_; }

 private:
  friend class ConfigFile;
  Binder(ConfigFile& file, void* table, std::string section, int array_index,
         std::string list = "");

  void* find(std::string_view key);
  void record(std::string_view key, std::string value, std::string allowed, std::string_view doc);
  void wrong_type(std::string_view key, std::string_view wanted);
  template <class Number>
  bool read_number(std::string_view key, Number& field, Number low, Number high);
  template <class Number>
  bool read_list(std::string_view key, std::vector<Number>& field, Number low, Number high,
                 std::string_view doc);
  void close();

  ConfigFile* file_;
  void* table_;  // toml::table, null where the file has none
  std::string section_;
  int array_index_;
  std::string list_;  // path of the list that it is an entry of
  std::vector<std::string> known_;
  size_t first_record_;
};

/// A parsed file, or several laid over each other, with overrides, and what the binders found.
class ConfigFile {
 public:
  /// Reads `paths` and applies `overrides` ("section.key=value"). A later file replaces keys of the
  /// earlier ones one by one; a list, of tables too, as a whole; and a table as a whole where it
  /// names a `type`, since the other keys belong to that. Throws UsageError where a file is not
  /// TOML (with line and column) or an override has no place.
  static ConfigFile load(std::span<const std::string> paths,
                         std::span<const std::string> overrides = {});
  static ConfigFile load(const std::string& path, std::span<const std::string> overrides = {});

  /// The same for a text; `name` stands for the path in messages.
  static ConfigFile parse(std::string_view text, const std::string& name,
                          std::span<const std::string> overrides = {});

  ConfigFile(ConfigFile&&) noexcept;
  ~ConfigFile();

  /// Takes a key or a sub-table out, as if no file had it.
  void remove(std::string_view section, std::string_view key);

  /// Binds the whole file and throws UsageError with every mistake, one a line, in order of the
  /// file.
  void bind(const std::function<void(Binder&)>& bind_root);

  const std::vector<KeyRecord>& keys() const;

  /// The effective configuration as TOML: every key that was asked for, with its value.
  std::string effective() const;

  /// Of the first file.
  const std::string& name() const;

 private:
  friend class Binder;
  struct Data;
  explicit ConfigFile(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

}  // namespace vernier
