// Forward kernels on a GPU. A build without CUDA has the same functions; they raise DeviceError.
//
// Pointers are device memory, arrays dense and row-major, fp32. Launches run on `stream` and do not
// wait. Sums are taken in fp32; the tests allow 1e-5 against kernels::ref for values of order 1.
#pragma once

#include <cstdint>

struct CUstream_st;  // cudaStream_t without the CUDA headers

namespace vernier::kernels::device {

/// Whether this build has CUDA at all.
bool built();

/// As kernels::rms_norm, without the inverse: there is no backward pass on a GPU.
void rms_norm(const float* x, const float* w, float* y, int64_t rows, int64_t width, float eps,
              CUstream_st* stream);

/// As kernels::swiglu.
void swiglu(const float* gate_up, float* y, int64_t rows, int64_t width, CUstream_st* stream);

/// As kernels::log_softmax: logprob and entropy [rows] of logits [rows, vocabulary] times `scale`.
void log_softmax(const float* logits, const int32_t* targets, float scale, float* logprob,
                 float* entropy, int64_t rows, int64_t vocabulary, CUstream_st* stream);

}  // namespace vernier::kernels::device
