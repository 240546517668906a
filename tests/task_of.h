// A task family as a configuration makes it.
#pragma once

#include <memory>
#include <string>

#include "core/base/config.h"
#include "rollout/tasks/task.h"

namespace vernier::testing {

/// `keys`: of its table. Throws UsageError as the program does.
inline std::unique_ptr<Task> task_of(const std::string& name, const std::string& keys = "") {
  ConfigFile file = ConfigFile::parse(keys, "test");
  std::unique_ptr<Task> task;
  file.bind([&](Binder& root) { task = TaskRegistry::all().at(name).make(root); });
  return task;
}

}  // namespace vernier::testing
