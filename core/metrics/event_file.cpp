#include "core/metrics/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <boost/crc.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace vernier {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie");

template <class T>
void append_bytes(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

uint32_t masked_crc(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return std::rotr(static_cast<uint32_t>(crc.checksum()), 15) + 0xa282ead8U;
}

// Fields of a protobuf message.
void varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void key(std::string& out, int field, int wire) {
  varint(out, static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire));
}
void put(std::string& out, int field, int64_t value) {
  key(out, field, 0);
  varint(out, static_cast<uint64_t>(value));
}
void put(std::string& out, int field, double value) {
  key(out, field, 1);
  append_bytes(out, value);
}
void put(std::string& out, int field, float value) {
  key(out, field, 5);
  append_bytes(out, value);
}
void put(std::string& out, int field, std::string_view bytes) {
  key(out, field, 2);
  varint(out, bytes.size());
  out += bytes;
}
void put(std::string& out, int field, const std::vector<double>& values) {
  put(out, field,
      std::string_view(reinterpret_cast<const char*>(values.data()),
                       values.size() * sizeof(double)));
}

// Numbers of fields, by message.
namespace field {
namespace event {
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace summary {
constexpr int kValue = 1, kTag = 1, kSimpleValue = 2, kHistogram = 5, kTensor = 8, kMetadata = 9;
}
namespace histogram {
constexpr int kMin = 1, kMax = 2, kNum = 3, kSum = 4, kSquares = 5, kLimits = 6, kCounts = 7;
}
}  // namespace field

std::string event_of(int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::string out;
  put(out, field::event::kWallTime, std::chrono::duration<double>(now).count());
  put(out, field::event::kStep, step);
  return out;
}

std::string summary_event(int64_t step, const std::string& summary) {
  std::string out = event_of(step);
  put(out, field::event::kSummary, summary);
  return out;
}

std::string histogram_of(std::span<const double> values) {
  const auto [least, most] = std::ranges::minmax(values);
  const double width = most > least ? (most - least) / EventFile::kBuckets : 1;
  std::vector<double> limits, counts(EventFile::kBuckets, 0);
  for (int i = 1; i <= EventFile::kBuckets; ++i) limits.push_back(least + i * width);
  limits.back() = std::max(limits.back(), most);
  double sum = 0, squares = 0;
  for (const double value : values) {
    const auto bucket = static_cast<size_t>((value - least) / width);
    counts[std::min(bucket, counts.size() - 1)] += 1;
    sum += value;
    squares += value * value;
  }
  std::string out;
  put(out, field::histogram::kMin, least);
  put(out, field::histogram::kMax, most);
  put(out, field::histogram::kNum, static_cast<double>(values.size()));
  put(out, field::histogram::kSum, sum);
  put(out, field::histogram::kSquares, squares);
  put(out, field::histogram::kLimits, limits);
  put(out, field::histogram::kCounts, counts);
  return out;
}

// TensorProto of one string, and the metadata that name TensorBoard's plugin for it.
std::string text_tensor(const std::string& text) {
  constexpr int kDtype = 1, kShape = 2, kString = 8, kDim = 2, kSize = 1;
  constexpr int64_t kStringType = 7;
  std::string size, shape, out;
  put(size, kSize, int64_t{1});
  put(shape, kDim, size);
  put(out, kDtype, kStringType);
  put(out, kShape, shape);
  put(out, kString, text);
  return out;
}
std::string text_metadata() {
  constexpr int kPluginData = 1, kPluginName = 1;
  std::string plugin, out;
  put(plugin, kPluginName, std::string_view("text"));
  put(out, kPluginData, plugin);
  return out;
}

std::string host_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return "host";
  return name;
}

}  // namespace

EventFile::EventFile(const fs::path& folder, std::optional<int64_t> goes_on_at) {
  static std::atomic<int> count{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) fail_run(folder.string(), ": cannot be created: ", problem.message());
  // TensorBoard reads the files of a folder in the order of their names.
  path_ = (folder / cat("events.out.tfevents.",
                        std::chrono::duration_cast<std::chrono::seconds>(now).count(), ".",
                        host_name(), ".", ::getpid(), ".", count++))
              .string();
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_run(path_, ": cannot be created: ", std::strerror(errno));
  std::string version = event_of(0);
  put(version, field::event::kFileVersion, std::string_view("brain.Event:2"));
  record(version);
  if (!goes_on_at) return;
  constexpr int kStatus = 1;
  constexpr int64_t kStart = 1;
  std::string session, start = event_of(*goes_on_at);
  put(session, kStatus, kStart);
  put(start, field::event::kSessionLog, session);
  record(start);
}

EventFile::~EventFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void EventFile::record(const std::string& event) {
  std::string out;
  append_bytes(out, static_cast<uint64_t>(event.size()));
  append_bytes(out, masked_crc(out));
  out += event;
  append_bytes(out, masked_crc(event));
  for (std::string_view rest = out; !rest.empty();) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_run(path_, ": cannot be written: ", std::strerror(errno));
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

void EventFile::scalars(int64_t step, std::span<const std::pair<std::string, double>> values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    std::string one;
    put(one, field::summary::kTag, tag);
    put(one, field::summary::kSimpleValue, static_cast<float>(value));
    put(summary, field::summary::kValue, one);
  }
  if (!summary.empty()) record(summary_event(step, summary));
}

void EventFile::histogram(int64_t step, const std::string& tag, std::span<const double> values) {
  if (values.empty()) return;
  std::string one, summary;
  put(one, field::summary::kTag, tag);
  put(one, field::summary::kHistogram, histogram_of(values));
  put(summary, field::summary::kValue, one);
  record(summary_event(step, summary));
}

void EventFile::text(int64_t step, const std::string& tag, const std::string& text) {
  std::string one, summary;
  put(one, field::summary::kTag, tag);
  put(one, field::summary::kTensor, text_tensor(text));
  put(one, field::summary::kMetadata, text_metadata());
  put(summary, field::summary::kValue, one);
  record(summary_event(step, summary));
}

void EventFile::sync() {
  if (::fsync(descriptor_) != 0) fail_run(path_, ": cannot be flushed: ", std::strerror(errno));
}

}  // namespace vernier
