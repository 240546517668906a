// Where a command writes its rows.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "core/base/errors.h"
#include "core/base/files.h"

namespace vernier {

/// A file that has its name once it is whole, a device or pipe, or standard output for "-". Opened
/// at the start of a command, so that a path that cannot be written is a UsageError before the work
/// and not after it.
class Output {
 public:
  explicit Output(const std::string& path) {
    if (path == "-") return;
    try {
      // A device or a pipe takes the rows as they come; a link keeps pointing where it does.
      if (fs::exists(path) && !fs::is_regular_file(path)) {
        stream_ = std::fopen(path.c_str(), "w");
        if (stream_ == nullptr) fail("--out: ", path, ": cannot be opened: ", std::strerror(errno));
      } else {
        file_.emplace(fs::is_symlink(path) ? fs::weakly_canonical(path) : fs::path(path));
      }
    } catch (const RunError& problem) {
      fail("--out: ", problem.what());
    }
  }
  void write(const std::string& line) {
    if (file_)
      file_->write(line);
    else
      std::fwrite(line.data(), 1, line.size(), stream_);
  }
  void commit() {
    if (file_) file_->commit();
    if (std::fflush(stream_) != 0 || std::ferror(stream_) != 0)
      fail_run("--out: what was written did not arrive");
  }
  ~Output() {
    if (stream_ != stdout) std::fclose(stream_);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

 private:
  std::FILE* stream_ = stdout;
  std::optional<DurableFile> file_;
};

}  // namespace vernier
