#include "core/comm/device_group.h"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <chrono>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <vector>

#include "core/base/errors.h"

namespace vernier {

// c10d's options have a structure of NCCL's in them: it has to be the one that LibTorch was built
// with.
static_assert(NCCL_MAJOR == 2 && NCCL_MINOR == 28, "nccl.h of NCCL 2.28, as LibTorch 2.11 has it");

std::string choose_gpu(int64_t local_rank) {
  const int64_t count = c10::cuda::device_count();
  if (count == 0) fail("run.device: \"cuda\": torch finds no GPU here");
  // A launcher may have given each of its ranks one.
  const int64_t index = count == 1 ? 0 : local_rank;
  if (index >= count)
    fail("run.device: \"cuda\": this rank is number ", local_rank, " of its machine, from 0, and ",
         count, " GPUs are seen here: start a rank for each");
  const auto gpu = static_cast<c10::DeviceIndex>(index);
  c10::cuda::set_device(gpu);
  const auto& id = at::cuda::getDeviceProperties(gpu)->uuid;
  return {id.bytes, sizeof id.bytes};
}

c10::intrusive_ptr<c10d::Backend> open_device_group(const c10::intrusive_ptr<c10d::Store>& store,
                                                    const std::string& name, int64_t rank,
                                                    int64_t size) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::hours(24 * 30);  // ours is the watch's
  options->group_name = name;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, static_cast<int>(rank),
                                                     static_cast<int>(size), options);
}

// Without a stream of NCCL's own: in a graph there is one line then, without forks.
void add_up(c10d::Backend& group, const at::Tensor& numbers, CUstream_st* stream) {
  const c10::cuda::CUDAStreamGuard guard(
      c10::cuda::getStreamFromExternal(stream, numbers.device().index()));
  std::vector<at::Tensor> all = {numbers};
  c10d::AllreduceOptions options;
  options.asyncOp = false;
  group.allreduce(all, options);
}

namespace {

// One of a process, which has one GPU: what is freed in it is found again in it.
const c10::cuda::CUDAStream& side_stream() {
  static const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
  return stream;
}

class PoolStream final : public SideStream {
 public:
  PoolStream() : stream_(side_stream()) { begun_.record(); }

  void run(const std::function<void()>& body) override {
    const c10::cuda::CUDAStreamGuard guard(stream_);  // of its GPU too
    begun_.block(stream_);
    body();
    stream_.synchronize();
  }

 private:
  const c10::cuda::CUDAStream stream_;
  at::cuda::CUDAEvent begun_;
};

}  // namespace

std::unique_ptr<SideStream> open_side_stream() { return std::make_unique<PoolStream>(); }

std::string flight_record() { return c10d::dump_nccl_trace_json(true, false); }

}  // namespace vernier
