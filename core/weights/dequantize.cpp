#include "core/weights/dequantize.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/errors.h"

namespace vernier {
namespace {

using Bytes = const uint8_t*;

uint16_t read_u16(Bytes in) { return static_cast<uint16_t>(in[0] | (in[1] << 8)); }
uint32_t read_u32(Bytes in) {
  return read_u16(in) | (static_cast<uint32_t>(read_u16(in + 2)) << 16);
}
float read_half(Bytes in) { return from_f16(read_u16(in)); }
float signed_byte(uint8_t bits) { return static_cast<float>(static_cast<int8_t>(bits)); }

// Plain types: loops without a call or a branch, which the compiler makes into vectors. They equal
// from_f16() and from_bf16() bit for bit.
void read_f32(Bytes in, int64_t numel, float* out) {
  std::memcpy(out, in, static_cast<size_t>(numel) * sizeof(float));
}

void read_bf16(Bytes in, int64_t numel, float* out) {
  for (int64_t i = 0; i < numel; ++i) {
    uint16_t bits;
    std::memcpy(&bits, in + 2 * i, sizeof bits);
    out[i] = std::bit_cast<float>(uint32_t{bits} << 16);
  }
}

void read_f16(Bytes in, int64_t numel, float* out) {
  for (int64_t i = 0; i < numel; ++i) {
    uint16_t bits;
    std::memcpy(&bits, in + 2 * i, sizeof bits);
    const uint32_t magnitude = bits & 0x7FFFu;
    // The exponent's bias grows by 112, of numbers below the normal ones too.
    const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
    const uint32_t special = magnitude >= 0x7C00 ? 0x7F800000 : 0;  // infinity, NaN
    out[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special |
                                  (static_cast<uint32_t>(bits & 0x8000) << 16));
  }
}

// 32 values in 18 bytes: half d; 16 bytes of nibbles, value i low and value i + 16 high in byte i.
//   x = d (q - 8)
void q4_0(Bytes in, float* out) {
  const float d = read_half(in);
  for (int i = 0; i < 16; ++i) {
    const int packed = in[2 + i];
    out[i] = d * static_cast<float>((packed & 15) - 8);
    out[i + 16] = d * static_cast<float>((packed >> 4) - 8);
  }
}

// 32 values in 20 bytes: half d, half m; nibbles as above.
//   x = d q + m
void q4_1(Bytes in, float* out) {
  const float d = read_half(in);
  const float m = read_half(in + 2);
  for (int i = 0; i < 16; ++i) {
    const int packed = in[4 + i];
    out[i] = d * static_cast<float>(packed & 15) + m;
    out[i + 16] = d * static_cast<float>(packed >> 4) + m;
  }
}

// 32 values in 22 bytes: half d; 32 fifth bits, value i in bit i; nibbles as above.
//   x = d (q - 16)
void q5_0(Bytes in, float* out) {
  const float d = read_half(in);
  const uint32_t high = read_u32(in + 2);
  for (uint32_t i = 0; i < 16; ++i) {
    const uint32_t packed = in[6 + i];
    const uint32_t low_q = (packed & 15) | ((high >> i & 1) << 4);
    const uint32_t high_q = (packed >> 4) | ((high >> (i + 16) & 1) << 4);
    out[i] = d * static_cast<float>(static_cast<int>(low_q) - 16);
    out[i + 16] = d * static_cast<float>(static_cast<int>(high_q) - 16);
  }
}

// 32 values in 24 bytes: half d, half m; fifth bits and nibbles as above.
//   x = d q + m
void q5_1(Bytes in, float* out) {
  const float d = read_half(in);
  const float m = read_half(in + 2);
  const uint32_t high = read_u32(in + 4);
  for (uint32_t i = 0; i < 16; ++i) {
    const uint32_t packed = in[8 + i];
    out[i] = d * static_cast<float>((packed & 15) | ((high >> i & 1) << 4)) + m;
    out[i + 16] = d * static_cast<float>((packed >> 4) | ((high >> (i + 16) & 1) << 4)) + m;
  }
}

// 32 values in 34 bytes: half d; 32 signed bytes.
//   x = d q
void q8_0(Bytes in, float* out) {
  const float d = read_half(in);
  for (int i = 0; i < 32; ++i) out[i] = d * signed_byte(in[2 + i]);
}

struct ScaleAndMin {
  float scale, min;
};

// Eight 6-bit scales and eight 6-bit minima in 12 bytes. The first four of each lie in the low six
// bits of bytes 0-3 and 4-7. Of the last four, bytes 8-11 hold the low nibbles (scale low, minimum
// high) and the two top bits of bytes 0-3 and 4-7 the rest.
ScaleAndMin k_scale(Bytes packed, int j) {
  if (j < 4) return {static_cast<float>(packed[j] & 63), static_cast<float>(packed[j + 4] & 63)};
  return {static_cast<float>((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4)),
          static_cast<float>((packed[j + 4] >> 4) | (packed[j] >> 6 << 4))};
}

// 256 values in 144 bytes: half d, half dmin; scales; nibbles. Sub-blocks of 32 values; each run of
// 32 bytes holds an even one in its low nibbles and the next one in its high nibbles.
//   x = d scale q - dmin min
void q4_k(Bytes in, float* out) {
  const float d = read_half(in);
  const float dmin = read_half(in + 2);
  const Bytes nibbles = in + 16;
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleAndMin k = k_scale(in + 4, sub);
    const float scale = d * k.scale;
    const float min = dmin * k.min;
    const Bytes run = nibbles + sub / 2 * 32;
    const int shift = sub % 2 * 4;
    for (int i = 0; i < 32; ++i)
      out[sub * 32 + i] = scale * static_cast<float>((run[i] >> shift) & 15) - min;
  }
}

// 256 values in 176 bytes: as Q4_K, with 32 bytes of fifth bits between scales and nibbles: bit s
// of byte i is that of value i of sub-block s.
void q5_k(Bytes in, float* out) {
  const float d = read_half(in);
  const float dmin = read_half(in + 2);
  const Bytes fifth = in + 16;
  const Bytes nibbles = in + 48;
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleAndMin k = k_scale(in + 4, sub);
    const float scale = d * k.scale;
    const float min = dmin * k.min;
    const Bytes run = nibbles + sub / 2 * 32;
    const int shift = sub % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int q = ((run[i] >> shift) & 15) | ((fifth[i] >> sub & 1) << 4);
      out[sub * 32 + i] = scale * static_cast<float>(q) - min;
    }
  }
}

