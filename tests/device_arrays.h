// Arrays on the GPU for the tests of its kernels.
#pragma once

#include <ATen/ATen.h>

#include <type_traits>
#include <vector>

#include "core/kernels/device.h"
#include "core/weights/weights.h"

namespace vernier::testing {

using kernels::device::Bf16;

inline bool have_gpu() { return kernels::device::built() && at::globalContext().hasCUDA(); }

/// A copy of host values in device memory.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values)
      : count_(std::ssize(values)), bytes_(at::empty({bytes()}, options(at::kCUDA))) {
    // from_blob wants a pointer it may write to; copy_ reads it.
    bytes_.copy_(at::from_blob(const_cast<T*>(values.data()), {bytes()}, options(at::kCPU)));
  }
  explicit OnDevice(int64_t count) : OnDevice(std::vector<T>(static_cast<size_t>(count))) {}

  T* data() { return reinterpret_cast<T*>(bytes_.data_ptr<uint8_t>()); }
  std::vector<T> host() const {
    std::vector<T> values(static_cast<size_t>(count_));
    at::from_blob(values.data(), {bytes()}, options(at::kCPU)).copy_(bytes_);
    return values;
  }

 private:
  static at::TensorOptions options(at::Device device) {
    return at::TensorOptions(at::kByte).device(device);
  }
  int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(T)); }

  int64_t count_;
  at::Tensor bytes_;
};

/// fp32 values as numbers of type T, and back.
template <class T>
std::vector<T> as_type(const std::vector<float>& values) {
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    std::vector<T> out;
    for (const float value : values) out.push_back({to_bf16(value)});
    return out;
  }
}
inline std::vector<float> as_floats(const std::vector<float>& values) { return values; }
inline std::vector<float> as_floats(const std::vector<Bf16>& values) {
  std::vector<float> out;
  for (const Bf16 value : values) out.push_back(from_bf16(value.bits));
  return out;
}
/// Values that T holds exactly, so that a test sees only the rounding of the kernel.
template <class T>
std::vector<float> exact_in(const std::vector<float>& values) {
  return as_floats(as_type<T>(values));
}

/// What a result of values of order 1 may be off by: the rounding of one result in bf16 is 2^-9.
template <class T>
constexpr double tolerance() {
  return std::is_same_v<T, float> ? 1e-5 : 4e-3;
}

}  // namespace vernier::testing
