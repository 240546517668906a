#include "core/base/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "core/base/errors.h"

namespace vernier {
namespace {
constexpr size_t kLine = 64;
constexpr size_t kPage = size_t{1} << 21;  // a large page of x86-64
constexpr size_t kSmall = size_t{1} << 16, kShared = 16 * kPage;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Large pages of the system, zeros.
class Pages {
 public:
  explicit Pages(size_t bytes) : mapped_(round_up(bytes, kPage) + kPage) {
    void* at = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return;
    ::madvise(at, mapped_, MADV_HUGEPAGE);  // a wish: without it the pages are small
    mapping_ = static_cast<std::byte*>(at);
    free_ = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uintptr_t>(at), kPage));
    left_ = round_up(bytes, kPage);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() {
    if (mapping_ != nullptr) ::munmap(mapping_, mapped_);
  }

  size_t left() const { return left_; }
  // From the front, and never twice: what is given out is zero.
  std::byte* take(size_t bytes) {
    left_ -= bytes;
    return std::exchange(free_, free_ + bytes);
  }

 private:
  size_t mapped_, left_ = 0;
  std::byte *mapping_ = nullptr, *free_ = nullptr;
};

// The whole pages of an array: [first, last); nothing where last is not above first.
std::pair<std::byte*, std::byte*> pages_of(void* from, size_t bytes) {
  static const auto unit = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<uintptr_t>(from);
  return {reinterpret_cast<std::byte*>(round_up(at, unit)),
          reinterpret_cast<std::byte*>((at + bytes) / unit * unit)};
}

// What lies in a buffer as a whole page goes back to the system, although others still have parts
// of the mapping. The system keeps a large page that it goes from in part until it is short of
// memory.
void give_back(std::byte* from, size_t bytes) {
  const auto [first, last] = pages_of(from, bytes);
  if (first < last) ::madvise(first, static_cast<size_t>(last - first), MADV_DONTNEED);
}

// The matrices of a model are often smaller than a large page: they share some. Those that are
// written again and again for as long as a job lasts keep their place, so little is lost of pages
// that wait for the last of their buffers.
std::shared_ptr<std::byte> take_pages(size_t bytes, PageGroup& group) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  bytes = round_up(bytes, kLine);
  auto pages = std::static_pointer_cast<Pages>(group.newest.lock());
  if (pages == nullptr || pages->left() < bytes) {
    pages = std::make_shared<Pages>(std::max(bytes, kShared));
    if (pages->left() < bytes) return nullptr;
    if (bytes < kShared) group.newest = pages;
  }
  std::byte* at = pages->take(bytes);
  return {at, [pages = std::move(pages), bytes](std::byte* from) { give_back(from, bytes); }};
}

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

int64_t machine_memory() {
  const int64_t bytes = number_in("/proc/meminfo", "MemTotal:").value_or(0) * 1024;
  return std::min(bytes, number_in("/sys/fs/cgroup/memory.max").value_or(bytes));
}

int64_t resident_memory() { return number_in("/proc/self/status", "VmRSS:").value_or(0) * 1024; }

int64_t peak_memory() { return number_in("/proc/self/status", "VmHWM:").value_or(0) * 1024; }

bool reset_peak_memory() {
  std::ofstream file("/proc/self/clear_refs");
  return static_cast<bool>(file << "5" << std::flush);
}

Buffer::Buffer(size_t bytes, PageGroup* group) : size_(bytes) {
  static PageGroup everyone;
  if (bytes == 0) return;
  if (bytes < kSmall) {
    const size_t rounded = round_up(bytes, kLine);
    bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(kLine, rounded)), std::free);
    if (bytes_ != nullptr) std::memset(bytes_.get(), 0, rounded);
  } else {
    bytes_ = take_pages(bytes, group == nullptr ? everyone : *group);
  }
  if (bytes_ == nullptr) fail_run("no memory for ", human_bytes(static_cast<double>(bytes)));
}

std::shared_ptr<Buffer> BufferPool::take(size_t bytes) {
  auto& idle = state_->idle;
  // The smallest that fits; where none does, one that is too small makes room for it.
  auto best = idle.end();
  for (auto at = idle.begin(); at != idle.end(); ++at)
    if (at->size() >= bytes && (best == idle.end() || at->size() < best->size())) best = at;
  Buffer found;
  if (best != idle.end()) {
    found = std::move(*best);
    idle.erase(best);
  } else {
    if (!idle.empty()) {
      state_->bytes -= static_cast<int64_t>(idle.back().size());
      idle.pop_back();
    }
    found = Buffer(bytes, &state_->pages);
    state_->bytes += static_cast<int64_t>(bytes);
  }
  return {new Buffer(std::move(found)), [state = state_](Buffer* buffer) {
            state->idle.push_back(std::move(*buffer));
            delete buffer;
          }};
}

void BufferPool::release() {
  for (const Buffer& buffer : state_->idle) state_->bytes -= static_cast<int64_t>(buffer.size());
  state_->idle.clear();
}

}  // namespace vernier
