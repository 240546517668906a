#include "core/base/json.h"

#include <zstd.h>

#include <array>
#include <cstring>
#include <set>
#include <vector>

#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr size_t kMaxLine = 16 << 20;
constexpr int kMaxDepth = 64;

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string duplicate;
  bool too_deep = false;
  const auto watch = [&](int depth, nlohmann::detail::parse_event_t event, Json& parsed) {
    using Event = nlohmann::detail::parse_event_t;
    too_deep = too_deep || depth > kMaxDepth;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end && !keys.empty()) keys.pop_back();
    if (event == Event::key && !keys.empty() && duplicate.empty() &&
        !keys.back().insert(parsed.get<std::string>()).second)
      duplicate = parsed.get<std::string>();
    return true;
  };
  // The library takes a NUL byte for the end of the text.
  if (text.find('\0') != std::string_view::npos) fail(where, ": not JSON: a NUL byte in it");
  Json value;
  try {
    value = Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception& problem) {
    std::string_view reason = problem.what();
    if (const size_t end = reason.find("] "); end != std::string_view::npos)
      reason.remove_prefix(end + 2);
    fail(where, ": not JSON: ", reason);
  }
  if (too_deep) fail(where, ": JSON nested deeper than ", kMaxDepth, " levels");
  if (!duplicate.empty()) fail(where, ": key '", duplicate, "' stands twice in one object");
  return value;
}

std::string dump_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct LineReader::Source {
  std::FILE* file = nullptr;
  bool owned = false;
  ZSTD_DStream* stream = nullptr;
  std::vector<char> packed;
  ZSTD_inBuffer input{nullptr, 0, 0};
  bool frame_open = false;
  std::string plain;  // read and not yet handed out
  size_t begin = 0;
  bool ended = false;

  ~Source() {
    if (owned && file != nullptr) std::fclose(file);
    if (stream != nullptr) ZSTD_freeDStream(stream);
  }

  // Reads more into `plain`; false where there is no more.
  bool fill(const std::string& path) {
    if (begin > 0) {
      plain.erase(0, begin);
      begin = 0;
    }
    std::array<char, 1 << 16> buffer;
    if (stream == nullptr) {
      const size_t count = std::fread(buffer.data(), 1, buffer.size(), file);
      plain.append(buffer.data(), count);
      if (count == 0 && std::ferror(file) != 0)
        fail(path, ": cannot be read: ", std::strerror(errno));
      return count > 0;
    }
    while (true) {
      if (input.pos == input.size) {
        input = {packed.data(), std::fread(packed.data(), 1, packed.size(), file), 0};
        if (input.size == 0) {
          if (frame_open) fail(path, ": ends in the middle of a zstd frame");
          return false;
        }
      }
      ZSTD_outBuffer output{buffer.data(), buffer.size(), 0};
      const size_t left = ZSTD_decompressStream(stream, &output, &input);
      if (ZSTD_isError(left) != 0) fail(path, ": damaged zstd data: ", ZSTD_getErrorName(left));
      frame_open = left != 0;
      plain.append(buffer.data(), output.pos);
      if (output.pos > 0) return true;
    }
  }
};

LineReader::LineReader(std::string path) : path_(std::move(path)), source_(new Source) {
  if (path_ == "-") {
    source_->file = stdin;
    path_ = "standard input";
    return;
  }
  source_->file = std::fopen(path_.c_str(), "rb");
  source_->owned = true;
  if (source_->file == nullptr) fail(path_, ": cannot be opened: ", std::strerror(errno));
  if (path_.ends_with(".zst")) {
    source_->stream = ZSTD_createDStream();
    source_->packed.resize(ZSTD_DStreamInSize());
  }
}

LineReader::~LineReader() = default;

bool LineReader::raw_line(std::string& line) {
  Source& in = *source_;
  size_t scanned = in.begin;
  while (true) {
    const size_t end = in.plain.find('\n', scanned);
    const size_t held = std::min(end, in.plain.size()) - in.begin;
    if (held > kMaxLine)
      fail(path_, ":", line_number_ + 1, ": a line of over ", kMaxLine >> 20, " MiB");
    if (end != std::string::npos) {
      line.assign(in.plain, in.begin, end - in.begin);
      in.begin = end + 1;
      ++line_number_;
      return true;
    }
    if (in.ended || !in.fill(path_)) {
      in.ended = true;
      if (in.plain.size() == in.begin) return false;
      line.assign(in.plain, in.begin);
      in.begin = in.plain.size();
      ++line_number_;
      return true;
    }
    scanned = in.begin + held;
  }
}

bool LineReader::next(std::string& line) {
  while (raw_line(line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") != std::string::npos) return true;
  }
  return false;
}

std::string LineReader::where() const { return cat(path_, ":", line_number_); }

}  // namespace vernier
