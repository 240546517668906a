// Large arrays for the kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace vernier {

/// Bytes that this process may still take: what the system has, or less where its control group is
/// limited.
int64_t available_memory();

/// All that this process could ever have: the memory of the machine, or the limit of its control
/// group.
int64_t machine_memory();

/// Bytes that this process holds now, what it has mapped of files among them.
int64_t resident_memory();

/// Most bytes that this process held at a time since it began, or since reset_peak_memory().
int64_t peak_memory();
/// False where the system does not let a process forget its peak.
bool reset_peak_memory();

/// Buffers that share large pages with each other and no others: those that go together leave
/// no hole behind.
struct PageGroup {
  std::weak_ptr<void> newest;  // pages that have room left
};

/// Bytes that begin on a cache line and are zero at first. All but small ones lie in pages of the
/// system of the large kind, where it has them: they cost nothing until they are written, and
/// reading them in order meets a page table seldom.
class Buffer {
 public:
  Buffer() = default;
  /// In pages of the group, or of all who have none. Throws Error where there is no memory.
  explicit Buffer(size_t bytes, PageGroup* group = nullptr);
  Buffer(Buffer&&) = default;
  Buffer& operator=(Buffer&&) = default;

  size_t size() const { return size_; }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(bytes_.get());
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes_.get());
  }

 private:
  size_t size_ = 0;
  std::shared_ptr<std::byte> bytes_;  // of pages that other buffers lie in too
};

/// An array that grows: room for `count` numbers, whose values are lost when it has to grow.
template <class T>
class Room {
 public:
  T* take(int64_t count) {
    const auto bytes = static_cast<size_t>(count) * sizeof(T);
    if (bytes > buffer_.size()) buffer_ = Buffer(std::max(bytes, 2 * buffer_.size()));
    return buffer_.as<T>();
  }
  int64_t bytes() const { return static_cast<int64_t>(buffer_.size()); }

 private:
  Buffer buffer_;
};

/// Buffers that come back: memory that was written once costs less than fresh memory. For one
/// thread.
class BufferPool {
 public:
  /// At least `bytes`, whatever they hold; back in the pool when the last copy of the pointer goes.
  std::shared_ptr<Buffer> take(size_t bytes);
  /// Gives the memory back that nobody holds.
  void release();
  /// Bytes of all buffers, held or not.
  int64_t bytes() const { return state_->bytes; }

 private:
  struct State {
    std::vector<Buffer> idle;
    int64_t bytes = 0;
    PageGroup pages;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace vernier
