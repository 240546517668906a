// Responses that are drawn for a file, kept beside it until all of them are there.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "core/base/files.h"
#include "core/base/json.h"
#include "core/types.h"

namespace vernier {

/// Rows of finished groups in the folder OUT.part, in the order in which they ended, with what they
/// were drawn with. A command that was left goes on with them; when the last prompt is done they
/// become OUT, in the order of the prompts. Only places in the file are kept in memory.
class EvalStore {
 public:
  /// Opens the part, or begins it; a group that is not whole is cut off. Throws UsageError where it
  /// was begun with other options, naming the first that differs, where another process works on
  /// it, and where it cannot be written.
  EvalStore(const std::string& out, const Json& options, int64_t num_generations);

  bool has(int64_t group) const { return places_.contains(group); }
  /// Hands over each group that is there, in the order in which they ended.
  void each(const std::function<void(Group&&)>& use) const;

  /// `kind`: logprobs_kind of the rows.
  void add(const Group& group, const std::string& kind);

  /// Gives OUT its rows and removes the part.
  void finish();

 private:
  struct Place {
    int64_t offset = 0, size = 0;  // bytes of a group's rows
  };
  void find_groups(int64_t num_generations);

  fs::path out_, part_, rows_;
  std::map<int64_t, Place> places_;  // by group
  int64_t size_ = 0;                 // of the rows so far
  std::optional<FolderLock> lock_;
  std::optional<LineAppender> appender_;
};

}  // namespace vernier
