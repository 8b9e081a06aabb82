// The SIMD layer over NEON on aarch64.
#pragma once

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "simd_pairs.h"

namespace dejavu::neon {

using V = float32x4_t;
constexpr int W = 4;
constexpr int dot_rows = 4, dot_cols = 6;
constexpr int mul_rows = 6, mul_vecs = 4;
constexpr int rows_at_once = 8;
constexpr bool fast_f16 = true;

static inline V zero() { return vdupq_n_f32(0); }
static inline V set(float x) { return vdupq_n_f32(x); }
static inline V load(const float* p) { return vld1q_f32(p); }
static inline V load(const float* p, int64_t n) {
  float lanes[W] = {};
  memcpy(lanes, p, static_cast<size_t>(n) * 4);
  return load(lanes);
}
static inline void store(float* p, V v) { vst1q_f32(p, v); }
static inline void store(float* p, V v, int64_t n) {
  float lanes[W];
  store(lanes, v);
  memcpy(p, lanes, static_cast<size_t>(n) * 4);
}

static inline V load_f16(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline V load_f16(const uint16_t* p, int64_t n) {
  uint16_t lanes[W] = {};
  memcpy(lanes, p, static_cast<size_t>(n) * 2);
  return load_f16(lanes);
}
// W / times numbers, each in so many lanes: 2 or 4.
static inline V load_f16_each(const uint16_t* p, int times) {
  uint16_t lanes[W];
  for (int i = 0; i < W; i++) lanes[i] = p[i / times];
  return load_f16(lanes);
}
static inline V load_i8(const int8_t* p, int64_t n = W) {
  int8_t lanes[8] = {};
  memcpy(lanes, p, static_cast<size_t>(n));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(lanes)))));
}

static inline V load_i4(const uint8_t* p, bool high) {
  int8_t codes[W];
  for (int i = 0; i < W; i++) codes[i] = static_cast<int8_t>((high ? p[i] >> 4 : p[i] & 15) - 8);
  return load_i8(codes);
}

// Codes of 2 bits from s on of the 32 in 8 bytes, as -1.5 … 1.5.
static inline V load_i2(const uint8_t* p, int s) {
  int8_t codes[W];
  for (int i = 0; i < W; i++) codes[i] = static_cast<int8_t>(p[s % 8 + i] >> s / 8 * 2 & 3);
  return vsubq_f32(load_i8(codes), vdupq_n_f32(1.5f));
}

