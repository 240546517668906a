// Files of data as rows of JSON: JSON Lines as they stand, other formats through a copy.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/base/json.h"

namespace vernier {

/// Takes the rows of a file that is converted, in order. `row` makes one; where it throws
/// UsageError, that row alone is bad.
using RowSink = std::function<void(const std::function<Json()>& row)>;

/// A file of rows, each a JSON value. Holds no row in memory; whoever reads at random keeps 16
/// bytes of each.
///
///   .parquet     one row a row (parquet_rows.h)
///   .json        a list of rows, a task of Natural Instructions (json_rows.h), or JSON Lines
///   all others   JSON Lines
///
/// What is not JSON Lines is written down as such when it is opened, in a file without a name under
/// TMPDIR (/tmp), which is gone with this object or its process.
class RowFile {
 public:
  /// Where the text of a row begins, and its number as messages count it.
  struct Row {
    int64_t offset = 0, number = 0;
  };

  /// `examples`: of a task of Natural Instructions, how many are shown before each question. Throws
  /// UsageError where the file is not there, damaged, or of no known form.
  explicit RowFile(const std::string& path, int64_t examples = 0);
  ~RowFile();
  RowFile(const RowFile&) = delete;
  RowFile& operator=(const RowFile&) = delete;

  /// All rows in order. Blank lines are none.
  void each(const std::function<void(const Row& row, std::string_view text)>& use) const;

  /// The value of a row and its text. Throws UsageError, with its place, where it is bad.
  Json parse(const Row& row, std::string_view text) const;

  /// The same at random. Throws RunError where the file has become shorter since.
  Json read(const Row& row) const;

  /// "rows.jsonl:12", "rows.parquet, row 12", "task.json, instance 12".
  std::string where(const Row& row) const;

 private:
  std::string path_;
  std::string unit_ = ":";  // between path and number
  int descriptor_ = -1;     // of the file, or of its copy
};

}  // namespace vernier
