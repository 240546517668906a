// The GPU kernels of a build without CUDA.
#include "core/base/errors.h"
#include "core/kernels/device.h"

namespace vernier::kernels::device {
namespace {
[[noreturn]] void refuse() {
  throw DeviceError("this build has no CUDA; build the cuda preset (tools/build cuda)");
}
}  // namespace

bool built() { return false; }

void rms_norm(const float*, const float*, float*, int64_t, int64_t, float, CUstream_st*) {
  refuse();
}
void swiglu(const float*, float*, int64_t, int64_t, CUstream_st*) { refuse(); }
void log_softmax(const float*, const int32_t*, float, float*, float*, int64_t, int64_t,
                 CUstream_st*) {
  refuse();
}

}  // namespace vernier::kernels::device