static inline V add(V a, V b) { return vaddq_f32(a, b); }
static inline V sub(V a, V b) { return vsubq_f32(a, b); }
static inline V mul(V a, V b) { return vmulq_f32(a, b); }
static inline V div(V a, V b) { return vdivq_f32(a, b); }
static inline V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
// Whole numbers within the range of int8, as bytes.
static inline void store_i8(int8_t* p, V v) {
  float lanes[W];
  store(lanes, v);
  for (int i = 0; i < W; i++) p[i] = static_cast<int8_t>(lanes[i]);
}
static inline V term_i4(float x) { return set(x); }
static inline V plus_i4(V sum, V term, const uint8_t* p, bool high) {
  return fma(load_i4(p, high), term, sum);
}
static inline V max(V a, V b) { return vmaxq_f32(a, b); }
static inline V min(V a, V b) { return vminq_f32(a, b); }
static inline V abs(V a) { return vabsq_f32(a); }
static inline V sqrt(V a) { return vsqrtq_f32(a); }
static inline V round(V a) { return vrndnq_f32(a); }
static inline V pow2(V n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
static inline V where_positive(V x, V a, V b) { return vbslq_f32(vcgtq_f32(x, zero()), a, b); }
// A count, plus 1 in lanes with v > cut.
static inline V count_above(V count, V v, V cut) {
  return add(count, vbslq_f32(vcgtq_f32(v, cut), set(1), zero()));
}
static inline float sum(V a) { return vaddvq_f32(a); }
static inline float peak(V a) { return vmaxvq_f32(a); }
static inline V sum_each(const V* rows) {
  float sums[W];
  for (int i = 0; i < W; i++) sums[i] = sum(rows[i]);
  return load(sums);
}

static inline int64_t keep_above(uint32_t* out, V v, V threshold, uint32_t base) {
  uint32_t chosen[W];
  vst1q_u32(chosen, vcgtq_f32(v, threshold));
  int64_t count = 0;
  for (uint32_t i = 0; i < W; i++)
    if (chosen[i]) out[count++] = base + i;
  return count;
}

constexpr int groups_i2 = 1, groups_i4 = 1, groups_i8 = 1;
struct Block4 {
  int8x16_t low, high;
};
using Block8 = Block4;
using Block2 = Block4;
static inline V spread_i4(const float* scales) { return set(*scales); }
static inline V spread_i8(const float* scales) { return set(*scales); }
static inline Block4 block_i4(const int8_t* x) { return {vld1q_s8(x), vld1q_s8(x + 16)}; }
static inline Block8 block_i8(const int8_t* x) { return block_i4(x); }
static inline int32x4_t plus_products(int32x4_t sum, int8x16_t a, int8x16_t b) {
  sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
  return vpadalq_s16(sum, vmull_s8(vget_high_s8(a), vget_high_s8(b)));
}
static inline V dots_of(int8x16_t low, int8x16_t high, const Block4& x) {
  return vcvtq_f32_s32(plus_products(plus_products(vdupq_n_s32(0), low, x.low), high, x.high));
}
static inline V dot_i4(const uint8_t* w, const Block4& x) {
  const uint8x16_t bytes = vld1q_u8(w);
  const int8x16_t eight = vdupq_n_s8(8);
  return dots_of(vsubq_s8(vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15))), eight),
                 vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)), eight), x);
}
static inline V spread_i2(const float* scales) { return set(*scales); }
static inline Block2 block_i2(const int8_t* x) { return block_i4(x); }
// Twice the codes less 1.5, times x.
static inline V dot_i2(const uint8_t* w, const Block2& x) {
  const uint8x8_t bytes = vld1_u8(w);
  const auto centred = [](uint8x8_t a, uint8x8_t b) {
    const uint8x16_t codes = vandq_u8(vcombine_u8(a, b), vdupq_n_u8(3));
    return vsubq_s8(vreinterpretq_s8_u8(vshlq_n_u8(codes, 1)), vdupq_n_s8(3));
  };
  return dots_of(centred(bytes, vshr_n_u8(bytes, 2)),
                 centred(vshr_n_u8(bytes, 4), vshr_n_u8(bytes, 6)), x);
}
static inline V dot_i8(const int8_t* w, const Block4& x) {
  return dots_of(vld1q_s8(w), vld1q_s8(w + 16), x);
}

// sums [32] += the codes of R rows times their factors. `meanwhile(i)` is called for i of 0 … 3, in between.
template <int R, class F>
static inline void add_codes(int32_t* sums, const uint8_t* const* w, const int32_t* factors,
                             F meanwhile) {
  int32x4_t s[8];
  for (int i = 0; i < 8; i++) s[i] = vld1q_s32(sums + 4 * i);
  for (int r = 0; r < R; r++) {
    if (r * 4 % R == 0) meanwhile(r * 4 / R);
    const int16_t factor = factor_of(factors, r);
    const uint8x16_t bytes = vld1q_u8(w[r]);
    const uint8x16_t half[2] = {vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8(bytes, 4)};
    for (int h = 0; h < 2; h++) {
      const int16x8_t first = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(half[h])));
      const int16x8_t second = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(half[h])));
      int32x4_t* to = s + 4 * h;
      to[0] = vmlal_n_s16(to[0], vget_low_s16(first), factor);
      to[1] = vmlal_n_s16(to[1], vget_high_s16(first), factor);
      to[2] = vmlal_n_s16(to[2], vget_low_s16(second), factor);
      to[3] = vmlal_n_s16(to[3], vget_high_s16(second), factor);
    }
  }
  for (int i = 0; i < 8; i++) vst1q_s32(sums + 4 * i, s[i]);
}

}  // namespace dejavu::neon
