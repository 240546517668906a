// Starting a kernel, and saying which one was refused.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/base/errors.h"

namespace vernier::kernels::device {

/// The sizes of a launch, for its error message.
inline std::string shape_text(const char* name, std::initializer_list<int64_t> sizes) {
  std::string out = cat(name, " [");
  for (const int64_t size : sizes) out += cat(out.back() == '[' ? "" : ", ", size);
  return out + "]";
}

/// Blocks along the first dimension of a grid.
inline unsigned blocks_for(const char* name, int64_t blocks) {
  if (blocks > INT32_MAX)
    throw DeviceError(cat(name, ": ", blocks, " blocks are more than a grid holds"));
  return static_cast<unsigned>(blocks);
}

/// Raises DeviceError where the launch is refused. Nothing runs on an empty grid.
template <class... Parameters, class... Arguments>
void launch(const char* name, std::initializer_list<int64_t> sizes, void (*kernel)(Parameters...),
            int64_t blocks, int threads, cudaStream_t stream, const Arguments&... arguments) {
  if (blocks == 0) return;
  kernel<<<blocks_for(name, blocks), static_cast<unsigned>(threads), 0, stream>>>(
      static_cast<Parameters>(arguments)...);
  const cudaError_t problem = cudaGetLastError();
  if (problem != cudaSuccess)
    throw DeviceError(cat(shape_text(name, sizes), ": ", cudaGetErrorString(problem)));
}

}  // namespace vernier::kernels::device
