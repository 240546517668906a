// Memory, streams, events and graphs of a GPU, for host code that does not see CUDA's headers. A
// build without CUDA has the same; they raise DeviceError.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

struct CUstream_st;     // cudaStream_t
struct CUevent_st;      // cudaEvent_t
struct CUgraphExec_st;  // cudaGraphExec_t

namespace vernier::kernels::device {

/// Memory of the GPU, or of the host where the GPU copies from and to while the host goes on.
class Memory {
 public:
  enum class Kind { gpu, pinned };

  Memory() = default;
  Memory(Kind kind, int64_t bytes);

  int64_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(bytes_.get());
  }

 private:
  struct Release {
    Kind kind;
    void operator()(std::byte* bytes) const;
  };
  int64_t size_ = 0;
  std::unique_ptr<std::byte, Release> bytes_{nullptr, Release{Kind::gpu}};
};

/// Work in order, beside that of all other streams, the legacy default one among them.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  CUstream_st* get() const { return stream_; }
  /// Until everything in it is done.
  void wait() const;

 private:
  CUstream_st* stream_ = nullptr;
};

/// A place in a stream that the host may wait for.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Stream& stream);
  void wait() const;

 private:
  CUevent_st* event_ = nullptr;
};

/// What `body` puts into the stream, recorded once: launching it again is one call.
class Graph {
 public:
  Graph(const Stream& stream, const std::function<void()>& body);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch(const Stream& stream) const;

 private:
  CUgraphExec_st* graph_ = nullptr;
};

/// Either side may be memory of the GPU; host memory is pinned. Does not wait.
void copy(void* to, const void* from, int64_t bytes, const Stream& stream);
/// Zero bytes. Does not wait.
void zero(void* to, int64_t bytes, CUstream_st* stream);
/// Until all streams are done.
void wait_for_device();
/// Bytes that the GPU still has.
int64_t free_memory();
/// What CUDA calls the GPU.
std::string device_name();

}  // namespace vernier::kernels::device
