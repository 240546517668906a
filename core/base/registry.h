// A named collection that each member joins from its own file, by a static Entry.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/errors.h"

namespace vernier {

/// Makes a T by name. `T::kKind` names the kind in messages ("reward"). Construction order across
/// files does not matter: the map is a function-local static.
template <class T, class... Args>
class Registry {
 public:
  using Make = std::function<std::unique_ptr<T>(Args...)>;

  struct Row {
    std::string summary;  // one line, for `vernier reference`
    Make make;
  };

  /// Registers a name when it is constructed. A second entry of the same name is a BugError.
  struct Entry {
    Entry(std::string name, std::string summary, Make make) {
      const bool fresh = rows().emplace(name, Row{std::move(summary), std::move(make)}).second;
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
