// Attention of packed tokens as LibTorch's functions of tensors, forward and backward.
#pragma once

#include <memory>

#include "core/kernels/tensor_kernels.h"

namespace vernier::ops::device {

/// What the layers of a pass share, where they compute.
///
/// A segment behind a prefix attends to the prefix's keys and then to its own. LibTorch wants the
/// keys of a sequence in one piece, so those of a prefix are there once for each segment behind it,
/// in `key_rows`; queries, and everything else, are there once. Merging two passes by their
/// log-sums would save the copies, and its backward pass would need a second set of sums; prompts
/// are short beside responses.
struct DevicePass {
  std::shared_ptr<const LayerPass> pass;
  at::Tensor positions, cosine, sine;    // [T]; [positions, R/2] each
  at::Tensor starts, key_starts;         // [segments + 1]: first query, first key of each
  at::Tensor key_rows;                   // [keys], rows of the pass; undefined: its rows themselves
  RowGroups shared;                      // for each row the keys that are copies of its own
  std::vector<int32_t> key_starts_here;  // on the host
  int64_t longest = 0, longest_keys = 0;
};

std::shared_ptr<const DevicePass> place(std::shared_ptr<const LayerPass> pass,
                                        const at::Device& device);

/// The result of a pass, and what its backward pass reads.
struct Attended {
  at::Tensor out;            // [T, H*E], numbers
  at::Tensor log_sum;        // in the form of whoever computed it
  at::Tensor random, extra;  // what flash attention hands from its one pass to the other
};

/// As kernels::attention, of rotated qkv [T, row] in numbers. bf16 on a GPU is flash attention
/// (LibTorch's FlashAttention-2 with cumulative lengths; Dao, arXiv:2307.08691), for heads of up
/// to 256 dimensions that are a multiple of 8 (UsageError otherwise). Everything else goes segment
/// by segment in fp32 and holds [H, tokens, tokens] of one segment.
Attended attention(const at::Tensor& qkv, const kernels::AttentionShape& shape,
                   const DevicePass& pass);

/// d_qkv [T, row], numbers. On a GPU flash attention adds the gradients of queries in no fixed
/// order: two runs may differ in the last bits.
at::Tensor attention_backward(const at::Tensor& d_out, const at::Tensor& qkv,
                              const Attended& attended, const kernels::AttentionShape& shape,
                              const DevicePass& pass);

}  // namespace vernier::ops::device
