// The files of a run besides its checkpoints.
#pragma once

#include <memory>
#include <string>

#include "core/base/files.h"
#include "core/metrics/metrics.h"
#include "trainer/checkpoint.h"

namespace vernier {

/// A run folder that this process owns: lock, metrics rows, effective configuration.
class RunFolder {
 public:
  /// Creates the folder and takes its lock. Throws UsageError where another process holds it.
  explicit RunFolder(fs::path path);

  const fs::path& path() const { return path_; }

  /// The last step up to `progress` whose evaluation has its row. A row is whole and final once it
  /// is there, also where the checkpoint was written before it.
  int64_t last_evaluation(const Progress& progress) const;

  /// Moves the rows that lie after `progress` to metrics.dropped.jsonl, so that what remains is
  /// what an undisturbed run would have written by then, and opens metrics.jsonl for more.
  void open_metrics(const Progress& progress);

  /// The checkpoint of another run that this one started from; "" where it did not.
  std::string origin() const;
  void set_origin(const std::string& checkpoint) const;

  void write_metrics(const Metrics& metrics);
  void sync_metrics();

  /// Warns of the keys that have another value than in the folder's config.toml. Where the run goes
  /// on (`resumes`), another model is a UsageError: it would be read and not used.
  void compare_config(const std::string& effective, bool resumes) const;
  void write_config(const std::string& effective);

 private:
  fs::path path_;
  FolderLock lock_;
  std::unique_ptr<LineAppender> metrics_;
};

}  // namespace vernier
