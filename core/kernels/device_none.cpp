// The GPU kernels of a build without CUDA.
#include "core/base/errors.h"
#include "core/kernels/device.h"
#include "core/kernels/device_runtime.h"
#include "core/kernels/device_training.h"

namespace vernier::kernels::device {
namespace {
[[noreturn]] void refuse() {
  throw DeviceError("this build has no CUDA; build the cuda preset (tools/build cuda)");
}
}  // namespace

bool built() { return false; }

template <class T>
void embedding(const T*, const int32_t*, float*, int64_t, int64_t, CUstream_st*) {
  refuse();
}
template <class T>
void rms_norm(const float*, const T*, T*, int64_t, int64_t, float, CUstream_st*) {
  refuse();
}
template <class T>
void add_rms_norm(float*, const T*, const T*, T*, int64_t, int64_t, float, CUstream_st*) {
  refuse();
}
template <class T>
void rms_norm_add(float*, const T*, const T*, T*, int64_t, int64_t, float, CUstream_st*) {
  refuse();
}
template <class T>
void swiglu(const T*, T*, int64_t, int64_t, CUstream_st*) {
  refuse();
}
template <class T>
void qk_norm(T*, const T*, const T*, const AttentionShape&, QkNorm, int64_t, float, CUstream_st*) {
  refuse();
}
template <class T>
void copy_page(const Pages<T>&, int32_t, int32_t, CUstream_st*) {
  refuse();
}
template <class T>
void rope_append(T*, const int32_t*, const int32_t*, const float*, const float*, const Pages<T>&,
                 const PageTable&, const AttentionShape&, int64_t, CUstream_st*) {
  refuse();
}
void plan_decode(const int32_t*, const DecodePlan&, int64_t, CUstream_st*) { refuse(); }
template <class T>
void decode_attention(const T*, const int32_t*, const Pages<T>&, const PageTable&,
                      const DecodePlan&, float*, T*, const AttentionShape&, int64_t, CUstream_st*) {
  refuse();
}
template <class T>
void chunk_attention(const T*, const ChunkSpan*, int64_t, const Pages<T>&, const PageTable&, T*,
                     const AttentionShape&, int64_t, CUstream_st*) {
  refuse();
}
void uniform(const uint64_t*, const int32_t*, double*, int64_t, CUstream_st*) { refuse(); }
template <class T>
void sample(const T*, const SlotSampling*, const int32_t*, const int32_t*, int32_t*, float*, float*,
            int64_t, int64_t, CUstream_st*) {
  refuse();
}
void advance(const StepState&, const int32_t*, const float*, const float*, int64_t, CUstream_st*) {
  refuse();
}

void write_words(int32_t*, const WordCopy*, int64_t, const WordWrite*, int64_t, CUstream_st*) {
  refuse();
}

template <class T>
void rms_norm_backward_add(const T*, const float*, const T*, float*, float*, int64_t, int64_t,
                           float, CUstream_st*) {
  refuse();
}
template <class T>
void rms_norm_backward(const float*, const T*, const T*, T*, float*, int64_t, int64_t, float,
                       CUstream_st*) {
  refuse();
}
template <class T>
void qk_norm_backward(T*, const T*, const T*, const T*, float*, const AttentionShape&, QkNorm,
                      int64_t, float, CUstream_st*) {
  refuse();
}
template <class T>
void rope(T*, const int32_t*, const float*, const float*, const AttentionShape&, int64_t, bool,
          CUstream_st*) {
  refuse();
}
template <class T>
void swiglu_backward(const T*, const T*, T*, T*, int64_t, int64_t, CUstream_st*) {
  refuse();
}
template <class T>
void sum_rows(const T*, const RowSums&, T*, int64_t, int64_t, bool, CUstream_st*) {
  refuse();
}
void adamw(float*, const float*, float*, float*, int64_t, const AdamStep&, CUstream_st*) {
  refuse();
}
void sum_logits(const float*, const int32_t*, float, int64_t, LogitSums*, int64_t, int64_t,
                CUstream_st*) {
  refuse();
}
void finish_logits(const LogitSums*, float*, float*, float*, float*, int64_t, CUstream_st*) {
  refuse();
}
template <class T>
void logits_backward(const float*, const int32_t*, float, int64_t, const float*, const float*,
                     const float*, const float*, T*, int64_t, int64_t, CUstream_st*) {
  refuse();
}

struct Linear::Plans {};
Linear::Linear() { refuse(); }
Linear::~Linear() = default;
template <class T, class Y>
void Linear::operator()(const T*, const T*, const Y*, Y*, int64_t, int64_t, int64_t, CUstream_st*) {
  refuse();
}

void Memory::Release::operator()(std::byte*) const {}
Memory::Memory(Kind, int64_t) { refuse(); }
Stream::Stream() { refuse(); }
Stream::~Stream() = default;
void Stream::wait() const { refuse(); }
Event::Event() { refuse(); }
Event::~Event() = default;
void Event::record(const Stream&) { refuse(); }
void Event::wait() const { refuse(); }
Graph::Graph(const Stream&, const std::function<void()>&) { refuse(); }
Graph::~Graph() = default;
void Graph::launch(const Stream&) const { refuse(); }
void copy(void*, const void*, int64_t, const Stream&) { refuse(); }
void zero(void*, int64_t, CUstream_st*) { refuse(); }
void wait_for_device() { refuse(); }
int64_t free_memory() { refuse(); }
std::string device_name() { refuse(); }

template void Linear::operator()(const float*, const float*, const float*, float*, int64_t, int64_t,
                                 int64_t, CUstream_st*);
template void Linear::operator()(const Bf16*, const Bf16*, const Bf16*, Bf16*, int64_t, int64_t,
                                 int64_t, CUstream_st*);
template void Linear::operator()(const Bf16*, const Bf16*, const float*, float*, int64_t, int64_t,
                                 int64_t, CUstream_st*);
template void embedding(const float*, const int32_t*, float*, int64_t, int64_t, CUstream_st*);
template void embedding(const Bf16*, const int32_t*, float*, int64_t, int64_t, CUstream_st*);
template void rms_norm(const float*, const float*, float*, int64_t, int64_t, float, CUstream_st*);
template void rms_norm(const float*, const Bf16*, Bf16*, int64_t, int64_t, float, CUstream_st*);
template void add_rms_norm(float*, const float*, const float*, float*, int64_t, int64_t, float,
                           CUstream_st*);
template void add_rms_norm(float*, const Bf16*, const Bf16*, Bf16*, int64_t, int64_t, float,
                           CUstream_st*);
template void rms_norm_add(float*, const float*, const float*, float*, int64_t, int64_t, float,
                           CUstream_st*);
template void rms_norm_add(float*, const Bf16*, const Bf16*, Bf16*, int64_t, int64_t, float,
                           CUstream_st*);
template void swiglu(const float*, float*, int64_t, int64_t, CUstream_st*);
template void swiglu(const Bf16*, Bf16*, int64_t, int64_t, CUstream_st*);
template void qk_norm(float*, const float*, const float*, const AttentionShape&, QkNorm, int64_t,
                      float, CUstream_st*);
template void qk_norm(Bf16*, const Bf16*, const Bf16*, const AttentionShape&, QkNorm, int64_t,
                      float, CUstream_st*);
template void copy_page(const Pages<float>&, int32_t, int32_t, CUstream_st*);
template void copy_page(const Pages<Bf16>&, int32_t, int32_t, CUstream_st*);
template void rope_append(float*, const int32_t*, const int32_t*, const float*, const float*,
                          const Pages<float>&, const PageTable&, const AttentionShape&, int64_t,
                          CUstream_st*);
template void rope_append(Bf16*, const int32_t*, const int32_t*, const float*, const float*,
                          const Pages<Bf16>&, const PageTable&, const AttentionShape&, int64_t,
                          CUstream_st*);
template void decode_attention(const float*, const int32_t*, const Pages<float>&, const PageTable&,
                               const DecodePlan&, float*, float*, const AttentionShape&, int64_t,
                               CUstream_st*);
template void decode_attention(const Bf16*, const int32_t*, const Pages<Bf16>&, const PageTable&,
                               const DecodePlan&, float*, Bf16*, const AttentionShape&, int64_t,
                               CUstream_st*);
template void chunk_attention(const float*, const ChunkSpan*, int64_t, const Pages<float>&,
                              const PageTable&, float*, const AttentionShape&, int64_t,
                              CUstream_st*);
template void chunk_attention(const Bf16*, const ChunkSpan*, int64_t, const Pages<Bf16>&,
                              const PageTable&, Bf16*, const AttentionShape&, int64_t,
                              CUstream_st*);
template void sample(const float*, const SlotSampling*, const int32_t*, const int32_t*, int32_t*,
                     float*, float*, int64_t, int64_t, CUstream_st*);
template void sample(const Bf16*, const SlotSampling*, const int32_t*, const int32_t*, int32_t*,
                     float*, float*, int64_t, int64_t, CUstream_st*);
template void rms_norm_backward_add(const float*, const float*, const float*, float*, float*,
                                    int64_t, int64_t, float, CUstream_st*);
template void rms_norm_backward_add(const Bf16*, const float*, const Bf16*, float*, float*, int64_t,
                                    int64_t, float, CUstream_st*);
template void rms_norm_backward(const float*, const float*, const float*, float*, float*, int64_t,
                                int64_t, float, CUstream_st*);
template void rms_norm_backward(const float*, const Bf16*, const Bf16*, Bf16*, float*, int64_t,
                                int64_t, float, CUstream_st*);
template void qk_norm_backward(float*, const float*, const float*, const float*, float*,
                               const AttentionShape&, QkNorm, int64_t, float, CUstream_st*);
template void qk_norm_backward(Bf16*, const Bf16*, const Bf16*, const Bf16*, float*,
                               const AttentionShape&, QkNorm, int64_t, float, CUstream_st*);
template void rope(float*, const int32_t*, const float*, const float*, const AttentionShape&,
                   int64_t, bool, CUstream_st*);
template void rope(Bf16*, const int32_t*, const float*, const float*, const AttentionShape&,
                   int64_t, bool, CUstream_st*);
template void swiglu_backward(const float*, const float*, float*, float*, int64_t, int64_t,
                              CUstream_st*);
template void swiglu_backward(const Bf16*, const Bf16*, Bf16*, Bf16*, int64_t, int64_t,
                              CUstream_st*);
template void sum_rows(const float*, const RowSums&, float*, int64_t, int64_t, bool, CUstream_st*);
template void sum_rows(const Bf16*, const RowSums&, Bf16*, int64_t, int64_t, bool, CUstream_st*);
template void logits_backward(const float*, const int32_t*, float, int64_t, const float*,
                              const float*, const float*, const float*, float*, int64_t, int64_t,
                              CUstream_st*);
template void logits_backward(const float*, const int32_t*, float, int64_t, const float*,
                              const float*, const float*, const float*, Bf16*, int64_t, int64_t,
                              CUstream_st*);

}  // namespace vernier::kernels::device
