#include "core/base/json.h"

#include <zstd.h>

#include <array>
#include <cstring>
#include <unordered_set>
#include <vector>

#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr size_t kMaxLine = 16 << 20;
constexpr size_t kMaxDepth = 64;

// Finds what is wrong with a text before a value is made of it. The parser's own callback could
// look for twin keys too, but walks all of an array's elements at the end of each of them.
struct Checker final : Json::json_sax_t {
  std::string problem;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    problem = cat("key '", name, "' stands twice in one object");
    return false;
  }
  bool parse_error(size_t, const std::string&, const Json::exception& error) override {
    std::string_view reason = error.what();
    if (const size_t end = reason.find("] "); end != std::string_view::npos)
      reason.remove_prefix(end + 2);
    problem = cat("not JSON: ", to_valid_utf8(reason));
    return false;
  }

 private:
  bool open() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return true;
    problem = cat("JSON nested deeper than ", kMaxDepth, " levels");
    return false;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::unordered_set<std::string>> keys_;  // of what is open
};

}  // namespace

void check_json(std::string_view text, std::string_view where) {
  // The library takes a NUL byte for the end of the text.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos)
    fail(where, ": not JSON: byte ", zero, " is 0");
  Checker checker;
  if (!Json::sax_parse(text, &checker)) fail(where, ": ", checker.problem);
}

Json parse_json(std::string_view text, std::string_view where) {
  check_json(text, where);
  return Json::parse(text);
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
