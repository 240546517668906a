// Kernels of one step of decoding on a GPU; device_training.h has those of training. A build
// without CUDA has the same functions; they raise DeviceError.
//
// Pointers are device memory, arrays dense and row-major, of float or Bf16 (T). Sums are taken in
// fp32. Launches run on `stream`, do not wait and take no memory, and their grids depend on nothing
// but the arguments: what differs from step to step (ids, positions, page tables, real lengths) is
// read from device memory when the kernel runs. So a step can be captured in a CUDA graph, one for
// each batch size.
//
// Letters are those of kernels.h; B slots of a step, one sequence each, of which some may be idle.
// A row of every result is computed from its own inputs by one sequence of operations, whatever the
// batch around it: no result depends on its neighbours, on B, or on how a prompt was cut in chunks.
// Products are the library's and promise less: see Linear.
#pragma once

#include <cstdint>
#include <memory>

#include "core/kernels/kernels.h"

struct CUstream_st;  // cudaStream_t without the CUDA headers

namespace vernier::kernels::device {

/// The upper half of an fp32 number; the bits of at::BFloat16.
struct Bf16 {
  uint16_t bits;
};

/// Whether this build has CUDA at all.
bool built();

// ---- Row by row -------------------------------------------------------------------------------
// The residual stream is fp32 in either type: it is read once a layer, and rounding it would cost
// more agreement with the trainer than its bytes are worth.

/// stream [rows, D] = table [V, D] at ids [rows].
template <class T>
void embedding(const T* table, const int32_t* ids, float* stream_rows, int64_t rows, int64_t width,
               CUstream_st* stream);

/// As kernels::rms_norm, of rows of the residual stream and without the inverse.
template <class T>
void rms_norm(const float* x, const T* w, T* y, int64_t rows, int64_t width, float eps,
              CUstream_st* stream);

/// stream += delta (null: nothing is added), then y = RMSNorm(stream) * w.
template <class T>
void add_rms_norm(float* stream_rows, const T* delta, const T* w, T* y, int64_t rows, int64_t width,
                  float eps, CUstream_st* stream);

/// stream += RMSNorm(delta) * w, then y = stream: the families that norm what a block gives.
template <class T>
void rms_norm_add(float* stream_rows, const T* delta, const T* w, T* y, int64_t rows, int64_t width,
                  float eps, CUstream_st* stream);

/// As kernels::swiglu.
template <class T>
void swiglu(const T* gate_up, T* y, int64_t rows, int64_t width, CUstream_st* stream);

/// As kernels::qk_norm, in place.
template <class T>
void qk_norm(T* qkv, const T* q_weight, const T* k_weight, const AttentionShape& shape, QkNorm kind,
             int64_t rows, float eps, CUstream_st* stream);

// ---- Products -----------------------------------------------------------------------------------

/// Products with weights, by cuBLASLt. Sums are fp32; fp32 numbers are multiplied as they are,
/// never rounded to TF32. A bias is added in the epilogue. Belongs to one stream: calls share a
/// workspace, which is taken when the object is made. A call takes no memory on the GPU and does
/// not wait.
///
/// Row counts fall into classes, up to 64, 256, 1024 and so on. The algorithm of a shape is chosen
/// once for a class, among those that sum the inner dimension in one piece (no split-K), and serves
/// all row counts of the class that it can. The same call then gives the same bits on the same kind
/// of GPU with the same cuBLAS. That a row does not depend on the number of rows within a class
/// follows from how these algorithms work, but NVIDIA does not promise it; over classes it need not
/// hold.
class Linear {
 public:
  Linear();
  ~Linear();
  Linear(const Linear&) = delete;
  Linear& operator=(const Linear&) = delete;

  /// y [rows, columns] = x [rows, inner] W^T + bias, W [columns, inner], bias [columns] or null.
  /// T and Y: both float, both Bf16, or Bf16 and float. Arrays begin at multiples of 16 bytes.
  template <class T, class Y>
  void operator()(const T* x, const T* w, const Y* bias, Y* y, int64_t rows, int64_t inner,
                  int64_t columns, CUstream_st* stream);

