#include "core/base/config.h"

#define TOML_HEADER_ONLY 1
#define TOML_MAX_NESTED_VALUES 32
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <tuple>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/toml_text.h"

namespace vernier {
namespace {

constexpr size_t kMaxFile = 1 << 20;

struct Mistake {
  size_t file;  // in the order they were given, from 1; 0: --set
  uint32_t line, column;
  std::string text;
};

std::string kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

// The value as the user wrote it, cut where it is long.
std::string shown(const toml::node& node) {
  std::string out;
  if (const auto* text = node.as_string())
    out = toml_value(text->get());
  else if (const auto* whole = node.as_integer())
    out = toml_value(whole->get());
  else if (const auto* real = node.as_floating_point())
    out = toml_value(real->get());
  else if (const auto* flag = node.as_boolean())
    out = toml_value(flag->get());
  else
    return kind_of(node);
  if (out.size() > 60) out = out.substr(0, 57) + "...";
  return out;
}

template <class Number>
std::string range_text(Number low, Number high) {
  if constexpr (std::is_same_v<Number, double>) {
    const bool below = std::isinf(low), above = std::isinf(high);
    if (below && above) return "any number";
    if (above) return cat("at least ", low);
    if (below) return cat("at most ", high);
  }
  return cat(low, " to ", high);
}

std::optional<int64_t> as_number(const toml::node& node, int64_t) {
  if (const auto* whole = node.as_integer()) return whole->get();
  return std::nullopt;
}
std::optional<double> as_number(const toml::node& node, double) {
  if (const auto* real = node.as_floating_point()) return real->get();
  if (const auto* whole = node.as_integer()) return static_cast<double>(whole->get());
  return std::nullopt;
}

// A token id as it is written, without sign or leading zeros.
std::optional<int64_t> as_token_id(std::string_view text) {
  int32_t id = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (problem != std::errc() || id < 0 || cat(id) != text) return std::nullopt;
  return id;
}

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  while (true) {
    const size_t dot = path.find('.');
    parts.emplace_back(path.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    path.remove_prefix(dot + 1);
  }
}

// The entry of a list of tables that is called `name`: by its `name`, else by its `type`.
toml::table* named_entry(toml::array& list, std::string_view name) {
  for (toml::node& node : list) {
    toml::table* entry = node.as_table();
    if (entry == nullptr) continue;
    const std::string own = entry->contains("name") ? (*entry)["name"].value_or(std::string())
                                                    : (*entry)["type"].value_or(std::string());
    if (own == name) return entry;
  }
  return nullptr;
}

// The value of an override. What is not a TOML value is taken as plain text, so that a shell needs
// no second pair of quotes.
toml::table parse_override(std::string_view value) {
  try {
    return toml::parse(cat("value = ", value), std::string_view("--set"));
  } catch (const toml::parse_error&) {
    toml::table out;
    out.insert_or_assign("value", std::string(value));
    return out;
  }
}

void apply_override(toml::table& root, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    fail("--set ", assignment, ": expected section.key=value");
  const std::vector<std::string> path = split_path(std::string_view(assignment).substr(0, equals));
  toml::table* table = &root;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    toml::node* next = table->get(path[i]);
    if (next == nullptr) {
      table->insert(path[i], toml::table());
      next = table->get(path[i]);
    }
    if (toml::array* list = next->as_array()) {
      if (i + 2 >= path.size())
        fail("--set ", assignment, ": ", path[i], " is a list; name one of its entries: ", path[i],
             ".NAME.key=value");
      next = named_entry(*list, path[++i]);
      if (next == nullptr)
        fail("--set ", assignment, ": no entry of [[", path[i - 1], "]] is called ", path[i]);
    }
    table = next->as_table();
    if (table == nullptr) fail("--set ", assignment, ": ", path[i], " is not a table");
  }
  const toml::table parsed = parse_override(std::string_view(assignment).substr(equals + 1));
  table->insert_or_assign(path.back(), *parsed.get("value"));
}

// Lays `over` on `base`, key by key; a table with a type replaces the one below it. Values move:
// that keeps the places they came from.
void merge(toml::table& base, toml::table&& over) {
  for (auto&& [key, node] : over) {
    toml::table *above = node.as_table(), *below = base[key].as_table();
    if (above != nullptr && below != nullptr && !above->contains("type")) {
      merge(*below, std::move(*above));
      continue;
    }
    base.erase(key);
    node.visit([&, &key = key](auto& value) { base.insert(key, std::move(value)); });
  }
}

// "model.new" for nested tables, "[reward]" marks an entry of a list.
std::string header(const KeyRecord& key) {
  return key.array_index < 0 ? cat("[", key.section, "]") : cat("[[", key.list, "]]");
}

}  // namespace

