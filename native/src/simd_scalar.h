// The SIMD layer in plain C++: what runs where nothing better is known, and what each function of a layer
// means. A layer for a processor has the same names over its own V, and may add Tiles or Quads (native/README.md).
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd_pairs.h"

namespace dejavu::scalar {

constexpr int W = 8;
struct V {
  float lane[W];
};
// A tile of dot products: rows of weights, activations. A tile of outer products: rows, vectors. Rows that
// linearTransposed adds at once.
constexpr int dot_rows = 2, dot_cols = 2;
constexpr int mul_rows = 2, mul_vecs = 1;
constexpr int rows_at_once = 4;
constexpr bool fast_f16 = false;

template <class F>
static inline V each(F f) {
  V out;
  for (int i = 0; i < W; i++) out.lane[i] = f(i);
  return out;
}

static inline V set(float x) {
  return each([=](int) { return x; });
}
static inline V zero() { return set(0); }
static inline V load(const float* p) {
  return each([=](int i) { return p[i]; });
}
// The first n, then zeros; nothing behind them is read.
static inline V load(const float* p, int64_t n) {
  return each([=](int i) { return i < n ? p[i] : 0; });
}
static inline void store(float* p, V v) { memcpy(p, v.lane, sizeof v.lane); }
static inline void store(float* p, V v, int64_t n) {
  memcpy(p, v.lane, static_cast<size_t>(n) * 4);
}

// f32 has a wider exponent: shift the bits into place and multiply by the difference of the biases.
static inline float from_f16(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu;
  uint32_t word = magnitude << 13;
  float value;
  memcpy(&value, &word, 4);
  value *= 0x1p112f;
  memcpy(&word, &value, 4);
  if (magnitude >= 0x7c00u) word |= 0x7f800000u;
  word |= static_cast<uint32_t>(half & 0x8000u) << 16;
  memcpy(&value, &word, 4);
  return value;
}
static inline V load_f16(const uint16_t* p, int64_t n = W) {
  return each([=](int i) { return i < n ? from_f16(p[i]) : 0; });
}
// W / times numbers, each in so many lanes: 2 or 4.
static inline V load_f16_each(const uint16_t* p, int times) {
  return each([=](int i) { return from_f16(p[i / times]); });
}
static inline V load_i8(const int8_t* p, int64_t n = W) {
  return each([=](int i) { return i < n ? static_cast<float>(p[i]) : 0; });
}

// The low, or the high, halves of W bytes, as -8 … 7.
static inline V load_i4(const uint8_t* p, bool high) {
  return each([=](int i) { return static_cast<float>((high ? p[i] >> 4 : p[i] & 15) - 8); });
}

// Codes of 2 bits from s on of the 32 in 8 bytes, as -1.5 … 1.5.
static inline V load_i2(const uint8_t* p, int s) {
  return each([=](int i) {
    return static_cast<float>(p[(s + i) % 8] >> (s + i) / 8 * 2 & 3) - 1.5f;
  });
}

static inline V add(V a, V b) {
  return each([&](int i) { return a.lane[i] + b.lane[i]; });
}
static inline V sub(V a, V b) {
  return each([&](int i) { return a.lane[i] - b.lane[i]; });
}
static inline V mul(V a, V b) {
  return each([&](int i) { return a.lane[i] * b.lane[i]; });
}
static inline V div(V a, V b) {
  return each([&](int i) { return a.lane[i] / b.lane[i]; });
}
static inline V fma(V a, V b, V c) {
  return each([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
// Whole numbers within the range of int8, as bytes.
static inline void store_i8(int8_t* p, V v) {
  for (int i = 0; i < W; i++) p[i] = static_cast<int8_t>(v.lane[i]);
}
// plus_i4(sum, term_i4(x), p, high) = sum + x · load_i4(p, high). A layer may put the 16 products into the term
// and look them up.
static inline V term_i4(float x) { return set(x); }
static inline V plus_i4(V sum, V term, const uint8_t* p, bool high) {
  return fma(load_i4(p, high), term, sum);
}
static inline V max(V a, V b) {
  return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
static inline V min(V a, V b) {
  return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
static inline V abs(V a) {
  return each([&](int i) { return fabsf(a.lane[i]); });
}
static inline V sqrt(V a) {
  return each([&](int i) { return sqrtf(a.lane[i]); });
}
static inline V round(V a) {
  return each([&](int i) { return rintf(a.lane[i]); });
}
// 2^n for whole n within the range of f32's normal numbers.
static inline V pow2(V n) {
  return each([&](int i) {
    const uint32_t word = static_cast<uint32_t>(static_cast<int32_t>(n.lane[i]) + 127) << 23;
    float value;
    memcpy(&value, &word, 4);
    return value;
  });
}
// a where x > 0, else b.
static inline V where_positive(V x, V a, V b) {
  return each([&](int i) { return x.lane[i] > 0 ? a.lane[i] : b.lane[i]; });
}
// A count, plus 1 in lanes with v > cut.
static inline V count_above(V count, V v, V cut) {
  return each([&](int i) { return count.lane[i] + (v.lane[i] > cut.lane[i] ? 1 : 0); });
}
static inline float sum(V a) {
  for (int step = W / 2; step; step /= 2)
    for (int i = 0; i < step; i++) a.lane[i] += a.lane[i + step];
  return a.lane[0];
}
static inline float peak(V a) {
  float top = a.lane[0];
  for (int i = 1; i < W; i++) top = a.lane[i] > top ? a.lane[i] : top;
  return top;
}
// The sums of W vectors, with the bits of `sum`.
static inline V sum_each(const V* rows) {
  float sums[W];
  for (int i = 0; i < W; i++) sums[i] = sum(rows[i]);
  return load(sums);
}

// Writes the places, from `base` on, of lanes with v > threshold; returns how many.
static inline int64_t keep_above(uint32_t* out, V v, V threshold, uint32_t base) {
  int64_t count = 0;
  for (uint32_t i = 0; i < W; i++)
    if (v.lane[i] > threshold.lane[i]) out[count++] = base + i;
  return count;
}

// Dot products of codes with activations rounded to int8. A block is some groups of 32 activations as `dot_…`
// wants them (`groups_…` of them); `dot_…` gives a vector whose lanes add up to the products of the block; each
// lane belongs to one group, and `spread_…` puts each group's scale into its lanes.
constexpr int groups_i2 = 1, groups_i4 = 1, groups_i8 = 1;
struct Block4 {
  int8_t codes[32];
};
using Block8 = Block4;
using Block2 = Block4;
static inline V spread_i4(const float* scales) { return set(*scales); }
static inline V spread_i8(const float* scales) { return set(*scales); }
static inline Block4 block_i4(const int8_t* x) {
  Block4 block;
  memcpy(block.codes, x, sizeof block.codes);
  return block;
}
static inline Block8 block_i8(const int8_t* x) { return block_i4(x); }
static inline V dot_i4(const uint8_t* w, const Block4& x) {
  int sums[W] = {};
  for (int i = 0; i < 16; i++)
    sums[i % W] += ((w[i] & 15) - 8) * x.codes[i] + ((w[i] >> 4) - 8) * x.codes[i + 16];
  return each([&](int i) { return static_cast<float>(sums[i]); });
}
static inline V spread_i2(const float* scales) { return set(*scales); }
static inline Block2 block_i2(const int8_t* x) { return block_i4(x); }
// Twice the codes less 1.5, times x.
static inline V dot_i2(const uint8_t* w, const Block2& x) {
  int sums[W] = {};
  for (int i = 0; i < 32; i++) sums[i % W] += (2 * (w[i % 8] >> i / 8 * 2 & 3) - 3) * x.codes[i];
  return each([&](int i) { return static_cast<float>(sums[i]); });
}
static inline V dot_i8(const int8_t* w, const Block4& x) {
  int sums[W] = {};
  for (int i = 0; i < 32; i++) sums[i % W] += w[i] * x.codes[i];
  return each([&](int i) { return static_cast<float>(sums[i]); });
}

// sums [32] += the codes of R rows times their factors. `meanwhile(i)` is called for i of 0 … 3, in between.
template <int R, class F>
static inline void add_codes(int32_t* sums, const uint8_t* const* w, const int32_t* factors,
                             F meanwhile) {
  for (int r = 0; r < R; r++) {
    if (r * 4 % R == 0) meanwhile(r * 4 / R);
    const int16_t factor = factor_of(factors, r);
    for (int i = 0; i < 16; i++) {
      sums[i] += (w[r][i] & 15) * factor;
      sums[i + 16] += (w[r][i] >> 4) * factor;
    }
  }
}

}  // namespace dejavu::scalar
