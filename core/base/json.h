// JSON values and JSON Lines files. The one place that names the library.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace vernier {

/// Keeps the order of keys, so that what is written reads as it was meant.
using Json = nlohmann::ordered_json;

/// Parses one JSON text. `where` ("file:line") opens the message of the UsageError.
/// Refuses duplicate keys, nesting deeper than 64 and bytes that are not UTF-8.
Json parse_json(std::string_view text, std::string_view where);

/// Throws what parse_json() would, without making a value: for those who keep another kind of JSON.
void check_json(std::string_view text, std::string_view where);

/// One line, no spaces. Bytes that are not UTF-8 become U+FFFD; NaN and infinity become null.
std::string dump_json(const Json& value);

/// Reads a file line by line: `.jsonl`, `.jsonl.zst`, or "-" for standard input.
class LineReader {
 public:
  /// Throws UsageError where the file cannot be opened.
  explicit LineReader(std::string path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// The next line without its newline; false at the end. Blank lines are skipped.
  /// Throws UsageError on a line over 16 MB or on a damaged archive.
  bool next(std::string& line);

  /// "file:line" of the line last returned.
  std::string where() const;
  int64_t line_number() const { return line_number_; }

 private:
  struct Source;
  bool raw_line(std::string& line);

  std::string path_;
  std::unique_ptr<Source> source_;
  int64_t line_number_ = 0;
};

}  // namespace vernier
