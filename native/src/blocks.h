// Elements as files have them, bit for bit as src/loaders/gguf/blocks.ts and rows.ts: how a block becomes
// f32, and, where a type has a group of 32 to a scale, how it becomes codes of ours.
#pragma once

#include <string.h>

#include "halves.h"
#include "tensor.h"

namespace dejavu {

using Bytes = const uint8_t*;

// Where a block's codes, scales and minima belong among rows of ours.
struct Places {
  uint8_t* codes;
  uint16_t* scales;
  uint16_t* minima;
};

struct FileType {
  const char* name;
  int64_t block, bytes;  // elements that are stored together, and what they take
  void (*decode)(Bytes from, int64_t blocks, float* into);
  // The type that holds the same, and how a block becomes part of a row of it; null: none does.
  void (*take)(Bytes from, const Places& to) = nullptr;
  DType taken_as = DType::f32;
};

inline uint16_t word(Bytes from) { return static_cast<uint16_t>(from[0] | (from[1] << 8)); }
inline double half(Bytes from) { return widen(word(from)); }
inline float single(double x) { return static_cast<float>(x); }

constexpr int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

// 32 codes of 4 bits: element i in the low half of byte i, element i + 16 in the high half.
template <class Each>
void nibbles(Bytes from, Each each) {
  for (int i = 0; i < 16; i++) each(i, from[i] & 15);
  for (int i = 0; i < 16; i++) each(i + 16, from[i] >> 4);
}

// The same with a fifth bit: that of element i is bit i of the four bytes at `high`.
template <class Each>
void fives(Bytes from, Bytes high, Each each) {
  uint32_t bits;
  memcpy(&bits, high, 4);
  nibbles(from, [&](int i, int code) { each(i, code | static_cast<int>((bits >> i) & 1) << 4); });
}

// Blocks one after another.
template <void (*block)(Bytes, float*), int64_t elements, int64_t bytes>
void all(Bytes from, int64_t blocks, float* into) {
  for (int64_t i = 0; i < blocks; i++) block(from + i * bytes, into + i * elements);
}

inline void decode_f32(Bytes from, float* into) { memcpy(into, from, 4); }
inline void decode_f16(Bytes from, float* into) { *into = widen(word(from)); }
inline void decode_bf16(Bytes from, float* into) {
  const uint32_t bits = static_cast<uint32_t>(word(from)) << 16;
  memcpy(into, &bits, 4);
}

inline void decode_q4_0(Bytes from, float* into) {
  const float step = widen(word(from));
  nibbles(from + 2, [&](int i, int code) { into[i] = static_cast<float>(code - 8) * step; });
}

inline void decode_q4_1(Bytes from, float* into) {
  const double step = half(from), least = half(from + 2);
  nibbles(from + 4, [&](int i, int code) { into[i] = single(code * step + least); });
}

inline void decode_q5_0(Bytes from, float* into) {
  const float step = widen(word(from));
  fives(from + 6, from + 2, [&](int i, int code) { into[i] = static_cast<float>(code - 16) * step; });
}

inline void decode_q5_1(Bytes from, float* into) {
  const double step = half(from), least = half(from + 2);
  fives(from + 8, from + 4, [&](int i, int code) { into[i] = single(code * step + least); });
}

inline void decode_q8_0(Bytes from, float* into) {
  const float step = widen(word(from));
  for (int i = 0; i < 32; i++) into[i] = static_cast<float>(static_cast<int8_t>(from[2 + i])) * step;
}

inline void decode_iq4_nl(Bytes from, float* into) {
  const float step = widen(word(from));
  nibbles(from + 2, [&](int i, int code) { into[i] = static_cast<float>(iq4_levels[code]) * step; });
}

// Scale (6 bits) of each 32 elements of an IQ4_XS block.
inline int iq4_xs_scale(Bytes from, int group) {
  const int low = (from[4 + (group >> 1)] >> (4 * (group & 1))) & 15;
  const int high = (from[2 + (group >> 2)] >> (2 * (group & 3))) & 3;
  return (low | (high << 4)) - 32;
}

inline void decode_iq4_xs(Bytes from, float* into) {
  for (int group = 0; group < 8; group++, into += 32) {
    const double scale = half(from) * iq4_xs_scale(from, group);
    nibbles(from + 8 + 16 * group, [&](int i, int code) { into[i] = single(iq4_levels[code] * scale); });
  }
}

// Of 256 elements 16 each share a scale and a minimum of 4 bits.
inline void decode_q2_k(Bytes from, float* into) {
  const double step = half(from + 80), least = half(from + 82);
  for (int group = 0; group < 16; group++, into += 16) {
    const double scale = step * (from[group] & 15), minimum = least * (from[group] >> 4);
    Bytes codes = from + 16 + 32 * (group >> 3) + 16 * (group & 1);
    const int shift = 2 * ((group >> 1) & 3);
    for (int i = 0; i < 16; i++) into[i] = single(scale * ((codes[i] >> shift) & 3) - minimum);
  }
}

// Of 256 elements 16 each share a scale of 6 bits; codes have two bits in one place, one in another.
inline void decode_q3_k(Bytes from, float* into) {
  const double step = half(from + 108);
  for (int group = 0; group < 16; group++, into += 16) {
    const int low = (from[96 + (group & 7)] >> (group < 8 ? 0 : 4)) & 15;
    const int high = (from[104 + (group & 3)] >> (2 * (group >> 2))) & 3;
    const double scale = step * ((low | (high << 4)) - 32);
    Bytes codes = from + 32 + 32 * (group >> 3) + 16 * (group & 1);
    Bytes third = from + 16 * (group & 1);
    const int shift = 2 * ((group >> 1) & 3), bit = group >> 1;
    for (int i = 0; i < 16; i++) {
      const int code = ((codes[i] >> shift) & 3) | (((third[i] >> bit) & 1) << 2);
      into[i] = single(scale * (code - 4));
    }
  }
}

// Scale and minimum, 6 bits each, of each 32 elements of a Q4_K or Q5_K block, packed in 12 bytes.
struct Pair {
  int scale, minimum;
};
inline Pair pair_of(Bytes from, int group) {
  if (group < 4) return {from[group] & 63, from[group + 4] & 63};
  const int both = from[group + 4];
  return {(both & 15) | ((from[group - 4] >> 6) << 4), (both >> 4) | ((from[group] >> 6) << 4)};
}

inline void decode_q4_k(Bytes from, float* into) {
  for (int group = 0; group < 8; group++, into += 32) {
    const auto [scale, minimum] = pair_of(from + 4, group);
    const double a = half(from) * scale, b = half(from + 2) * minimum;
    Bytes codes = from + 16 + 32 * (group >> 1);
    const int shift = 4 * (group & 1);
    for (int i = 0; i < 32; i++) into[i] = single(a * ((codes[i] >> shift) & 15) - b);
  }
}

inline void decode_q5_k(Bytes from, float* into) {
  for (int group = 0; group < 8; group++, into += 32) {
    const auto [scale, minimum] = pair_of(from + 4, group);
    const double a = half(from) * scale, b = half(from + 2) * minimum;
    Bytes codes = from + 48 + 32 * (group >> 1);
    const int shift = 4 * (group & 1);
    for (int i = 0; i < 32; i++) {
      const int fifth = (from[16 + i] >> group) & 1;
      into[i] = single(a * (((codes[i] >> shift) & 15) | (fifth << 4)) - b);
    }
  }
}

// Of 256 elements 16 each share a scale of 8 bits; codes have four bits in one place, two in another.
inline void decode_q6_k(Bytes from, float* into) {
  for (int group = 0; group < 16; group++, into += 16) {
    const double scale = half(from + 208) * static_cast<int8_t>(from[192 + group]);
    const int within = (group & 7) >> 1;
    Bytes low = from + 64 * (group >> 3) + 32 * (within & 1) + 16 * (group & 1);
    Bytes high = from + 128 + 32 * (group >> 3) + 16 * (group & 1);
    const int low_shift = 4 * (within >> 1), high_shift = 2 * within;
    for (int i = 0; i < 16; i++) {
      const int code = ((low[i] >> low_shift) & 15) | (((high[i] >> high_shift) & 3) << 4);
      into[i] = single(scale * (code - 32));
    }
  }
}

inline void take_q4_0(Bytes from, const Places& to) {
  *to.scales = word(from);
  memcpy(to.codes, from + 2, 16);
}

inline void take_q4_1(Bytes from, const Places& to) {
  *to.scales = word(from);
  *to.minima = word(from + 2);
  memcpy(to.codes, from + 4, 16);
}

inline void take_q4_k(Bytes from, const Places& to) {
  const double step = half(from), least = half(from + 2);
  for (int group = 0; group < 8; group++) {
    const auto [scale, minimum] = pair_of(from + 4, group);
    to.scales[group] = narrow(single(step * scale));
    to.minima[group] = narrow(single(-least * minimum));
    // Two groups lie in the halves of the same 32 bytes; each of ours in those of 16.
    const int shift = 4 * (group & 1);
    Bytes codes = from + 16 + 32 * (group >> 1);
    for (int i = 0; i < 16; i++)
      to.codes[16 * group + i] = static_cast<uint8_t>(((codes[i] >> shift) & 15) |
                                                      (((codes[i + 16] >> shift) & 15) << 4));
  }
}

inline void take_q8_0(Bytes from, const Places& to) {
  *to.scales = word(from);
  memcpy(to.codes, from + 2, 32);
}

inline void take_q5_0(Bytes from, const Places& to) {
  *to.scales = word(from);
  fives(from + 6, from + 2, [&](int i, int code) { to.codes[i] = static_cast<uint8_t>(code - 16); });
}

inline void take_iq4_nl(Bytes from, const Places& to) {
  *to.scales = word(from);
  nibbles(from + 2, [&](int i, int code) { to.codes[i] = static_cast<uint8_t>(iq4_levels[code]); });
}

inline void take_iq4_xs(Bytes from, const Places& to) {
  for (int group = 0; group < 8; group++) {
    to.scales[group] = narrow(single(half(from) * iq4_xs_scale(from, group)));
    nibbles(from + 8 + 16 * group, [&](int i, int code) {
      to.codes[32 * group + i] = static_cast<uint8_t>(iq4_levels[code]);
    });
  }
}

constexpr FileType file_types[] = {
    {"F32", 1, 4, all<decode_f32, 1, 4>},
    {"F16", 1, 2, all<decode_f16, 1, 2>},
    {"BF16", 1, 2, all<decode_bf16, 1, 2>},
    {"Q4_0", 32, 18, all<decode_q4_0, 32, 18>, take_q4_0, DType::int4},
    {"Q4_1", 32, 20, all<decode_q4_1, 32, 20>, take_q4_1, DType::int4z},
    {"Q5_0", 32, 22, all<decode_q5_0, 32, 22>, take_q5_0, DType::int8},
    {"Q5_1", 32, 24, all<decode_q5_1, 32, 24>},
    {"Q8_0", 32, 34, all<decode_q8_0, 32, 34>, take_q8_0, DType::int8},
    {"Q2_K", 256, 84, all<decode_q2_k, 256, 84>},
    {"Q3_K", 256, 110, all<decode_q3_k, 256, 110>},
    {"Q4_K", 256, 144, all<decode_q4_k, 256, 144>, take_q4_k, DType::int4z},
    {"Q5_K", 256, 176, all<decode_q5_k, 256, 176>},
    {"Q6_K", 256, 210, all<decode_q6_k, 256, 210>},
    {"IQ4_NL", 32, 18, all<decode_iq4_nl, 32, 18>, take_iq4_nl, DType::int8},
    {"IQ4_XS", 256, 136, all<decode_iq4_xs, 256, 136>, take_iq4_xs, DType::int8},
};

}  // namespace dejavu
