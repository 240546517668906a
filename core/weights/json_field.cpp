#include "core/weights/json_field.h"

#include <algorithm>
#include <limits>

namespace vernier {
namespace {

// What was found, for a message.
std::string shown(const SortedJson& value) {
  constexpr size_t kMost = 60;
  const std::string text = value.dump(-1, ' ', false, SortedJson::error_handler_t::replace);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

}  // namespace

JsonField::JsonField(const SortedJson& value, std::string file)
    : value_(&value),
      file_(std::make_shared<const std::string>(std::move(file))),
      asked_(std::make_shared<std::set<std::string>>()) {}

JsonField::JsonField(const SortedJson& value, const JsonField& parent, std::string path)
    : value_(&value), file_(parent.file_), asked_(parent.asked_), path_(std::move(path)) {}

std::string JsonField::path_of(std::string_view key) const {
  return cat(path_, path_.empty() ? "" : ".", key);
}

void JsonField::only(std::initializer_list<std::string_view> known) const {
  if (!value_->is_object()) refuse(shown(*value_), " is not an object");
  for (const auto& [key, unused] : value_->items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      refuse("'", key, "' is not supported");
}

bool JsonField::has(const char* key) const {
  asked_->insert(path_of(key));
  return value_->is_object() && value_->contains(key) && !(*value_)[key].is_null();
}

JsonField JsonField::at(const char* key) const {
  if (!has(key)) refuse("'", key, "' is missing");
  return JsonField((*value_)[key], *this, path_of(key));
}

size_t JsonField::entries() const {
  if (!value_->is_array()) refuse(shown(*value_), " is not a list");
  return value_->size();
}

JsonField JsonField::entry(size_t i) const {
  return JsonField((*value_)[i], *this, cat(path_, "[", i, "]"));
}

const std::string& JsonField::text() const {
  if (!value_->is_string()) refuse(shown(*value_), " is not a string");
  return value_->get_ref<const std::string&>();
}

int64_t JsonField::integer() const {
  // A number above 2^63 - 1 is unsigned here and would change its sign.
  if (!value_->is_number_integer() ||
      (value_->is_number_unsigned() &&
       value_->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}))
    refuse(shown(*value_), " is not an integer");
  return value_->get<int64_t>();
}

double JsonField::real() const {
  if (!value_->is_number()) refuse(shown(*value_), " is not a number");
  return value_->get<double>();
}

bool JsonField::truth() const {
  if (!value_->is_boolean()) refuse(shown(*value_), " is not true or false");
  return value_->get<bool>();
}

int32_t JsonField::id() const {
  if (!value_->is_number_unsigned() || value_->get<uint64_t>() > 0x7FFFFFFF)
    refuse(shown(*value_), " is not a token id");
  return value_->get<int32_t>();
}

int64_t JsonField::integer(const char* key, int64_t fallback) const {
  return has(key) ? at(key).integer() : fallback;
}
double JsonField::real(const char* key, double fallback) const {
  return has(key) ? at(key).real() : fallback;
}
bool JsonField::flag(const char* key, bool fallback) const {
  return has(key) ? at(key).truth() : fallback;
}
std::string JsonField::text(const char* key, const std::string& fallback) const {
  return has(key) ? at(key).text() : fallback;
}

void JsonField::needs(const char* key, const SortedJson& neutral) const {
  if (has(key) && (*value_)[key] != neutral)
    at(key).refuse(shown((*value_)[key]), ": only ", neutral.dump(), " is supported");
}

std::vector<std::string> JsonField::unasked() const {
  std::vector<std::string> out;
  if (!value_->is_object()) return out;
  for (const auto& [key, value] : value_->items()) {
    if (!asked_->contains(path_of(key))) {
      out.push_back(path_of(key));
      continue;
    }
    // An object that is taken as a whole has no key of its own on the record.
    const bool entered = std::any_of(asked_->begin(), asked_->end(), [&](const std::string& path) {
      return path.starts_with(path_of(key) + ".");
    });
    if (!entered) continue;
    const auto inner = JsonField(value, *this, path_of(key)).unasked();
    out.insert(out.end(), inner.begin(), inner.end());
  }
  return out;
}

}  // namespace vernier