// 256 values in 210 bytes: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales
// (one for 16 values), half d. Each half of the block has four quarters of 32 values: quarters 0
// and 1 in the low nibbles of its 64 bytes, 2 and 3 in the high ones; the bits 2k, 2k + 1 of high
// byte i belong to value i of quarter k.
//   x = d scale (q - 32)
void q6_k(Bytes in, float* out) {
  const float d = read_half(in + 208);
  for (int half = 0; half < 2; ++half) {
    const Bytes low = in + half * 64;
    const Bytes high = in + 128 + half * 32;
    const Bytes scales = in + 192 + half * 8;
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int i = 0; i < 32; ++i) {
        const int nibble = (low[quarter % 2 * 32 + i] >> (quarter / 2 * 4)) & 15;
        const int q = nibble | ((high[i] >> (2 * quarter) & 3) << 4);
        const float scale = d * signed_byte(scales[quarter * 2 + i / 16]);
        out[half * 128 + quarter * 32 + i] = scale * static_cast<float>(q - 32);
      }
    }
  }
}

// The loop over blocks, made once a type so that the block's function is inlined.
template <void (*kBlock)(Bytes, float*), int64_t kValues, int64_t kBytes>
void read_blocks(Bytes in, int64_t numel, float* out) {
  for (int64_t done = 0; done < numel; done += kValues, in += kBytes) kBlock(in, out + done);
}

struct Format {
  BlockSize size;
  void (*read)(Bytes in, int64_t numel, float* out);
};

template <void (*kBlock)(Bytes, float*), int64_t kValues, int64_t kBytes>
Format format() {
  return {{kValues, kBytes}, read_blocks<kBlock, kValues, kBytes>};
}

Format format_of(DType type) {
  switch (type) {
    case DType::f32:
      return {{1, 4}, read_f32};
    case DType::f16:
      return {{1, 2}, read_f16};
    case DType::bf16:
      return {{1, 2}, read_bf16};
    case DType::q4_0:
      return format<q4_0, 32, 18>();
    case DType::q4_1:
      return format<q4_1, 32, 20>();
    case DType::q5_0:
      return format<q5_0, 32, 22>();
    case DType::q5_1:
      return format<q5_1, 32, 24>();
    case DType::q8_0:
      return format<q8_0, 32, 34>();
    case DType::q4_k:
      return format<q4_k, 256, 144>();
    case DType::q5_k:
      return format<q5_k, 256, 176>();
    case DType::q6_k:
      return format<q6_k, 256, 210>();
    case DType::u8:
      return {{1, 1}, [](Bytes in, int64_t numel, float* out) { std::copy_n(in, numel, out); }};
  }
  ensure(false, "a known value type");
  return {};
}

}  // namespace

BlockSize block_size(DType type) { return format_of(type).size; }

void dequantize(DType type, const std::byte* in, int64_t numel, float* out) {
  const Format format = format_of(type);
  ensure(numel % format.size.values == 0, "whole blocks");
  if (numel == 0) return;  // `out` may be null
  format.read(reinterpret_cast<Bytes>(in), numel, out);
}

}  // namespace vernier
