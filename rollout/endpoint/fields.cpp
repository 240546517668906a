#include "rollout/endpoint/fields.h"

#include <algorithm>
#include <cmath>

#include "rollout/endpoint/api_error.h"

namespace vernier {

void refuse_field(const std::string& name, const std::string& message) {
  throw ApiError(400, cat(name, ": ", message), name);
}

std::string shown(const Json& value) {
  std::string text = dump_json(value);
  constexpr size_t kLongest = 60;
  if (text.size() <= kLongest) return text;
  text.resize(whole_utf8_prefix(std::string_view(text).substr(0, kLongest)));
  return text + "...";
}

int64_t integer_of(const Json& value, const std::string& name, int64_t low, int64_t high) {
  // 5.0 is a whole number too; beyond 2^53 a floating point number no longer says which.
  const bool whole = value.is_number_float() && std::abs(value.get<double>()) < 0x1p53 &&
                     std::floor(value.get<double>()) == value.get<double>();
  if (!value.is_number_integer() && !whole)
    refuse_field(name, cat(shown(value), " is not a whole number"));
  const bool fits = !value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX;
  const auto number = !fits   ? INT64_MAX
                      : whole ? static_cast<int64_t>(value.get<double>())
                              : value.get<int64_t>();
  if (!fits || number < low || number > high)
    refuse_field(name, cat(shown(value), " is outside the allowed range, ", low, " to ", high));
  return number;
}

const Json* Fields::find(const std::string& name) {
  known_.push_back(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<int64_t> Fields::integer(const std::string& name, int64_t low, int64_t high) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  return integer_of(*value, name, low, high);
}

std::optional<double> Fields::number(const std::string& name, double low, double high) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse_field(name, cat(shown(*value), " is not a number"));
  const auto number = value->get<double>();
  if (!(number >= low && number <= high))
    refuse_field(name, cat(number, " is outside the allowed range, ", low, " to ", high));
  return number;
}

std::optional<std::string> Fields::text(const std::string& name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse_field(name, cat(shown(*value), " is not a text"));
  return value->get<std::string>();
}

bool Fields::flag(const std::string& name, bool absent) {
  const Json* value = find(name);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) refuse_field(name, cat(shown(*value), " is neither true nor false"));
  return value->get<bool>();
}

std::vector<std::string> Fields::texts(const std::string& name, size_t most) {
  const Json* value = find(name);
  if (value == nullptr) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  if (list.size() > most)
    refuse_field(name, cat("has ", list.size(), " texts; allowed are up to ", most));
  std::vector<std::string> out;
  for (const Json& entry : list) {
    if (!entry.is_string())
      refuse_field(name, cat(shown(entry), " is not a text; it is one text, or a list of them"));
    out.push_back(entry.get<std::string>());
    if (out.back().empty())
      refuse_field(name, "\"\" is empty; allowed are texts of one byte or more");
  }
  return out;
}

std::vector<int64_t> Fields::integers(const std::string& name, int64_t low, int64_t high) {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_array()) refuse_field(name, cat(shown(*value), " is not a list of whole numbers"));
  std::vector<int64_t> out;
  for (const Json& entry : *value) out.push_back(integer_of(entry, name, low, high));
  return out;
}

void Fields::only(const std::string& name, const Json& neutral) {
  const Json* value = find(name);
  if (value != nullptr && *value != neutral)
    refuse_field(name, cat(shown(*value), " is not supported; allowed is ", shown(neutral),
                           ", or no such field"));
}

void Fields::close() const {
  for (const auto& [name, value] : object_.items())
    if (std::find(known_.begin(), known_.end(), name) == known_.end())
      refuse_field(name, cat("unknown field", suggestion(name, known_)));
}

}  // namespace vernier
