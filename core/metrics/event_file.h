// Event files that TensorBoard opens.
//
// A file is a row of records (TFRecord): length (8 bytes), CRC of the length (4), bytes, CRC of the
// bytes (4), all little-endian; the CRC is CRC-32C, turned right by 15 and with 0xa282ead8 added.
// The bytes are an Event message of tensorflow/core/util/event.proto, written here field by field.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/files.h"

namespace vernier {

class EventFile {
 public:
  /// Begins a file of its own in `folder`, which is created: events.out.tfevents.TIME.HOST.PID.N.
  /// `goes_on_at`: readers are told that a process starts there, and forget the steps from it on
  /// that earlier files of the folder hold. Throws RunError where it cannot be written.
  EventFile(const fs::path& folder, std::optional<int64_t> goes_on_at);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  /// Numbers of one step, as float32, which is what TensorBoard keeps.
  void scalars(int64_t step, std::span<const std::pair<std::string, double>> values);
  /// Values in `kBuckets` buckets of one width. Nothing is written of none.
  void histogram(int64_t step, const std::string& tag, std::span<const double> values);
  /// Markdown.
  void text(int64_t step, const std::string& tag, const std::string& text);
  /// To the disk.
  void sync();

  static constexpr int kBuckets = 30;

 private:
  void record(const std::string& event);

  std::string path_;
  int descriptor_ = -1;
};

}  // namespace vernier
