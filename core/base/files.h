// Files that survive a crash: durable writes, maps, hashes, locks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace vernier {

namespace fs = std::filesystem;

/// Bytes of a file, mapped read-only for as long as the object lives.
class MappedFile {
 public:
  /// Throws UsageError where the file cannot be opened or mapped.
  explicit MappedFile(const fs::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole of a small file. Throws UsageError where it cannot be read.
std::string read_file(const fs::path& path);

/// Writes a file, flushes it to the disk, and only then gives it its name: the old content or the
/// new, never a mixture. Throws RunError with the system's reason.
void write_file(const fs::path& path, std::string_view content);

/// The same for pieces that are produced one after the other.
class DurableFile {
 public:
  explicit DurableFile(fs::path path);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Flushes to the disk and renames. Without it the destructor removes what was written.
  void commit();

 private:
  fs::path path_, temporary_;
  int descriptor_ = -1;
};

/// Appends whole lines to a file that stays open; every line reaches the system in one write.
class LineAppender {
 public:
  /// Opens or creates. A torn last line, left by a crash, is cut off first.
  explicit LineAppender(const fs::path& path);
  ~LineAppender();
  LineAppender(const LineAppender&) = delete;
  LineAppender& operator=(const LineAppender&) = delete;

  void line(std::string_view text);
  void sync();

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// The files step_N + one of `suffixes` of a folder, by N; nothing where there is no folder.
std::map<int64_t, fs::path> step_files(const fs::path& folder,
                                       std::span<const std::string_view> suffixes);

/// Flushes a folder's entries to the disk.
void sync_folder(const fs::path& folder);

/// XXH3-128 of a file's bytes as 32 hexadecimal digits.
std::string hash_file(const fs::path& path);
std::string hash_bytes(const void* data, size_t size);

/// An exclusive lock on a folder, held until the object dies (and by the system's grace also when
/// the process does). Throws UsageError where another process holds it.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace vernier
