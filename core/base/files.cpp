#include "core/base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "core/base/errors.h"

namespace vernier {
namespace {

std::string reason() { return std::strerror(errno); }

void write_all(int descriptor, const void* data, size_t size, const std::string& path) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t count = ::write(descriptor, next, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_run(path, ": cannot be written: ", reason());
    next += count;
    size -= static_cast<size_t>(count);
  }
}

std::string hex(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  std::string out;
  for (const unsigned char byte : canonical.digest) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path.string()) {
  // O_NONBLOCK: to open a pipe would wait for a writer; it is refused below.
  const int descriptor = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail(path_, ": cannot be opened: ", reason());
  struct stat info {};
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(descriptor);
    fail(path_, ": is not a file");
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const std::string why = reason();
    ::close(descriptor);
    if (mapped == MAP_FAILED) fail(path_, ": cannot be mapped: ", why);
    data_ = static_cast<const std::byte*>(mapped);
  } else {
    ::close(descriptor);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string read_file(const fs::path& path) {
  const MappedFile file(path);
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

void write_file(const fs::path& path, std::string_view content) {
  DurableFile file(path);
  file.write(content);
  file.commit();
}

DurableFile::DurableFile(fs::path path) : path_(std::move(path)), temporary_(path_) {
  temporary_ += ".vernier-tmp";
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_run(temporary_.string(), ": cannot be created: ", reason());
}

DurableFile::~DurableFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void DurableFile::write(const void* data, size_t size) {
  write_all(descriptor_, data, size, temporary_.string());
}

void DurableFile::commit() {
  if (::fsync(descriptor_) != 0) fail_run(temporary_.string(), ": cannot be flushed: ", reason());
  const int closing = std::exchange(descriptor_, -1);
  if (::close(closing) != 0) fail_run(temporary_.string(), ": cannot be closed: ", reason());
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    fail_run(path_.string(), ": cannot be renamed into place: ", reason());
  sync_folder(path_.parent_path());
}

LineAppender::LineAppender(const fs::path& path) : path_(path.string()) {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_run(path_, ": cannot be opened: ", reason());
  const off_t whole = ::lseek(descriptor_, 0, SEEK_END);
  off_t size = whole;
  char last = '\n';
  while (size > 0 && ::pread(descriptor_, &last, 1, size - 1) == 1 && last != '\n') --size;
  if (size < whole && ::ftruncate(descriptor_, size) != 0)
    fail_run(path_, ": cannot be repaired: ", reason());
}

LineAppender::~LineAppender() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void LineAppender::line(std::string_view text) {
  std::string whole(text);
  whole += '\n';
  write_all(descriptor_, whole.data(), whole.size(), path_);
}

void LineAppender::sync() {
  if (::fsync(descriptor_) != 0) fail_run(path_, ": cannot be flushed: ", reason());
}

std::map<int64_t, fs::path> step_files(const fs::path& folder,
                                       std::span<const std::string_view> suffixes) {
  std::map<int64_t, fs::path> out;
  std::error_code missing;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, missing)) {
    const std::string name = entry.path().filename().string();
    if (std::error_code gone; !entry.is_regular_file(gone)) continue;  // a pipe would never end
    for (const std::string_view suffix : suffixes) {
      if (!name.starts_with("step_") || !name.ends_with(suffix)) continue;
      const char* begin = name.data() + 5;
      const char* end = name.data() + name.size() - suffix.size();
      int64_t step = 0;
      const auto parsed = begin < end ? std::from_chars(begin, end, step)
                                      : std::from_chars_result{begin, std::errc::invalid_argument};
      if (parsed.ec == std::errc() && parsed.ptr == end) out[step] = entry.path();
    }
  }
  return out;
}

void sync_folder(const fs::path& folder) {
  const std::string name = folder.empty() ? "." : folder.string();
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_run(name, ": cannot be opened to flush it: ", reason());
  const int result = ::fsync(descriptor);
  const std::string why = reason();
  ::close(descriptor);
  if (result != 0) fail_run(name, ": cannot be flushed: ", why);
}

std::string hash_bytes(const void* data, size_t size) { return hex(XXH3_128bits(data, size)); }

std::string hash_file(const fs::path& path) {
  const MappedFile file(path);
  return hash_bytes(file.bytes().data(), file.bytes().size());
}

FolderLock::FolderLock(const fs::path& folder) {
  const std::string path = (folder / ".lock").string();
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail(path, ": cannot be created: ", reason());
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    ::close(std::exchange(descriptor_, -1));
    fail(folder.string(), ": another vernier process is working in this run folder");
  }
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace vernier
