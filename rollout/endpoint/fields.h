// Reads the fields of a JSON object; what is wrong with one is an ApiError that names it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"

namespace vernier {

/// Raises a 400 of the field `name`.
[[noreturn]] void refuse_field(const std::string& name, const std::string& message);

/// A value for a message, shortened where it is long.
std::string shown(const Json& value);

/// Fields are asked for by name; close() then refuses those that nobody asked for. A field that is
/// null is one that is not there.
class Fields {
 public:
  explicit Fields(const Json& object) : object_(object) {}

  const Json* find(const std::string& name);
  std::optional<int64_t> integer(const std::string& name, int64_t low, int64_t high);
  std::optional<double> number(const std::string& name, double low, double high);
  std::optional<std::string> text(const std::string& name);
  /// A truth value; `absent` where it is not there.
  bool flag(const std::string& name, bool absent);
  /// One text or a list of up to `most`, none of them empty.
  std::vector<std::string> texts(const std::string& name, size_t most);
  std::vector<int64_t> integers(const std::string& name, int64_t low, int64_t high);

  /// A field whose only accepted value is that without an effect.
  void only(const std::string& name, const Json& neutral);
  /// A field that says nothing about the answer.
  void without_effect(const std::string& name) { find(name); }

  /// Refuses every field that was not asked for, with the name that may have been meant.
  void close() const;

 private:
  const Json& object_;
  std::vector<std::string> known_;
};

/// The whole number in `value`, within [low, high].
int64_t integer_of(const Json& value, const std::string& name, int64_t low, int64_t high);

}  // namespace vernier
