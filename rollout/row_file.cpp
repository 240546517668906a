#include "rollout/row_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "rollout/json_rows.h"
#include "rollout/parquet_rows.h"

namespace vernier {
namespace {

// What stands first in the copy's line of a row that could not be converted; no JSON begins with
// it.
constexpr char kBad = '!';

// Hands out the lines of a file from an offset on.
class Lines {
 public:
  Lines(int descriptor, int64_t offset, size_t chunk, const std::string& path)
      : descriptor_(descriptor), read_to_(offset), chunk_(chunk), path_(path) {}

  // The next line without its end; false behind the last.
  bool next(std::string_view& line) {
    for (size_t scanned = begin_;;) {
      const size_t end = held_.find('\n', scanned);
      if (end != std::string::npos) {
        line = std::string_view(held_).substr(begin_, end - begin_);
        begin_ = end + 1;
        return true;
      }
      scanned = held_.size() - begin_;  // as fill() leaves it
      if (fill()) continue;
      if (held_.empty()) return false;
      line = held_;  // a last line without its end
      begin_ = held_.size();
      return true;
    }
  }

 private:
  bool fill() {
    held_.erase(0, std::exchange(begin_, 0));
    const size_t size = held_.size();
    held_.resize(size + std::max(chunk_, size));
    ssize_t count = -1;
    do count = ::pread(descriptor_, held_.data() + size, held_.size() - size, read_to_);
    while (count < 0 && errno == EINTR);
    if (count < 0) fail_run(path_, ": cannot be read: ", std::strerror(errno));
    held_.resize(size + static_cast<size_t>(count));
    read_to_ += count;
    return count > 0;
  }

  int descriptor_;
  int64_t read_to_;
  size_t chunk_;
  const std::string& path_;
  std::string held_;  // read and, from begin_ on, not handed out
  size_t begin_ = 0;
};

// A file of lines that has no name any more.
class Copy {
 public:
  explicit Copy(const std::string& of) : of_(of) {
    std::error_code problem;
    const fs::path folder = fs::temp_directory_path(problem);
    if (problem)
      fail("TMPDIR: ", problem.message(), "; the rows of ", of, " are written down in that folder");
    name_ = (folder / "vernier-rows-XXXXXX").string();
    descriptor_ = ::mkostemp(name_.data(), O_CLOEXEC);
    if (descriptor_ < 0) stop("created");
    ::unlink(name_.c_str());
  }
  ~Copy() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  void line(std::string_view text) {
    buffer_ += text;
    buffer_ += '\n';
    if (buffer_.size() >= kBuffer) flush();
  }

  // All lines are in it; it is the caller's to close.
  int take() {
    flush();
    return std::exchange(descriptor_, -1);
  }

 private:
  static constexpr size_t kBuffer = 1 << 20;

  void flush() {
    for (size_t done = 0; done < buffer_.size();) {
      const ssize_t count = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) stop("written");
      done += static_cast<size_t>(count);
    }
    buffer_.clear();
  }
  [[noreturn]] void stop(std::string_view what) {
    fail_run(name_, ": cannot be ", what, ": ", std::strerror(errno),
             "; it is to hold the rows of ", of_, ", and TMPDIR chooses its folder");
  }

  const std::string& of_;
  std::string name_, buffer_;
  int descriptor_ = -1;
};

// A copy of what `rows` hands over; its descriptor.
int copied(const std::string& path, const std::function<void(const RowSink& sink)>& rows) {
  Copy copy(path);
  rows([&](const std::function<Json()>& row) {
    std::string text;
    try {
      text = dump_json(row());
    } catch (const UsageError& problem) {
      text = cat(kBad, problem.what());
      std::ranges::replace(text, '\n', ' ');
    }
    copy.line(text);
  });
  return copy.take();
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

RowFile::RowFile(const std::string& path, int64_t examples) : path_(path) {
  if (path.ends_with(".zst")) fail(path, ": rows are read at random; unpack the archive first");
  if (fs::exists(path) && !fs::is_regular_file(path))
    fail(path, ": is not a file; rows are read at random, so a pipe has to be written down first");
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(path, ": cannot be opened: ", std::strerror(errno));
  if (path.ends_with(".parquet")) {
    unit_ = ", row ";
    descriptor_ = copied(path, [&](const RowSink& sink) { parquet_rows(path, sink); });
    return;
  }
  if (path.ends_with(".json")) {
    std::string first;
    while (is_blank(first) && std::getline(file, first)) {
    }
    if (!is_json_line(first)) {
      descriptor_ =
          copied(path, [&](const RowSink& sink) { unit_ = json_rows(path, examples, sink); });
      return;
    }
  }
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail(path, ": cannot be opened: ", std::strerror(errno));
}

RowFile::~RowFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void RowFile::each(const std::function<void(const Row& row, std::string_view text)>& use) const {
  constexpr size_t kChunk = 1 << 18;
  Lines lines(descriptor_, 0, kChunk, path_);
  Row row;
  for (std::string_view text; lines.next(text);) {
    ++row.number;
    if (!is_blank(text)) use(row, text);
    row.offset += std::ssize(text) + 1;
  }
}

Json RowFile::parse(const Row& row, std::string_view text) const {
  if (unit_ != ":" && text.starts_with(kBad)) fail(where(row), ": ", text.substr(1));
  return parse_json(text, where(row));
}

Json RowFile::read(const Row& row) const {
  constexpr size_t kChunk = 1 << 14;
  Lines lines(descriptor_, row.offset, kChunk, path_);
  std::string_view text;
  if (!lines.next(text)) fail_run(path_, ": changed while it was in use");
  return parse(row, text);
}

std::string RowFile::where(const Row& row) const { return cat(path_, unit_, row.number); }

}  // namespace vernier