struct ConfigFile::Data {
  std::vector<std::string> names;
  toml::table root;
  std::vector<Mistake> mistakes;
  std::vector<KeyRecord> keys;

  void add(const toml::source_region& source, std::string_view path, std::string_view message) {
    const auto [line, column] = std::pair(source.begin.line, source.begin.column);
    const bool from_file = line > 0 && source.path && *source.path != "--set";
    if (!from_file) return mistakes.push_back({0, 0, 0, cat("--set: ", path, ": ", message)});
    const auto file = std::find(names.begin(), names.end(), *source.path) - names.begin() + 1;
    mistakes.push_back({static_cast<size_t>(file), line, column,
                        cat(*source.path, ":", line, ":", column, ": ", path, ": ", message)});
  }

  // Lays one more text over what is there.
  void lay_over(std::string_view text, const std::string& name) {
    if (text.size() > kMaxFile) fail(name, ": larger than 1 MiB; a configuration is not");
    names.push_back(name);
    try {
      merge(root, toml::parse(text, std::string_view(name)));
    } catch (const toml::parse_error& problem) {
      fail(name, ":", problem.source().begin.line, ":", problem.source().begin.column,
           ": not TOML: ", problem.description());
    }
  }
};

ConfigFile::ConfigFile(std::unique_ptr<Data> data) : data_(std::move(data)) {}
ConfigFile::ConfigFile(ConfigFile&&) noexcept = default;
ConfigFile::~ConfigFile() = default;

ConfigFile ConfigFile::load(std::span<const std::string> paths,
                            std::span<const std::string> overrides) {
  ensure(!paths.empty(), "a file to load");
  auto data = std::make_unique<Data>();
  for (const std::string& path : paths) data->lay_over(read_file(path), path);
  for (const std::string& assignment : overrides) apply_override(data->root, assignment);
  return ConfigFile(std::move(data));
}

ConfigFile ConfigFile::load(const std::string& path, std::span<const std::string> overrides) {
  return load(std::span(&path, 1), overrides);
}

ConfigFile ConfigFile::parse(std::string_view text, const std::string& name,
                             std::span<const std::string> overrides) {
  auto data = std::make_unique<Data>();
  data->lay_over(text, name);
  for (const std::string& assignment : overrides) apply_override(data->root, assignment);
  return ConfigFile(std::move(data));
}

void ConfigFile::remove(std::string_view section, std::string_view key) {
  if (toml::table* table = data_->root[section].as_table()) table->erase(key);
}

void ConfigFile::bind(const std::function<void(Binder&)>& bind_root) {
  data_->mistakes.clear();
  data_->keys.clear();
  Binder root(*this, &data_->root, "", -1);
  bind_root(root);
  root.close();
  if (data_->mistakes.empty()) return;
  std::stable_sort(
      data_->mistakes.begin(), data_->mistakes.end(), [](const Mistake& a, const Mistake& b) {
        return std::tuple(a.file, a.line, a.column) < std::tuple(b.file, b.line, b.column);
      });
  std::string all;
  for (const Mistake& mistake : data_->mistakes) all += cat(all.empty() ? "" : "\n", mistake.text);
  throw UsageError(all);
}