 private:
  struct Plans;
  std::unique_ptr<Plans> plans_;
};

// ---- The cache --------------------------------------------------------------------------------

/// One layer of a cache in pages of kKeyBlock tokens: page i begins at base + i * stride, with keys
/// [G][kKeyBlock][E] and behind them values [G][E][kKeyBlock]. Keys lie by token and values by
/// column because a tensor core takes both so, straight from memory, 16 bytes a lane. The layers of
/// a page follow each other, so a page is copied as one piece.
template <class T>
struct Pages {
  T* base = nullptr;
  int64_t stride = 0;  // numbers from one page to the next

  static int64_t numbers(const AttentionShape& shape) {
    return 2 * shape.kv_heads * shape.head_size * kKeyBlock;
  }
  /// Where dimension e of token t of a page lies, from the start of the page.
  static int64_t key_at(const AttentionShape& shape, int64_t kv_head, int64_t t, int64_t e) {
    return (kv_head * kKeyBlock + t) * shape.head_size + e;
  }
  static int64_t value_at(const AttentionShape& shape, int64_t kv_head, int64_t t, int64_t e) {
    return numbers(shape) / 2 + (kv_head * shape.head_size + e) * kKeyBlock + t;
  }
};

/// Which pages hold the tokens of each sequence, from 0 on: row s of pages [B, width].
struct PageTable {
  const int32_t* pages = nullptr;
  int64_t width = 0;
};

/// Page `from` becomes page `to`, in all layers. `base` is that of the first layer.
template <class T>
void copy_page(const Pages<T>& cache, int32_t from, int32_t to, CUstream_st* stream);

/// Rotates the queries of qkv [T, row] in place (kernels::rope) and writes rotated keys, and the
/// values, to their pages. Row t is the token at positions[t] (negative: nobody's, left alone) of
/// sequence sequences[t]; where `sequences` is null, of sequence t.
template <class T>
void rope_append(T* qkv, const int32_t* positions, const int32_t* sequences, const float* cosine,
                 const float* sine, const Pages<T>& cache, const PageTable& table,
                 const AttentionShape& shape, int64_t rows, CUstream_st* stream);

// ---- Attention over the cache -----------------------------------------------------------------
// A token sees the cache in pieces of kPiece tokens, counted from token 0 of its sequence. A piece
// is summed on its own, by one warp, in steps of 32 tokens; pieces are then joined by their
// log-sum-exp, in order. decode_attention spreads the pieces over the GPU, chunk_attention takes
// them in turn: the same numbers by the same operations, so the two agree bit for bit.
//
// With Bf16, products run on tensor cores with fp32 sums, and weights are rounded to bf16 before
// they multiply the values. The query heads of a key-value head are packed as rows of a tile of 16.
// Head sizes are 64, 80, 96 and 128; others raise DeviceError.

inline constexpr int64_t kPiece = 2 * kKeyBlock;

/// The pieces of a step of decoding, the same for all layers: those of slot s are
/// [starts[s], starts[s + 1]), and slots[i] is whose piece i is.
struct DecodePlan {
  int32_t* starts = nullptr;  // [B + 1]
  int32_t* slots = nullptr;   // [capacity]
  int64_t capacity = 0;       // decode_pieces(B, most tokens of a sequence)
};

inline constexpr int64_t decode_pieces(int64_t batch, int64_t tokens) {
  return batch * ((tokens + kPiece - 1) / kPiece);
}
/// Floats of the working memory of decode_attention.
inline constexpr int64_t decode_scratch(const AttentionShape& shape, int64_t pieces) {
  return pieces * shape.heads * (shape.head_size + 2);
}

/// Makes the plan for tokens at positions [B]; negative: an idle slot. B is at most 1024.
void plan_decode(const int32_t* positions, const DecodePlan& plan, int64_t batch,
                 CUstream_st* stream);

/// Row s of qkv [B, row] attends to the tokens of sequence s up to its own at positions[s], which
/// are all in the cache; out [B, H*E]. Rows of idle slots become 0.
template <class T>
void decode_attention(const T* qkv, const int32_t* positions, const Pages<T>& cache,
                      const PageTable& table, const DecodePlan& plan, float* scratch, T* out,
                      const AttentionShape& shape, int64_t batch, CUstream_st* stream);

/// Tokens [first, first + count) of a sequence (a row of the page table), in the rows
/// [row, row + count) of a pass.
struct ChunkSpan {
  int32_t sequence = 0, first = 0, count = 0, row = 0;
};

/// Every token of spans [num_spans] (some may have no tokens) attends to the tokens of its sequence
/// up to itself, which are all in the cache; out [rows, H*E]. The spans have at most `rows` tokens
/// together.
template <class T>
void chunk_attention(const T* qkv, const ChunkSpan* spans, int64_t num_spans, const Pages<T>& cache,
                     const PageTable& table, T* out, const AttentionShape& shape, int64_t rows,
                     CUstream_st* stream);

// ---- Drawing and moving on --------------------------------------------------------------------

/// How the token of a slot is drawn: SamplingParams, and a key of core/base/rng.h.
struct SlotSampling {
  double temperature = 1.0, top_p = 1.0, min_p = 0.0;
  int32_t top_k = 0;
  int32_t banned = -1;
  uint64_t key = 0;  // Rng::key()
};

/// out [count] = Rng::uniform(counters[i]) under keys[i]: the same numbers as on the host.
void uniform(const uint64_t* keys, const int32_t* counters, double* out, int64_t count,
             CUstream_st* stream);

/// Draws a token for every slot whose position is not negative from logits [B, V], with the random
/// number at counters[s]: ids [B], logprob [B] under softmax(logits / temperature) before any
/// filter, plain [B] under softmax(logits). Rules are those of sample_token (sample.h), NaN too.
///
/// It may differ from sample_token at three places. Weights are exp in fp32 rounded to multiples of
/// 2^-44 of the largest one and then summed exactly, so a draw within about 1e-7 of the boundary
/// between two tokens may take the other one, and a token below 3e-14 of the largest is never
/// drawn. top_k and top_p order tokens by logit in steps of 2^-16 of a nat, within a step by id.
template <class T>
void sample(const T* logits, const SlotSampling* slots, const int32_t* counters,
            const int32_t* positions, int32_t* ids, float* logprob, float* plain, int64_t batch,
            int64_t vocabulary, CUstream_st* stream);

enum class SlotStatus : int32_t {
  running = 0,
  stopped = 1,     // drew an end token
  length = 2,      // reached its limit
  no_room = 3,     // its pages are full; the host may give it more, and its position again
  not_finite = 4,  // the log-probability of its token is NaN
};

/// What a step knows of its slots; arrays [B] unless a shape is given. `position` is the place of
/// the token that the next step computes, negative for an idle slot.
struct StepState {
  int32_t* id = nullptr;        // that token
  int32_t* position = nullptr;  // its place in the sequence
  int32_t* count = nullptr;     // tokens drawn so far: the counter of the next draw
  SlotStatus* status = nullptr;
  const int32_t* limit = nullptr;  // tokens to draw at most
  const int32_t* room = nullptr;   // tokens that the pages of the slot hold
  int32_t* tokens = nullptr;       // [B, capacity] drawn; those past the capacity are not kept
  float* logprob = nullptr;        // [B, capacity]
  float* plain = nullptr;          // [B, capacity]
  int64_t capacity = 0;
  const int32_t* end_ids = nullptr;
  int64_t num_end_ids = 0;
  int32_t* running = nullptr;  // one number: slots that the next step computes
};

/// Appends what sample() drew to every slot that is not idle, and moves it to its next token or
/// makes it idle with the reason in its status. B is at most 1024.
void advance(const StepState& state, const int32_t* drawn, const float* logprob, const float* plain,
             int64_t batch, CUstream_st* stream);

/// A word of the slots' state that the host sets, or takes over from another place.
struct WordWrite {
  int32_t to = 0, value = 0;
};
struct WordCopy {
  int32_t to = 0, from = 0;
};

/// All copies, none of which reads what another one writes; then all writes.
void write_words(int32_t* words, const WordCopy* copies, int64_t num_copies,
                 const WordWrite* writes, int64_t num_writes, CUstream_st* stream);

}  // namespace vernier::kernels::device

namespace vernier::kernels::ref {

/// device::advance() on host memory.
void advance(const device::StepState& state, const int32_t* drawn, const float* logprob,
             const float* plain, int64_t batch);

/// device::write_words() on host memory.
void write_words(int32_t* words, const device::WordCopy* copies, int64_t num_copies,
                 const device::WordWrite* writes, int64_t num_writes);

}  // namespace vernier::kernels::ref
