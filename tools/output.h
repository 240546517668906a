// Where a command writes its rows.
#pragma once

#include <cstdio>
#include <optional>
#include <string>

#include "core/base/errors.h"
#include "core/base/files.h"

namespace vernier {

/// A file that has its name once it is whole, or standard output for "-". Opened at the start of a
/// command, so that a path that cannot be written is a UsageError before the work and not after it.
class Output {
 public:
  explicit Output(const std::string& path) {
    if (path == "-") return;
    try {
      file_.emplace(path);
    } catch (const RunError& problem) {
      fail("--out: ", problem.what());
    }
  }
  void write(const std::string& line) {
    if (file_)
      file_->write(line);
    else
      std::fwrite(line.data(), 1, line.size(), stdout);
  }
  void commit() {
    if (file_) file_->commit();
  }

 private:
  std::optional<DurableFile> file_;
};

}  // namespace vernier