const std::vector<KeyRecord>& ConfigFile::keys() const { return data_->keys; }
const std::string& ConfigFile::name() const { return data_->names.front(); }

std::string ConfigFile::effective() const {
  std::string out, open;
  for (const KeyRecord& key : data_->keys) {
    if (key.value.empty() || !key.written) continue;
    const std::string identity = cat(key.section, "#", key.array_index);
    if (identity != open) {
      out += cat(out.empty() ? "" : "\n", header(key), "\n");
      open = identity;
    }
    out += cat(key.key, " = ", key.value, "\n");
  }
  return out;
}

Binder::Binder(ConfigFile& file, void* table, std::string section, int array_index,
               std::string list)
    : file_(&file),
      table_(table),
      section_(std::move(section)),
      array_index_(array_index),
      list_(std::move(list)),
      first_record_(file.data_->keys.size()) {}

void* Binder::find(std::string_view key) {
  known_.emplace_back(key);
  auto* table = static_cast<toml::table*>(table_);
  return table == nullptr ? nullptr : table->get(key);
}

bool Binder::has(std::string_view key) const {
  const auto* table = static_cast<const toml::table*>(table_);
  return table != nullptr && table->contains(key);
}

void Binder::only_if(std::string_view key, bool condition, std::string_view otherwise) {
  if (condition) return;
  if (has(key)) error(key, cat("has no effect with ", otherwise, "; leave it out"));
  for (size_t i = first_record_; i < file_->data_->keys.size(); ++i)
    if (file_->data_->keys[i].key == key && file_->data_->keys[i].section == section_)
      file_->data_->keys[i].written = false;
}

void Binder::record(std::string_view key, std::string value, std::string allowed,
                    std::string_view doc) {
  file_->data_->keys.push_back({section_, array_index_, list_, std::string(key), std::move(value),
                                std::move(allowed), std::string(doc), true});
}

void Binder::rename(std::string_view section) {
  section_ = section;
  for (size_t i = first_record_; i < file_->data_->keys.size(); ++i)
    file_->data_->keys[i].section = section;
}

void Binder::error(std::string_view key, std::string_view message) {
  auto* table = static_cast<toml::table*>(table_);
  toml::source_region source{};
  if (table != nullptr) {
    const toml::node* node = key.empty() ? table : table->get(key);
    source = (node != nullptr ? node : table)->source();
  }
  if (source.begin.line == 0 && table_ == nullptr) {
    // A table that the file does not have: the mistake is in what it left out.
    source = {{1, 1}, {1, 1}, std::make_shared<const std::string>(file_->name())};
  }
  const std::string path = section_.empty() ? std::string(key)
                           : key.empty()    ? section_
                                            : cat(section_, ".", key);
  file_->data_->add(source, path, message);
}

void Binder::wrong_type(std::string_view key, std::string_view wanted) {
  const auto* node = static_cast<toml::table*>(table_)->get(key);
  error(key, cat(shown(*node), " is not ", wanted));
}

template <class Number>
bool Binder::read_number(std::string_view key, Number& field, Number low, Number high) {
  const auto* node = static_cast<const toml::node*>(find(key));
  if (node == nullptr) return false;
  const std::optional<Number> value = as_number(*node, Number{});
  if (!value) {
    wrong_type(key, std::is_same_v<Number, int64_t> ? "an integer" : "a number");
    return false;
  }
  if (!(*value >= low && *value <= high)) {
    error(key, cat(toml_value(*value), " is outside the allowed range, ", range_text(low, high)));
    return false;
  }
  field = *value;
  return true;
}

void Binder::number(std::string_view key, int64_t& field, int64_t low, int64_t high,
                    std::string_view doc) {
  read_number(key, field, low, high);
  record(key, toml_value(field), range_text(low, high), doc);
}

void Binder::number(std::string_view key, double& field, double low, double high,
                    std::string_view doc) {
  read_number(key, field, low, high);
  record(key, toml_value(field), range_text(low, high), doc);
}

