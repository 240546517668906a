// Walks through a JSON file that others wrote: every message says where in the file.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/errors.h"
#include "core/weights/sorted_json.h"

namespace vernier {

/// A value of a file with the path to it, which opens every message. The fields of one file share a
/// record of the keys that were asked for. The value must outlive its fields.
class JsonField {
 public:
  JsonField(const SortedJson& value, std::string file);

  const SortedJson& value() const { return *value_; }
  const SortedJson* operator->() const { return value_; }
  const std::string& file() const { return *file_; }

  /// "file: path", for messages.
  std::string where() const { return cat(*file_, path_.empty() ? "" : ": ", path_); }

  /// Throws UsageError: "file: path: parts".
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(where(), ": ", parts...);
  }

  /// Refuses all keys but `known`.
  void only(std::initializer_list<std::string_view> known) const;

  /// Whether an object has `key` with a value that is not null.
  bool has(const char* key) const;

  /// The value of `key`; refuses where it is missing or null.
  JsonField at(const char* key) const;

  /// Number of entries; refuses what is not a list.
  size_t entries() const;
  JsonField entry(size_t i) const;

  /// The value as a type; refuses another one.
  const std::string& text() const;
  int64_t integer() const;
  double real() const;
  bool truth() const;
  int32_t id() const;  // 0 to 2^31 - 1

  /// The value of `key`, or `fallback` where it is missing or null.
  int64_t integer(const char* key, int64_t fallback) const;
  double real(const char* key, double fallback) const;
  bool flag(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;

  /// Refuses `key` unless it is left out, null, or has a value that means the same.
  void needs(const char* key, const SortedJson& neutral) const;

  /// The text at `type`, "" where there is none.
  std::string type() const { return text("type", ""); }

  /// Paths of the keys of this object that nobody asked for, and of those in the objects that
  /// somebody asked for.
  std::vector<std::string> unasked() const;

 private:
  JsonField(const SortedJson& value, const JsonField& parent, std::string path);
  std::string path_of(std::string_view key) const;

  const SortedJson* value_;
  std::shared_ptr<const std::string> file_;       // shared by the fields of a file
  std::shared_ptr<std::set<std::string>> asked_;  // likewise
  std::string path_;
};

}  // namespace vernier
