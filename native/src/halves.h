// f16 to f32 and back, bit for bit as src/float16.ts, on any processor.
#pragma once

#include <stdint.h>

#include <bit>

namespace dejavu {

inline float widen(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  if (magnitude >= 0x0f800000u)
    return std::bit_cast<float>(magnitude > 0x0f800000u ? 0x7fc00000u : sign | 0x7f800000u);
  const float tiny = std::bit_cast<float>(magnitude + 0x38800000u) - 0x1p-14f;
  const uint32_t bits =
      magnitude < 0x00800000u ? std::bit_cast<uint32_t>(tiny) : magnitude + 0x38000000u;
  return std::bit_cast<float>(sign | bits);
}

// The nearest, ties to even; beyond its range, infinity.
inline uint16_t narrow(float x) {
  const uint32_t word = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (word >> 16) & 0x8000u;
  const uint32_t magnitude = word & 0x7fffffffu;
  // Below the smallest normal f16: adding 0.5 aligns the wanted bits at the end of the fraction.
  const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1)) >> 13;
  const uint32_t finite = magnitude < 0x38800000u ? tiny : normal;
  const uint32_t beyond = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  return static_cast<uint16_t>(sign | (magnitude >= 0x47800000u ? beyond : finite));
}

}  // namespace dejavu
