// Drawing a token from each row of logits: a block a row.
//
// Passes over the row: the maximum; for a filter, a histogram of the upper half of the depths and
// one of the lower half inside the bin where the threshold falls (a radix selection of two digits);
// the sums; and a search for the drawn token, which looks at a 32nd of the row, then at a 32nd of
// that, until one is left.
#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/cuda/random.cuh"
#include "core/kernels/cuda/row.cuh"
#include "core/kernels/cuda/search.cuh"
#include "core/kernels/device.h"

namespace vernier::kernels::device {
namespace {

constexpr int kThreads = 1024;
constexpr int kLowBits = 10, kLowBins = 1 << kLowBits, kHighBins = kDepths >> kLowBits;
constexpr int64_t kMostTokens = 1 << 19;  // so that a sum of weights stays below 2^64

struct Shared {
  uint64_t sums[kThreads / kWarp], scratch[kThreads / kWarp];
  uint64_t weight[kHighBins];
  uint32_t count[kHighBins];
};

/// Of the tokens in order of depth, then id: all above `depth`, and `ties` of the `of` at it.
struct Threshold {
  int depth = kDepths;
  uint32_t ties = 0, of = 0;
  uint64_t weight = 0;  // of what is kept
};

__device__ bool cuts_more(const Threshold& a, const Threshold& b) {
  return a.depth != b.depth ? a.depth < b.depth : a.ties < b.ties;
}

template <class T>
class Filter {
 public:
  __device__ Filter(const LogitRow<T>& row, Shared& shared)
      : row_(row), shared_(shared), search_(shared.sums) {}

  /// The most probable `k`.
  __device__ Threshold top_k(uint64_t k) {
    const auto count = [this](int bin) { return uint64_t{shared_.count[bin]}; };
    histogram(-1);
    if (search_.total(0, kHighBins, count) <= k - 1)
      return {.weight = search_.total(0, kHighBins, weight())};
    Threshold found = select(k - 1, count);
    found.ties = static_cast<uint32_t>(rest_) + 1;
    return with_weight(found);
  }

  /// The fewest that weigh `share` of `total`.
  __device__ Threshold top_p(double share, uint64_t total) {
    const uint64_t wanted = __double2ull_ru(share * static_cast<double>(total));
    histogram(-1);
    Threshold found = select(wanted > 0 ? wanted - 1 : 0, weight());
    const uint64_t each = shared_.weight[found.depth % kLowBins] / found.of;
    found.ties = each == 0 ? found.of : min(found.of, static_cast<uint32_t>(rest_ / each) + 1);
    return with_weight(found);
  }

  /// The id of the last token at the threshold that is kept.
  __device__ int last_kept(const Threshold& at) {
    if (at.ties == at.of) return row_.vocabulary - 1;
    const auto tie = [&](int id) { return uint64_t{row_.depth(id) == at.depth}; };
    return search_(row_.vocabulary, at.ties - 1, tie).index;
  }

 private:
  __device__ auto weight() {
    return [this](int bin) { return shared_.weight[bin]; };
  }

  // Counts and weights of the upper digit of all depths, or of the lower one of those whose upper
  // one is `high`.
  __device__ void histogram(int high) {
    __syncthreads();
    for (int bin = threadIdx.x; bin < kHighBins; bin += kThreads) {
      shared_.count[bin] = 0;
      shared_.weight[bin] = 0;
    }
    __syncthreads();
    for (int id = threadIdx.x; id < row_.vocabulary; id += kThreads) {
      const int depth = row_.depth(id);
      if (depth == kDepths || (high >= 0 && depth / kLowBins != high)) continue;
      const int bin = high < 0 ? depth / kLowBins : depth % kLowBins;
      atomicAdd(&shared_.count[bin], 1U);
      atomicAdd(reinterpret_cast<unsigned long long*>(&shared_.weight[bin]),
                static_cast<unsigned long long>(row_.weight(id)));
    }
    __syncthreads();
  }

  // The depth at which the running sum of `value` exceeds `target`. Leaves the histogram of the
  // lower digit, what is above it and what is left of the target.
  template <class Value>
  __device__ Threshold select(uint64_t target, const Value& value) {
    const Place high = search_(kHighBins, target, value);
    above_ = search_.total(0, high.index, weight());
    histogram(high.index);
    const Place low = search_(kLowBins, high.rest, value);
    above_ += search_.total(0, low.index, weight());
    rest_ = low.rest;
    return {.depth = high.index * kLowBins + low.index, .of = shared_.count[low.index]};
  }

  __device__ Threshold with_weight(Threshold at) {
    const uint64_t all = shared_.weight[at.depth % kLowBins];
    at.weight = above_ + (at.ties == at.of ? all : all / at.of * at.ties);
    return at;
  }

  const LogitRow<T>& row_;
  Shared& shared_;
  Search<kThreads> search_;
  uint64_t above_ = 0, rest_ = 0;
};

// What is left of a row to draw from.
struct Kept {
  int depth = kDepths + 1, last = 0;  // all above this depth, and at it those up to id `last`
  uint64_t least = 0;                 // weight, by min_p

