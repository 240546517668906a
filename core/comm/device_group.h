// The ranks' group for buffers on GPUs: NCCL's. device_group_none.cpp stands for it in a build
// without CUDA.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

struct CUstream_st;  // cudaStream_t

namespace vernier {

/// Lets this thread compute on the GPU of a rank that is `local_rank` of its machine; where the
/// process sees one alone, on that. Returns what tells the GPU from all others. UsageError where
/// there is none, or fewer than `local_rank` + 1.
std::string choose_gpu(int64_t local_rank);

/// Of processes that see the same store. It connects when it is used first, and wants an abort()
/// before it goes.
c10::intrusive_ptr<c10d::Backend> open_device_group(const c10::intrusive_ptr<c10d::Store>& store,
                                                    const std::string& name, int64_t rank,
                                                    int64_t size);

/// Puts the sum over the group in place of numbers on the GPU, in the order of a stream.
void add_up(c10d::Backend& group, const at::Tensor& numbers, CUstream_st* stream);

/// Where a thread computes on the GPU beside another: a stream of its own, behind what was in the
/// stream of who opened it.
class SideStream {
 public:
  virtual ~SideStream() = default;
  /// Runs `body` with that stream as the thread's, and waits until all that it put there is done,
  /// but where it throws: a link is gone then, and the process is to end.
  virtual void run(const std::function<void()>& body) = 0;
};
std::unique_ptr<SideStream> open_side_stream();

/// NCCL's flight recorder: the last operations of this process, as JSON.
std::string flight_record();

}  // namespace vernier
