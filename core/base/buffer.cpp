#include "core/base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "core/base/errors.h"

namespace vernier {
namespace {
constexpr size_t kLine = 64;
constexpr size_t kLarge = size_t{1} << 21;  // a large page of x86-64
}  // namespace

Buffer::Buffer(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  if (bytes < kLarge) {
    const size_t rounded = (bytes + kLine - 1) / kLine * kLine;
    bytes_ = {static_cast<std::byte*>(std::aligned_alloc(kLine, rounded)), Release{0}};
    if (bytes_ != nullptr) std::memset(bytes_.get(), 0, rounded);
  } else {
    void* pages = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
