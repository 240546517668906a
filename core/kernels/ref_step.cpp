// The step of decoding on host memory: what the GPU's is held to.
#include <algorithm>
#include <cmath>

#include "core/kernels/device.h"

namespace vernier::kernels::ref {

void advance(const device::StepState& state, const int32_t* drawn, const float* logprob,
             const float* plain, int64_t batch) {
  using Status = device::SlotStatus;
  *state.running = 0;
  for (int64_t s = 0; s < batch; ++s) {
    if (state.position[s] < 0) continue;
    const int32_t token = drawn[s];
    if (state.count[s] < state.capacity) {
      const int64_t at = s * state.capacity + state.count[s];
      state.tokens[at] = token;
      state.logprob[at] = logprob[s];
      state.plain[at] = plain[s];
    }
    ++state.count[s];
    state.id[s] = token;
    const int32_t *end_ids = state.end_ids, *last = end_ids + state.num_end_ids;
    const int32_t next = state.position[s] + 1;
    state.status[s] = std::isnan(logprob[s])                    ? Status::not_finite
                      : std::find(end_ids, last, token) != last ? Status::stopped
                      : state.count[s] >= state.limit[s]        ? Status::length
                      : next >= state.room[s]                   ? Status::no_room
                                                                : Status::running;
    const bool runs = state.status[s] == Status::running;
    state.position[s] = runs ? next : -1;
    *state.running += runs;
  }
}

void write_words(int32_t* words, const device::WordCopy* copies, int64_t num_copies,
                 const device::WordWrite* writes, int64_t num_writes) {
  for (int64_t i = 0; i < num_copies; ++i) words[copies[i].to] = words[copies[i].from];
  for (int64_t i = 0; i < num_writes; ++i) words[writes[i].to] = writes[i].value;
}

}  // namespace vernier::kernels::ref
