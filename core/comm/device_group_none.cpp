// Ranks on GPUs in a build without CUDA, or without NCCL.
#include "core/base/errors.h"
#include "core/comm/device_group.h"
#include "core/kernels/device.h"

namespace vernier {
namespace {
[[noreturn]] void refuse() {
  if (kernels::device::built())
    fail(
        "run.device: \"cuda\" for several ranks: this build has no NCCL; build it where nccl.h of "
        "NCCL 2.28 is found beside the CUDA toolkit");
  fail("run.device: \"cuda\": this build has no CUDA; build the cuda preset (tools/build cuda)");
}
}  // namespace

std::string choose_gpu(int64_t) { refuse(); }
c10::intrusive_ptr<c10d::Backend> open_device_group(const c10::intrusive_ptr<c10d::Store>&,
                                                    const std::string&, int64_t, int64_t) {
  refuse();
}
void add_up(c10d::Backend&, const at::Tensor&, CUstream_st*) { refuse(); }
std::unique_ptr<SideStream> open_side_stream() { refuse(); }
std::string flight_record() { refuse(); }

}  // namespace vernier
