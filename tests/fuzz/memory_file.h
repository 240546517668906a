// Bytes as a file that is on no disk.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/base/errors.h"

namespace vernier::testing {

class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    ensure(descriptor_ >= 0, "a file in memory");
    for (size_t done = 0; done < size;) {
      const ssize_t count = ::write(descriptor_, data + done, size - done);
      ensure(count > 0, "room for a file in memory");
      done += static_cast<size_t>(count);
    }
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return cat("/proc/self/fd/", descriptor_); }

 private:
  int descriptor_;
};

}  // namespace vernier::testing
