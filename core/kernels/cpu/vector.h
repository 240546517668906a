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

inline Vec max_of(Vec a, Vec b) { return a > b ? a : b; }

// Lanes are added in one fixed tree.
inline float sum_of(Vec v) {
  float lane[kLanes];
  store(lane, v);
  for (long width = kLanes / 2; width > 0; width /= 2)
    for (long i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}

// e^x within 2 ulp for x <= 0 and for x up to 88; 0 below -87. Cody-Waite reduction, then the
// minimax polynomial of degree 6 on [-ln2/2, ln2/2].
inline Vec exp_of(Vec x) {
  const Vec low = all(-87.3f), high = all(88.7f);
  const Vec clamped = x < low ? low : (x > high ? high : x);
  const Vec shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec rounded = clamped * 1.44269504088896341f + shift;
  const Vec n = rounded - shift;
  Vec r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVec exponent =
      (reinterpret_cast<const IntVec&>(rounded) - reinterpret_cast<const IntVec&>(shift) + 127)
      << 23;
  const Vec power = reinterpret_cast<const Vec&>(exponent);
  const Vec result = p * power;
  const Vec kept = x < low ? all(0.0f) : result;
  return x != x ? x : kept;  // NaN stays NaN
}

}  // namespace
}  // namespace vernier::kernels
