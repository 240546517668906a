// The decoder of decoder.h as kernels on a stream of a GPU: no tensors, no memory taken and no wait
// inside a pass, so that a pass can be recorded.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "core/kernels/device.h"
#include "core/kernels/device_runtime.h"
#include "core/model/decoder.h"

namespace vernier {

/// T is the type of weights and activations: float, or Bf16 with an fp32 residual stream and fp32
/// sums. Belongs to one stream.
template <class T>
class DeviceDecoder {
 public:
  /// What happens to rotated-to-be queries, keys and values qkv [rows, row] of a layer on their way
  /// to out [rows, H*E].
  using Attend = std::function<void(int64_t layer, T* qkv, T* out)>;

  /// Of a decoder that lies on the GPU in fp32 and outlives this; for sequences of up to
  /// `positions` tokens and passes of up to `rows` tokens. Where the decoder is a part of a model,
  /// those of the other parts make the same passes.
  DeviceDecoder(Decoder& decoder, int64_t positions, int64_t rows);

  /// Bytes of its arrays; the weights are the decoder's, or in its bf16_weights().
  static int64_t bytes(const ModelSpec& spec, int64_t positions, int64_t rows);

  /// Takes over what the decoder's weights are now; waits for the GPU.
  void weights_changed();

  /// The hidden states of tokens ids [rows] after the last norm. They stay until the next pass.
  void run(const int32_t* ids, int64_t rows, const Attend& attend, CUstream_st* stream);
  /// Logits [rows, V] of the first rows of the last pass.
  void logits(float* out, int64_t rows, CUstream_st* stream);

  const float* cosine() const { return cosine_.as<float>(); }  // [positions, R/2]
  const float* sine() const { return sine_.as<float>(); }

 private:
  /// A place in the flat buffer; negative: the model has no such weight.
  using Place = int64_t;
  struct Layer {
    Place attention_norm, qkv, qkv_bias, q_norm, k_norm, output, output_bias;
    Place mlp_norm, gate_up, gate_up_bias, down, down_bias;
  };

  Place place(std::string_view name) const;
  const T* at(Place place) const;
  void attention_block(int64_t index, int64_t rows, const Attend& attend, CUstream_st* stream);
  void mlp_block(const Layer& layer, int64_t rows, CUstream_st* stream);
  void sum_parts(int64_t rows, CUstream_st* stream);
  void linear(const T* x, Place weight, Place bias, T* y, int64_t rows, int64_t inner,
              int64_t columns, CUstream_st* stream);

  Decoder& decoder_;
  const ModelSpec spec_;
  int64_t rows_;
  at::Tensor weights_;  // T: the decoder's own, or rounded
  at::Tensor blocks_;   // delta_, where it is summed over parts
  std::vector<Layer> layers_;
  Place embedding_, final_norm_, head_;
  kernels::device::Linear linear_;
  kernels::device::Memory cosine_, sine_;
  kernels::device::Memory stream_rows_;      // fp32 [rows, D]
  kernels::device::Memory normed_, delta_;   // T [rows, D]
  kernels::device::Memory qkv_, attended_;   // T [rows, row], [rows, H*E]
  kernels::device::Memory gate_up_, inner_;  // T [rows, 2F], [rows, F]
};

}  // namespace vernier