  template <class T>
  __device__ uint64_t weight(const LogitRow<T>& row, int id) const {
    const uint64_t weight = row.weight(id);
    if (weight < least) return 0;
    if (depth > kDepths) return weight;
    const int own = row.depth(id);
    return own < depth || (own == depth && id <= last) ? weight : 0;
  }
};

template <class T>
__device__ Kept filtered(const LogitRow<T>& row, const SlotSampling& slot, Shared& shared) {
  Kept kept;
  kept.least = __double2ull_ru(slot.min_p * kUnits);
  if (slot.top_k <= 0 && slot.top_p >= 1.0) return kept;
  Filter<T> filter(row, shared);
  // With k at least the vocabulary this keeps all, and says what they weigh.
  Threshold at = filter.top_k(slot.top_k > 0 ? slot.top_k : row.vocabulary);
  if (slot.top_p < 1.0) {
    const Threshold other = filter.top_p(slot.top_p, at.weight);
    if (cuts_more(other, at)) at = other;
  }
  kept.depth = at.depth;
  kept.last = filter.last_kept(at);
  return kept;
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    sample_kernel(const T* logits, const SlotSampling* slots, const int32_t* counters,
                  const int32_t* positions, int32_t* ids, float* logprob, float* plain,
                  int vocabulary) {
  __shared__ Shared shared;
  if (positions[blockIdx.x] < 0) return;
  const SlotSampling slot = slots[blockIdx.x];
  const bool greedy = slot.temperature == 0;
  LogitRow<T> row{.logits = logits + int64_t{blockIdx.x} * vocabulary,
                  .vocabulary = vocabulary,
                  .banned = slot.banned,
                  .top = 0,
                  .scale = greedy ? 1.0f : static_cast<float>(1.0 / slot.temperature)};
  uint64_t most = 0;
  for (int id = threadIdx.x; id < vocabulary; id += kThreads)
    most = Max::join(most, ordered_logit(row, id));
  most = over_block<Max, kThreads>(most, shared.scratch);
  row.top = logit_of(most);
  int drawn = most == 0 ? (slot.banned == 0 ? 1 : 0) : id_of(most);
  uint64_t sum = 0, plain_sum = 0;
  const bool is_finite = isfinite(row.top);
  if (is_finite) {
    const Kept kept = greedy ? Kept{} : filtered(row, slot, shared);
    Search<kThreads> search(shared.sums);
    const uint64_t total = search.total(0, vocabulary, [&](int id) {
      sum += row.weight(id);
      plain_sum += row.weight(id, 1.0f);
      return kept.weight(row, id);
    });
    sum = over_block<Sum, kThreads>(sum, shared.scratch);
    plain_sum = over_block<Sum, kThreads>(plain_sum, shared.scratch);
    if (!greedy) {
      const uint64_t target =
          random_below(slot.key, static_cast<uint32_t>(counters[blockIdx.x]), total);
      drawn = search.after_total(vocabulary, target, [&](int id) { return kept.weight(row, id); })
                  .index;
    }
  }
  if (threadIdx.x != 0) return;
  ids[blockIdx.x] = drawn;
  logprob[blockIdx.x] = is_finite ? row.log_probability(drawn, row.scale, sum) : NAN;
  plain[blockIdx.x] = is_finite ? row.log_probability(drawn, 1.0f, plain_sum) : NAN;
}

__global__ void uniform_kernel(const uint64_t* keys, const int32_t* counters, double* out,
                               int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (i < count) out[i] = random_uniform(keys[i], static_cast<uint32_t>(counters[i]));
}

}  // namespace

void uniform(const uint64_t* keys, const int32_t* counters, double* out, int64_t count,
             cudaStream_t stream) {
  launch("uniform", {count}, uniform_kernel, (count + kBlock - 1) / kBlock, kBlock, stream, keys,
         counters, out, count);
}

template <class T>
void sample(const T* logits, const SlotSampling* slots, const int32_t* counters,
            const int32_t* positions, int32_t* ids, float* logprob, float* plain, int64_t batch,
            int64_t vocabulary, cudaStream_t stream) {
  if (vocabulary > kMostTokens)
    throw DeviceError(cat("sample: a vocabulary of ", vocabulary, "; at most ", kMostTokens));
  launch("sample", {batch, vocabulary}, sample_kernel<T>, batch, kThreads, stream, logits, slots,
         counters, positions, ids, logprob, plain, vocabulary);
}

template void sample(const float*, const SlotSampling*, const int32_t*, const int32_t*, int32_t*,
                     float*, float*, int64_t, int64_t, cudaStream_t);
template void sample(const Bf16*, const SlotSampling*, const int32_t*, const int32_t*, int32_t*,
                     float*, float*, int64_t, int64_t, cudaStream_t);

}  // namespace vernier::kernels::device