void Binder::flag(std::string_view key, bool& field, std::string_view doc) {
  if (const auto* node = static_cast<const toml::node*>(find(key))) {
    if (const auto* value = node->as_boolean())
      field = value->get();
    else
      wrong_type(key, "true or false");
  }
  record(key, toml_value(field), "true | false", doc);
}

void Binder::text(std::string_view key, std::string& field, std::string_view doc) {
  if (const auto* node = static_cast<const toml::node*>(find(key))) {
    if (const auto* value = node->as_string())
      field = value->get();
    else
      wrong_type(key, "a text");
  }
  record(key, toml_value(field), "text", doc);
}

void Binder::text_or_number(std::string_view key, std::string& field, std::string_view doc) {
  const auto* node = static_cast<const toml::node*>(find(key));
  if (node == nullptr || !node->is_number()) return text(key, field, doc);
  field = shown(*node);
  record(key, field, "text or number", doc);
}

void Binder::choice(std::string_view key, std::string& field, std::vector<std::string> allowed,
                    std::string_view doc) {
  if (const auto* node = static_cast<const toml::node*>(find(key))) {
    const auto* value = node->as_string();
    if (value == nullptr) {
      wrong_type(key, cat("one of ", join(allowed)));
    } else if (std::find(allowed.begin(), allowed.end(), value->get()) == allowed.end()) {
      error(key,
            cat(shown(*node), " is not one of ", join(allowed), suggestion(value->get(), allowed)));
    } else {
      field = value->get();
    }
  }
  record(key, toml_value(field), join(allowed, " | "), doc);
}

template <class Number>
bool Binder::read_list(std::string_view key, std::vector<Number>& field, Number low, Number high,
                       std::string_view doc) {
  bool taken = true;
  const std::string allowed = cat("list of ", range_text(low, high));
  if (const auto* node = static_cast<const toml::node*>(find(key))) {
    const auto* values = node->as_array();
    std::vector<Number> read;
    taken = false;
    if (values == nullptr) {
      wrong_type(key, "a list");
    } else {
      for (const toml::node& item : *values) {
        const std::optional<Number> value = as_number(item, Number{});
        if (value && *value >= low && *value <= high)
          read.push_back(*value);
        else
          error(key, cat(shown(item), " in the list is not a number of ", range_text(low, high)));
      }
      taken = read.size() == values->size();
      if (taken) field = std::move(read);
    }
  }
  record(key, toml_value(field), allowed, doc);
  return taken;
}

bool Binder::list(std::string_view key, std::vector<double>& field, double low, double high,
                  std::string_view doc) {
  return read_list(key, field, low, high, doc);
}

bool Binder::list(std::string_view key, std::vector<int64_t>& field, int64_t low, int64_t high,
                  std::string_view doc) {
  return read_list(key, field, low, high, doc);
}

bool Binder::texts(std::string_view key, std::vector<std::string>& field,
                   const std::vector<std::string>& allowed, std::string_view doc, bool twice) {
  bool taken = true;
  const std::string one = allowed.empty() ? "text" : join(allowed, " | ");
  if (const auto* node = static_cast<const toml::node*>(find(key))) {
    const auto* values = node->as_array();
    std::vector<std::string> read;
    taken = false;
    if (values == nullptr) {
      wrong_type(key, cat("a list of ", one));
    } else {
      for (const toml::node& item : *values) {
        const auto* value = item.as_string();
        const bool known =
            value != nullptr && (allowed.empty() || std::find(allowed.begin(), allowed.end(),
                                                              value->get()) != allowed.end());
        if (!known)
          error(key, cat(shown(item), " in the list is not ", allowed.empty() ? "a " : "", one,
                         value == nullptr ? "" : suggestion(value->get(), allowed)));
        else if (!twice && std::find(read.begin(), read.end(), value->get()) != read.end())
          error(key, cat(shown(item), " is in the list twice"));
        else
          read.push_back(value->get());
      }
      taken = read.size() == values->size();
      if (taken) field = std::move(read);
    }
  }
  record(key, toml_value(field), cat("list of ", one), doc);
  return taken;
}

