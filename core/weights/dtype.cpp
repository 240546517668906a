// Names of value types, and the two half types.
#include <algorithm>
#include <bit>
#include <cmath>

#include "core/base/errors.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

// Drops the low `bits` of `value`, rounding to nearest and ties to even.
uint32_t round_shift(uint32_t value, uint32_t bits) {
  const uint32_t half = uint32_t{1} << (bits - 1);
  const uint32_t odd = (value >> bits) & 1;
  return (value + half - 1 + odd) >> bits;
}

}  // namespace

const char* name_of(DType type) {
  switch (type) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::q4_0:
      return "Q4_0";
    case DType::q4_1:
      return "Q4_1";
    case DType::q5_0:
      return "Q5_0";
    case DType::q5_1:
      return "Q5_1";
    case DType::q8_0:
      return "Q8_0";
    case DType::q4_k:
      return "Q4_K";
    case DType::q5_k:
      return "Q5_K";
    case DType::q6_k:
      return "Q6_K";
    case DType::u8:
      return "U8";
  }
  ensure(false, "a known value type");
  return "";
}

int64_t TensorInfo::numel() const {
  int64_t product = 1;  // fits: whoever made this checked the product against the file
  for (const int64_t size : shape) product *= size;
  return product;
}

float from_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t magnitude = bits & 0x7FFF;
  if (magnitude >= 0x7C00)  // infinity or NaN
    return std::bit_cast<float>(sign | 0x7F800000 | (magnitude << 13));
  if (magnitude >= 0x0400)  // the exponent's bias grows from 15 to 127
    return std::bit_cast<float>(sign | ((magnitude << 13) + (uint32_t{112} << 23)));
  const float value = static_cast<float>(magnitude) * 0x1p-24f;  // zero and denormals
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000)  // NaN: stays one, made quiet
    return static_cast<uint16_t>(sign | 0x7E00 | ((magnitude >> 13) & 0x03FF));
  if (magnitude >= 0x477FF000)  // 65520 and more round to infinity
    return static_cast<uint16_t>(sign | 0x7C00);
  if (magnitude >= 0x38800000)  // 2^-14 and more; a carry into the exponent is right
    return static_cast<uint16_t>(sign | round_shift(magnitude - (uint32_t{112} << 23), 13));
  if (magnitude <= 0x33000000)  // up to 2^-25, a tie with zero
    return static_cast<uint16_t>(sign);
  const uint32_t exponent = magnitude >> 23;  // 102 to 112
  const uint32_t mantissa = (magnitude & 0x007FFFFF) | 0x00800000;
  return static_cast<uint16_t>(sign | round_shift(mantissa, 126 - exponent));
}

uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000)  // NaN: rounding could carry it into infinity
    return static_cast<uint16_t>((bits >> 16) | 0x0040);
  return static_cast<uint16_t>(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF);
}

void to_halves(const float* values, int64_t count, DType type, uint16_t* out) {
  ensure(type == DType::f16 || type == DType::bf16, "a type of 16 bits");
  std::transform(values, values + count, out, type == DType::f16 ? to_f16 : to_bf16);
  const auto infinity = static_cast<uint16_t>(type == DType::f16 ? 0x7C00 : 0x7F80);
  for (int64_t i = 0; i < count; ++i)
    if ((out[i] & 0x7FFF) == infinity && std::isfinite(values[i]))
      fail("the value ", values[i], " is beyond what ", name_of(type), " holds");
}

}  // namespace vernier
