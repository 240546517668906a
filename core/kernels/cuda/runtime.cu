// Memory, streams, events and graphs.
#include <cuda_runtime.h>

#include "core/base/errors.h"
#include "core/kernels/device_runtime.h"

namespace vernier::kernels::device {
namespace {

template <class... Parts>
void check(cudaError_t problem, const Parts&... what) {
  if (problem != cudaSuccess) throw DeviceError(cat(what..., ": ", cudaGetErrorString(problem)));
}

}  // namespace

// Problems of a release are those of work before it, which whoever waits for that work hears of.
void Memory::Release::operator()(std::byte* bytes) const {
  kind == Kind::gpu ? cudaFree(bytes) : cudaFreeHost(bytes);
}

Memory::Memory(Kind kind, int64_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  void* place = nullptr;
  const auto size = static_cast<size_t>(bytes);
  if (kind == Kind::gpu)
    check(cudaMalloc(&place, size), "memory of ", bytes, " bytes on the GPU");
  else
    check(cudaMallocHost(&place, size), "pinned memory of ", bytes, " bytes");
  bytes_ = std::unique_ptr<std::byte, Release>(static_cast<std::byte*>(place), Release{kind});
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a new stream");
}
Stream::~Stream() { cudaStreamDestroy(stream_); }
void Stream::wait() const { check(cudaStreamSynchronize(stream_), "work on the GPU"); }

Event::Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "a new event"); }
Event::~Event() { cudaEventDestroy(event_); }
void Event::record(const Stream& stream) {
  check(cudaEventRecord(event_, stream.get()), "an event");
}
void Event::wait() const { check(cudaEventSynchronize(event_), "work on the GPU"); }

Graph::Graph(const Stream& stream, const std::function<void()>& body) {
  check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "a new graph");
  cudaGraph_t recorded = nullptr;
  try {
    body();
  } catch (...) {
    cudaStreamEndCapture(stream.get(), &recorded);  // leaves the stream usable
    if (recorded != nullptr) cudaGraphDestroy(recorded);
    throw;
  }
  check(cudaStreamEndCapture(stream.get(), &recorded), "recording a graph");
  const cudaError_t problem = cudaGraphInstantiate(&graph_, recorded, 0);
  cudaGraphDestroy(recorded);
  check(problem, "making a graph");
}
Graph::~Graph() { cudaGraphExecDestroy(graph_); }
void Graph::launch(const Stream& stream) const {
  check(cudaGraphLaunch(graph_, stream.get()), "a graph");
}

void copy(void* to, const void* from, int64_t bytes, const Stream& stream) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream.get()),
        "a copy of ", bytes, " bytes");
}

void zero(void* to, int64_t bytes, CUstream_st* stream) {
  if (bytes == 0) return;
  check(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), stream), "zeroing ", bytes, " bytes");
}

void wait_for_device() { check(cudaDeviceSynchronize(), "work on the GPU"); }

int64_t free_memory() {
  size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "asking for the memory that is free");
  return static_cast<int64_t>(available);
}

std::string device_name() {
  int device = 0;
  cudaDeviceProp properties{};
  check(cudaGetDevice(&device), "asking for the GPU");
  check(cudaGetDeviceProperties(&properties, device), "asking for the GPU's name");
  return properties.name;
}

}  // namespace vernier::kernels::device
