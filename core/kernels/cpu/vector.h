// The vectors of the inner loops. VERNIER_LANES is the number of floats of one; vectors are the
// compiler's own (vector_size), so one text serves all instruction sets.
#pragma once

namespace vernier::kernels {
namespace {

constexpr long kLanes = VERNIER_LANES;
constexpr long kPanelWidth = 32;
constexpr long kVectors = kPanelWidth / kLanes;  // vectors of one panel row

typedef float Vec __attribute__((vector_size(4 * VERNIER_LANES), aligned(4), may_alias));
typedef int IntVec __attribute__((vector_size(4 * VERNIER_LANES), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
// x - 0 is x, and the compiler knows it; of 0 + x it would make an addition.
inline Vec all(float x) { return x - Vec{}; }

// The head of an array that fills no whole vector, with `fill` behind it.
inline Vec load_part(const float* p, long count, float fill) {
  float lane[kLanes];
  for (long i = 0; i < kLanes; ++i) lane[i] = i < count ? p[i] : fill;
  return load(lane);
}
inline void store_part(float* p, Vec v, long count) {
  float lane[kLanes];
  store(lane, v);
  for (long i = 0; i < count; ++i) p[i] = lane[i];
}

}  // namespace
}  // namespace vernier::kernels
