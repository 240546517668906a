// A named collection that each member joins from its own file, by a static Entry.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/errors.h"

namespace vernier {

/// What `vernier reference` says of a member: a line, and of those that compute a number the
/// formula, what it measures ("tokens", "correct answers") and the paper or code it is from.
struct Doc {
  Doc(const char* line) : summary(line) {}
  Doc(std::string line) : summary(std::move(line)) {}
  Doc(const char* line, const char* how, const char* what, const char* whence)
      : summary(line), formula(how), units(what), source(whence) {}

  std::string summary, formula, units, source;
};

/// Makes a T by name. `T::kKind` names the kind in messages ("reward"). Construction order across
/// files does not matter: the map is a function-local static.
template <class T, class... Args>
class Registry {
 public:
  using Make = std::function<std::unique_ptr<T>(Args...)>;

  struct Row {
    Doc doc;
    Make make;
  };

  /// Registers a name when it is constructed. A second entry of the same name is a BugError.
  struct Entry {
    Entry(std::string name, Doc doc, Make make) {
      const bool fresh = rows().emplace(name, Row{std::move(doc), std::move(make)}).second;
      ensure(fresh, cat("one ", T::kKind, " named ", name));
    }
  };

  static const std::map<std::string, Row>& all() { return rows(); }

  static std::vector<std::string> names() {
    std::vector<std::string> out;
    for (const auto& [name, row] : rows()) out.push_back(name);
    return out;
  }

 private:
  static std::map<std::string, Row>& rows() {
    static std::map<std::string, Row> instance;
    return instance;
  }
};

}  // namespace vernier
