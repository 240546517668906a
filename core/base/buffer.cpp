#include "core/base/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include "core/base/errors.h"

namespace vernier {
namespace {
constexpr size_t kLine = 64;
constexpr size_t kLarge = size_t{1} << 21;  // a large page of x86-64

// The number in a file of the system; nothing where there is none ("max").
std::optional<int64_t> number_in(const char* path, const std::string& after = "") {
  std::ifstream file(path);
  std::string word;
  if (!after.empty())
    while (word != after && file >> word) continue;
  int64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

}  // namespace

int64_t available_memory() {
  int64_t bytes = number_in("/proc/meminfo", "MemAvailable:").value_or(0) * 1024;
  const auto limit = number_in("/sys/fs/cgroup/memory.max");
  const auto taken = number_in("/sys/fs/cgroup/memory.current");
  if (limit && taken) bytes = std::min(bytes, std::max<int64_t>(0, *limit - *taken));
  return bytes;
}

Buffer::Buffer(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  if (bytes < kLarge) {
    const size_t rounded = (bytes + kLine - 1) / kLine * kLine;
    bytes_ = {static_cast<std::byte*>(std::aligned_alloc(kLine, rounded)), Release{0}};
    if (bytes_ != nullptr) std::memset(bytes_.get(), 0, rounded);
  } else {
    void* pages =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages != MAP_FAILED) {
      ::madvise(pages, bytes, MADV_HUGEPAGE);  // a wish: without it the pages are small
      bytes_ = {static_cast<std::byte*>(pages), Release{bytes}};
    }
  }
  if (bytes_ == nullptr) fail_run("no memory for ", human_bytes(static_cast<double>(bytes)));
}

void Buffer::Release::operator()(std::byte* bytes) const {
  if (mapped > 0)
    ::munmap(bytes, mapped);
  else
    std::free(bytes);
}

}  // namespace vernier
