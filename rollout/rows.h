// Rollout rows: one JSON object a response, as files hold them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/files.h"
#include "core/base/json.h"
#include "core/types.h"

namespace vernier {

/// Takes over the columns of a prompt's row that stay with its responses: round, baseline,
/// target_length.
void keep_columns(const Json& row, Prompt& prompt);

/// The row of one response, without the other columns of its prompt's row. Token ids and
/// log-probabilities are large: only with `token_fields`.
Json rollout_row(const Group& group, const Response& response, bool token_fields,
                 const std::string& logprobs_kind);

/// The rows of a group's responses, in order, with those columns: rewards may read them when the
/// rollouts are scored again.
std::vector<Json> rollout_rows(const Group& group, bool token_fields,
                               const std::string& logprobs_kind);

/// Reads rollout rows and hands over each group when the next one begins. Rows of a group are
/// consecutive; a group is named by `group` and `step`. Throws UsageError with file and line; where
/// `token_fields` are asked for, of a row without prompt_ids, response_ids or logprobs too.
void read_rollouts(const std::string& path, const std::function<void(Group&&)>& group,
                   bool token_fields = false);

/// `path` itself, or where it is a folder its step_N.jsonl.zst in order of N. Throws UsageError
/// where the folder has none.
std::vector<std::string> rollout_files(const std::string& path);

/// What a report reads of many responses: of each a line with length and verdict as sampled, before
/// any transform, the reward, the group, where the row begins in its file, and how it ended.
inline constexpr std::string_view kIndexHeader =
    "length\tcorrect\treward\tgroup\toffset\tfinish_reason";
std::string index_line(const Group& group, const Response& response, uint64_t offset);

/// rollouts/step_N.jsonl.zst and step_N.idx of one step, compressed row by row and there, whole and
/// durable, after commit().
class RolloutWriter {
 public:
  RolloutWriter(const fs::path& folder, int64_t step);
  ~RolloutWriter();
  RolloutWriter(const RolloutWriter&) = delete;
  RolloutWriter& operator=(const RolloutWriter&) = delete;

  /// The group's rows, one a response, without their line ends. One that was only measured (with a
  /// role) is not in the index, and comes before all others.
  void add(const Group& group, const std::vector<std::string>& rows);
  void commit();

 private:
  struct Stream;

  fs::path folder_;
  int64_t step_;
  std::unique_ptr<Stream> stream_;
  std::string index_;
};

/// The rows of a group as a writer takes them.
std::vector<std::string> row_texts(const Group& group, bool token_fields,
                                   const std::string& logprobs_kind);

/// All of it at once; the `measured` groups first.
void write_rollout_files(const fs::path& folder, int64_t step, const std::vector<Group>& groups,
                         bool token_fields, const std::string& logprobs_kind,
                         std::span<const Group> measured = {});

}  // namespace vernier