void Binder::by_id(std::string_view key, std::map<int64_t, double>& field, double low, double high,
                   std::string_view doc) {
  if (auto* node = static_cast<toml::node*>(find(key))) {
    const auto* values = node->as_table();
    if (values == nullptr) {
      wrong_type(key, "a table of token ids, { \"1234\" = -2.5 }");
    } else {
      std::map<int64_t, double> read;
      for (const auto& [name, item] : *values) {
        const std::optional<int64_t> id = as_token_id(name.str());
        const std::optional<double> value = as_number(item, double{});
        if (!id)
          error(key, cat("'", name.str(), "' is not a token id, 0 to ", INT32_MAX));
        else if (!value || !(*value >= low && *value <= high))
          error(key,
                cat(shown(item), " of id ", *id, " is not a number of ", range_text(low, high)));
        else
          read.emplace(*id, *value);
      }
      if (read.size() == values->size()) field = std::move(read);
    }
  }
  record(key, toml_value(field), cat("table from ids to ", range_text(low, high)), doc);
}

void Binder::any_table(std::string_view key, std::string& field, std::string_view doc) {
  std::string value;
  if (auto* node = static_cast<toml::node*>(find(key))) {
    if (toml::table* given = node->as_table()) {
      std::ostringstream json, toml_text;
      json << toml::json_formatter(*given);
      field = json.str();
      given->is_inline(true);  // the effective configuration has a line for a key
      toml_text << toml::toml_formatter(toml::table{{"k", *given}});
      value = toml_text.str().substr(std::string_view("k = ").size());
    } else {
      wrong_type(key, "a table");
    }
  }
  record(key, std::move(value), "table", doc);
}

bool Binder::table(std::string_view key, const std::function<void(Binder&)>& bind, bool optional) {
  auto* node = static_cast<toml::node*>(find(key));
  toml::table* inner = node == nullptr ? nullptr : node->as_table();
  if (node != nullptr && inner == nullptr) wrong_type(key, "a table");
  // An entry of a list may have a name of its own in messages; TOML knows it by its list.
  const std::string& parent = array_index_ < 0 ? section_ : list_;
  const std::string path = parent.empty() ? std::string(key) : cat(parent, ".", key);
  Binder child(*file_, inner, path, -1);
  bind(child);
  child.close();
  if (optional && inner == nullptr)
    for (size_t i = child.first_record_; i < file_->data_->keys.size(); ++i)
      file_->data_->keys[i].written = false;
  return inner != nullptr;
}

void Binder::tables(std::string_view key, const std::function<void(Binder&)>& bind) {
  auto* node = static_cast<toml::node*>(find(key));
  if (node == nullptr) return;
  toml::array* list = node->as_array();
  if (list == nullptr) return wrong_type(key, cat("a list of tables: write [[", key, "]]"));
  int index = 0;
  const std::string path = section_.empty() ? std::string(key) : cat(section_, ".", key);
  for (toml::node& item : *list) {
    toml::table* entry = item.as_table();
    if (entry == nullptr) {
      error(key, cat(shown(item), " in the list is not a table"));
      continue;
    }
    Binder child(*file_, entry, path, index++, path);
    bind(child);
    child.close();
  }
}

void Binder::close() {
  if (table_ == nullptr) return;
  for (const auto& [key, node] : *static_cast<toml::table*>(table_)) {
    const std::string name(key.str());
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    const std::string path = section_.empty() ? name : cat(section_, ".", name);
    const bool placed = key.source().begin.line > 0;
    file_->data_->add(placed ? key.source() : node.source(), path,
                      cat("unknown key", suggestion(name, known_),
                          known_.empty() ? "" : cat("; known: ", join(known_))));
  }
}

}  // namespace vernier
