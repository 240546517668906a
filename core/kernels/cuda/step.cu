// Between two steps: what was drawn goes to the sequences, and those that ended leave the batch.
#include "core/kernels/cuda/block.cuh"
#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/device.h"

namespace vernier::kernels::device {
namespace {

constexpr int kMostSlots = 1024;  // one block, a thread a slot

__device__ SlotStatus status_after(const StepState& state, int slot, int32_t token, float logprob) {
  if (isnan(logprob)) return SlotStatus::not_finite;
  for (int64_t i = 0; i < state.num_end_ids; ++i)
    if (state.end_ids[i] == token) return SlotStatus::stopped;
  if (state.count[slot] >= state.limit[slot]) return SlotStatus::length;
  return state.position[slot] + 1 >= state.room[slot] ? SlotStatus::no_room : SlotStatus::running;
}

__global__ void advance_kernel(StepState state, const int32_t* drawn, const float* logprob,
                               const float* plain, int64_t batch) {
  __shared__ int scratch[kMostSlots / kWarp];
  const int slot = threadIdx.x;
  int runs = 0;
  if (slot < batch && state.position[slot] >= 0) {
    const int32_t token = drawn[slot];
    const int32_t count = state.count[slot];
    if (count < state.capacity) {
      const int64_t at = slot * state.capacity + count;
      state.tokens[at] = token;
      state.logprob[at] = logprob[slot];
      state.plain[at] = plain[slot];
    }
    state.count[slot] = count + 1;
    state.id[slot] = token;
    const SlotStatus status = status_after(state, slot, token, logprob[slot]);
    state.status[slot] = status;
    runs = status == SlotStatus::running;
    state.position[slot] = runs ? state.position[slot] + 1 : -1;
  }
  runs = over_block<Sum, kMostSlots>(runs, scratch);
  if (slot == 0) *state.running = runs;
}

// One block: copies have to be over before the writes begin, and there are few of both.
__global__ void write_words_kernel(int32_t* words, const WordCopy* copies, int64_t num_copies,
                                   const WordWrite* writes, int64_t num_writes) {
  for (int64_t i = threadIdx.x; i < num_copies; i += kMostSlots)
    words[copies[i].to] = words[copies[i].from];
  __syncthreads();
  for (int64_t i = threadIdx.x; i < num_writes; i += kMostSlots)
    words[writes[i].to] = writes[i].value;
}

}  // namespace

void advance(const StepState& state, const int32_t* drawn, const float* logprob, const float* plain,
             int64_t batch, cudaStream_t stream) {
  if (batch > kMostSlots)
    throw DeviceError(cat("advance: ", batch, " slots; a step has at most ", kMostSlots));
  launch("advance", {batch}, advance_kernel, 1, kMostSlots, stream, state, drawn, logprob, plain,
         batch);
}

void write_words(int32_t* words, const WordCopy* copies, int64_t num_copies,
                 const WordWrite* writes, int64_t num_writes, cudaStream_t stream) {
  launch("write_words", {num_copies, num_writes}, write_words_kernel,
         num_copies + num_writes > 0 ? 1 : 0, kMostSlots, stream, words, copies, num_copies, writes,
         num_writes);
}

}  // namespace vernier::kernels::device
