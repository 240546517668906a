// The files of a run besides its checkpoints.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/base/files.h"
#include "core/metrics/metrics.h"
#include "trainer/board.h"
#include "trainer/checkpoint.h"

namespace vernier {

/// The folder of a run: lock, metrics rows, effective configuration. Of several ranks the first one
/// owns it; the others read, and what they are asked to write is written by that one.
class RunFolder {
 public:
  /// Creates the folder and takes its lock. Throws UsageError where another process holds it.
  explicit RunFolder(fs::path path, bool owner = true);

  const fs::path& path() const { return path_; }

  /// The last step up to `progress` whose evaluation has its row. A row is whole and final once it
  /// is there, also where the checkpoint was written before it.
  int64_t last_evaluation(const Progress& progress) const;

  /// Moves the rows that lie after `progress` to metrics.dropped.jsonl, so that what remains is
  /// what an undisturbed run would have written by then, and opens metrics.jsonl for more.
  void open_metrics(const Progress& progress);
  /// Shows them in TensorBoard too (board.h).
  void open_board(const Progress& progress, const std::string& names);
  /// Null where it is not open.
  Board* board() { return board_ ? &*board_ : nullptr; }

  /// The checkpoint of another run that this one started from; "" where it did not.
  std::string origin() const;
  void set_origin(const std::string& checkpoint) const;

  void write_metrics(const Metrics& metrics);
  void sync_metrics();

  /// REQUEUE says that the run was saved on a signal and is to be started again: for launchers that
  /// lose the exit code.
  void mark_requeue(bool on) const;

  /// Warns of the keys that have another value than in the folder's config.toml. Where the run goes
  /// on (`resumes`), another model is a UsageError: it would be read and not used.
  void compare_config(const std::string& effective, bool resumes) const;
  void write_config(const std::string& effective);

 private:
  fs::path path_;
  std::optional<FolderLock> lock_;  // of the owner
  std::unique_ptr<LineAppender> metrics_;
  std::optional<Board> board_;
};

}  // namespace vernier
