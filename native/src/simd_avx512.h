// The SIMD layer over AVX-512 (F, BW, DQ, VL, VNNI), in the namespace of the instruction set that includes it.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace dejavu::DEJAVU_ISA {

using V = __m512;
constexpr int W = 16;                       // f32 lanes
constexpr int dot_rows = 4, dot_cols = 6;   // accumulators of a tile of dot products
constexpr int mul_rows = 6, mul_vecs = 4;   // accumulators of a tile of outer products
constexpr int rows_at_once = 8;                // rows a transposed mat-vec has in flight
constexpr bool fast_f16 = true;

static inline __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }

static inline V zero() { return _mm512_setzero_ps(); }
static inline V set(float x) { return _mm512_set1_ps(x); }
static inline V load(const float* p) { return _mm512_loadu_ps(p); }
static inline V load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
static inline void store(float* p, V v) { _mm512_storeu_ps(p, v); }
static inline void store(float* p, V v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), v); }

static inline V load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
static inline V load_f16(const uint16_t* p, int64_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
}
// W / times numbers, each in so many lanes: 2 or 4.
static inline V load_f16_each(const uint16_t* p, int times) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_permutexvar_ps(_mm512_srl_epi32(lanes, _mm_cvtsi32_si128(times / 2)),
                               load_f16(p, W / times));
}
static inline V load_i8(const int8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
static inline V load_i8(const int8_t* p, int64_t n) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first(n), p)));
}

// What each code of the low or high halves of bytes stands for in a table of 16.
static inline V look_up_i4(const uint8_t* p, bool high, V table) {
  __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  if (high) bytes = _mm512_srli_epi32(bytes, 4);
  return _mm512_permutexvar_ps(bytes, table);  // looks at the low 4 bits alone
}
static inline V codes_i4() {
  return _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
}
// Codes in the low or high halves of bytes, less 8.
static inline V load_i4(const uint8_t* p, bool high) { return look_up_i4(p, high, codes_i4()); }

// Codes of 2 bits from s on of the 32 in 8 bytes, as -1.5 … 1.5.
static inline V load_i2(const uint8_t* p, int s) {
  const __m128i once = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i twice = _mm_unpacklo_epi64(once, once);
  const __m512i apart = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(2), 1);
  const __m512i shifts = _mm512_add_epi32(_mm512_set1_epi32(s / 4), apart);
  const __m512i codes = _mm512_srlv_epi32(_mm512_cvtepu8_epi32(twice), shifts);
  const V table = _mm512_broadcast_f32x4(_mm_setr_ps(-1.5f, -0.5f, 0.5f, 1.5f));
  return _mm512_permutexvar_ps(codes, table);  // looks at the low 4 bits alone
}

static inline V add(V a, V b) { return _mm512_add_ps(a, b); }
static inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
static inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
static inline V div(V a, V b) { return _mm512_div_ps(a, b); }
static inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
// Whole numbers within the range of int8, as bytes.
static inline void store_i8(int8_t* p, V v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}
// The term of a group of codes times x, and a sum plus 16 products of that term: looked up, not computed.
static inline V term_i4(float x) { return mul(codes_i4(), set(x)); }
static inline V plus_i4(V sum, V term, const uint8_t* p, bool high) {
  return add(sum, look_up_i4(p, high, term));
}
static inline V max(V a, V b) { return _mm512_max_ps(a, b); }
static inline V min(V a, V b) { return _mm512_min_ps(a, b); }
static inline V abs(V a) { return _mm512_abs_ps(a); }
static inline V sqrt(V a) { return _mm512_sqrt_ps(a); }
static inline V round(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
// 2^n for whole n within f32's normal range.
static inline V pow2(V n) { return _mm512_scalef_ps(_mm512_set1_ps(1), n); }
// a where x > 0, else b.
static inline V where_positive(V x, V a, V b) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, zero(), _CMP_GT_OQ), b, a);
}
// A count, plus 1 in lanes with v > cut.
static inline V count_above(V count, V v, V cut) {
  return _mm512_mask_add_ps(count, _mm512_cmp_ps_mask(v, cut, _CMP_GT_OQ), count, set(1));
}
// Lanes 8 apart first, then 4, 2 and 1.
static inline float sum(V a) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
  const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), high);
  __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  t = _mm_add_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
// The sums of four vectors, in the same order.
#define DEJAVU_FOUR_SUMS
static inline void store_sums(float* out, V a, V b, V c, V d) {
  const auto halves = [](V x, V y) {
    return add(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
  };
  const V ab = halves(a, b), cd = halves(c, d);
  V s = add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  s = add(s, _mm512_permute_ps(s, 0x4e));
  s = add(s, _mm512_permute_ps(s, 0xb1));
  const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, s)));
}
static inline float peak(V a) { return _mm512_reduce_max_ps(a); }
// The sums of W vectors, with the bits of `sum`: halves added, and again, each time two vectors in one.
static inline V sum_each(const V* rows) {
  V halves[8], quarters[4], pairs[2];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++)
    halves[i] = add(_mm512_shuffle_f32x4(rows[2 * i], rows[2 * i + 1], 0x44),
                    _mm512_shuffle_f32x4(rows[2 * i], rows[2 * i + 1], 0xee));
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++)
    quarters[i] = add(_mm512_shuffle_f32x4(halves[2 * i], halves[2 * i + 1], 0x88),
                      _mm512_shuffle_f32x4(halves[2 * i], halves[2 * i + 1], 0xdd));
  const auto two = [](V a, V b, bool high) {
    const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
  };
  for (int i = 0; i < 2; i++)
    pairs[i] = add(two(quarters[2 * i], quarters[2 * i + 1], false),
                   two(quarters[2 * i], quarters[2 * i + 1], true));
  const V sums = add(_mm512_shuffle_ps(pairs[0], pairs[1], 0x88),
                     _mm512_shuffle_ps(pairs[0], pairs[1], 0xdd));
  return _mm512_permutexvar_ps(
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), sums);
}

// Writes the places (from `base` on) of lanes with v > threshold; returns their number.
static inline int64_t keep_above(uint32_t* out, V v, V threshold, uint32_t base) {
  const __mmask16 chosen = _mm512_cmp_ps_mask(v, threshold, _CMP_GT_OQ);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i places = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(base)));
  const int count = __builtin_popcount(chosen);
  _mm512_mask_storeu_epi32(out, first(count), _mm512_maskz_compress_epi32(chosen, places));
  return count;
}

// Integer products with activations rounded to int8, some groups of 32 codes at a time. One side of such
// a product is unsigned: the weights, as code + something, which the offset takes away.
static inline __m512i load_codes(const void* p) { return _mm512_loadu_si512(p); }
static inline __m512i plus_products(__m512i sum, __m512i w, __m512i x) {
  return _mm512_dpbusd_epi32(sum, w, x);
}
static inline V pick(__m128 scales, __m512i lanes) {
  return _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(scales));
}

constexpr int groups_i4 = 4;
struct Block4 {
  __m512i low, high, offset;  // first and second halves of the groups; what sums begin with
};
static inline Block4 block_i4(const int8_t* x) {
  const __m512i a = load_codes(x), b = load_codes(x + 64);
  const __m512i firsts = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
  const __m512i seconds = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
  const __m512i low = _mm512_permutex2var_epi64(a, firsts, b);
  const __m512i high = _mm512_permutex2var_epi64(a, seconds, b);
  const __m512i eight = _mm512_set1_epi8(8), none = _mm512_setzero_si512();
  const __m512i eights = plus_products(plus_products(none, eight, low), eight, high);
  return {low, high, _mm512_sub_epi32(none, eights)};
}
static inline V dot_i4(const uint8_t* w, const Block4& x) {
  const __m512i half = _mm512_set1_epi8(15), bytes = load_codes(w);
  const __m512i low = _mm512_and_si512(bytes, half);
  const __m512i high = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), half);
  return _mm512_cvtepi32_ps(plus_products(plus_products(x.offset, low, x.low), high, x.high));
}
// Scales of groups over the lanes their products fall into.
static inline V spread_i4(const float* scales) {
  return pick(_mm_loadu_ps(scales),
              _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
}

// 128 bytes between their order and that of 2-bit codes, 0 and 1, then 2 and 3, of each byte, either way:
// eights of them, as 4 by 4, change places.
struct Pairs2 {
  __m512i low, high;
};
static inline Pairs2 turned_i2(__m512i a, __m512i b) {
  return {_mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 4, 8, 12, 1, 5, 9, 13), b),
          _mm512_permutex2var_epi64(a, _mm512_setr_epi64(2, 6, 10, 14, 3, 7, 11, 15), b)};
}
constexpr int groups_i2 = 8;
struct Block2 {
  __m512i part[4], offset;  // what code i of each byte meets; what sums begin with
};
static inline Block2 block_i2(const int8_t* x) {
  const auto [a, b] = turned_i2(load_codes(x), load_codes(x + 64));
  const auto [c, d] = turned_i2(load_codes(x + 128), load_codes(x + 192));
  Block2 block{{_mm512_shuffle_i64x2(a, c, 0x44), _mm512_shuffle_i64x2(a, c, 0xee),
                _mm512_shuffle_i64x2(b, d, 0x44), _mm512_shuffle_i64x2(b, d, 0xee)},
               _mm512_setzero_si512()};
  for (const __m512i& part : block.part)
    block.offset = plus_products(block.offset, _mm512_set1_epi8(3), part);
  block.offset = _mm512_sub_epi32(_mm512_setzero_si512(), block.offset);
  return block;
}
// Twice the codes less 1.5, times x.
static inline __m512i whole_i2(__m512i codes, const Block2& x) {
  const __m512i mask = _mm512_set1_epi8(6);
  const auto plus = [&](__m512i sum, __m512i turned, __m512i part) {
    return plus_products(sum, _mm512_and_si512(turned, mask), part);
  };
  __m512i sum = plus(x.offset, _mm512_add_epi8(codes, codes), x.part[0]);
  sum = plus(sum, _mm512_srli_epi16(codes, 1), x.part[1]);
  sum = plus(sum, _mm512_srli_epi16(codes, 3), x.part[2]);
  return plus(sum, _mm512_srli_epi16(codes, 5), x.part[3]);
}
static inline V dot_i2(const uint8_t* w, const Block2& x) {
  return _mm512_cvtepi32_ps(whole_i2(load_codes(w), x));
}
static inline V spread_i2(const float* scales) {
  return _mm512_permutexvar_ps(
      _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
      _mm512_castps256_ps512(_mm256_loadu_ps(scales)));
}

// 128 codes of four rows at a time, the lanes of 32 of them added while they are whole numbers. Those of
// the result, of rows a to d and parts 0 to 3: a0 a1 c0 c1, a2 a3 c2 c3, b0 b1 d0 d1, b2 b3 d2 d3.
#define DEJAVU_QUADS
struct Quads {
  static constexpr bool here = true;
  static constexpr int64_t size = 128, bytes = 32, groups = 4;

  // Half of a block, as the codes of two rows meet it.
  static Block2 block(const Block2& x, int64_t half) {
    const auto twice = [=](const __m512i& v) {
      return _mm512_broadcast_i64x4(reinterpret_cast<const __m256i*>(&v)[half]);
    };
    return {{twice(x.part[0]), twice(x.part[1]), twice(x.part[2]), twice(x.part[3])},
            twice(x.offset)};
  }
  static V pair(const uint8_t* a, const uint8_t* b, const Block2& x) {
    const auto half = [](const uint8_t* w) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    };
    return _mm512_castsi512_ps(
        whole_i2(_mm512_inserti64x4(_mm512_castsi256_si512(half(a)), half(b), 1), x));
  }
  static V products(const uint8_t* w, int64_t stride, const Block2& x) {
    const V ab = pair(w, w + stride, x), cd = pair(w + 2 * stride, w + 3 * stride, x);
    const __m512i even = _mm512_castps_si512(_mm512_shuffle_ps(ab, cd, 0x88));
    const __m512i odd = _mm512_castps_si512(_mm512_shuffle_ps(ab, cd, 0xdd));
    return _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
  }
  static V spread(const float* four) {
    return pick(_mm_loadu_ps(four),
                _mm512_setr_epi32(0, 1, 0, 1, 2, 3, 2, 3, 0, 1, 0, 1, 2, 3, 2, 3));
  }
  // The sums of 16 rows, in their order.
  static V sums(const V* quads) {
    const auto halves = [&](int q) {
      return add(_mm512_shuffle_f32x4(quads[q], quads[q + 1], 0x88),
                 _mm512_shuffle_f32x4(quads[q], quads[q + 1], 0xdd));
    };
    const V a = halves(0), b = halves(2);
    return _mm512_permutexvar_ps(
        _mm512_setr_epi32(0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15),
        add(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd)));
  }
};

constexpr int groups_i8 = 2;
struct Block8 {
  __m512i codes, offset;
};
static inline Block8 block_i8(const int8_t* x) {
  const __m512i codes = load_codes(x), none = _mm512_setzero_si512();
  const __m512i sums = plus_products(none, _mm512_set1_epi8(1), codes);
  return {codes, _mm512_sub_epi32(none, _mm512_slli_epi32(sums, 7))};
}
static inline V dot_i8(const int8_t* w, const Block8& x) {
  const __m512i high = _mm512_set1_epi8(static_cast<char>(0x80));
  return _mm512_cvtepi32_ps(
      plus_products(x.offset, _mm512_xor_si512(load_codes(w), high), x.codes));
}
static inline V spread_i8(const float* scales) {
  return pick(_mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales))),
              _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
}

// Codes of rows in fours, times whole numbers (code_sums.h): columns of a step, where column i of a step
// lies in its sums, and how many lie together.
constexpr int64_t sum_columns = 128, sum_run = 4;
constexpr int64_t sum_place(int64_t i) {
  return (i % 16 / 4 * 2 + i % 32 / 16) * 16 + i / 32 * 4 + i % 4;
}
constexpr int factor_rows = 4;
// Factors of 16 groups of four rows: their low bytes, signed, a row after the other, then what is left of
// them by 256. Adds the factors to `totals`.
static inline void whole_factors(const float* const* scales, const float* by, int32_t* factors,
                                 int32_t* totals) {
  __m512i whole[4], sums = _mm512_loadu_si512(totals), halves[2];
  for (int r = 0; r < 4; r++) {
    whole[r] = _mm512_cvtps_epi32(mul(load(scales[r]), set(by[r])));
    sums = _mm512_add_epi32(sums, whole[r]);
  }
  _mm512_storeu_si512(totals, sums);
  const __m512i apart = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  for (int i = 0; i < 2; i++) {  // as words of 128 + factor, then low bytes beside high ones
    const __m512i words = _mm512_mask_blend_epi16(0xaaaaaaaa, whole[2 * i],
                                                  _mm512_slli_epi32(whole[2 * i + 1], 16));
    halves[i] = _mm512_shuffle_epi8(_mm512_add_epi16(words, _mm512_set1_epi16(128)), apart);
  }
  const __m512i low =
      _mm512_mask_blend_epi16(0xaaaaaaaa, halves[0], _mm512_slli_epi32(halves[1], 16));
  const __m512i high =
      _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(halves[0], 16), halves[1]);
  _mm512_storeu_si512(factors, _mm512_xor_si512(low, _mm512_set1_epi8(static_cast<char>(0x80))));
  _mm512_storeu_si512(factors + 16, high);
}
// sums [128] += the codes of R rows times their factors. `meanwhile(i)` is called for i of 0 … 3, in between.
template <int R, class F>
static inline __attribute__((always_inline)) void add_codes(int32_t* sums, const uint8_t* const* w,
                                                             const int32_t* factors, F meanwhile) {
  const __m512i half = _mm512_set1_epi8(15);
  const __m512i lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  const auto spread = [&](const int32_t* four) {
    const __m128i dwords = _mm_loadu_si128(reinterpret_cast<const __m128i*>(four));
    return _mm512_permutexvar_epi32(lanes, _mm512_castsi128_si512(dwords));
  };
  __m512i by[R / 4], by_high[R / 4];
#pragma GCC unroll 2
  for (int r = 0; r < R; r += 4) {
    by[r / 4] = spread(factors + r * 8);
    by_high[r / 4] = spread(factors + r * 8 + 16);
  }
#pragma GCC unroll 2
  for (int part = 0; part < 2; part++) {  // of every 16 bytes
    int32_t* to = sums + part * 64;
    __m512i s[4], high[4];
    for (int i = 0; i < 4; i++) {
      s[i] = _mm512_loadu_si512(to + 16 * i);
      high[i] = _mm512_setzero_si512();
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; r += 4) {
      meanwhile(part * 2 + r / 4);
      const __m512i a = load_codes(w[r]), b = load_codes(w[r + 1]);
      const __m512i c = load_codes(w[r + 2]), d = load_codes(w[r + 3]);
      const __m512i ab = part ? _mm512_unpackhi_epi8(a, b) : _mm512_unpacklo_epi8(a, b);
      const __m512i cd = part ? _mm512_unpackhi_epi8(c, d) : _mm512_unpacklo_epi8(c, d);
#pragma GCC unroll 2
      for (int k = 0; k < 2; k++) {  // bytes of four rows, side by side
        const __m512i codes = k ? _mm512_unpackhi_epi16(ab, cd) : _mm512_unpacklo_epi16(ab, cd);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
          const __m512i nibbles =
              _mm512_and_si512(h ? _mm512_srli_epi16(codes, 4) : codes, half);
          s[2 * k + h] = plus_products(s[2 * k + h], nibbles, by[r / 4]);
          high[2 * k + h] = plus_products(high[2 * k + h], nibbles, by_high[r / 4]);
        }
      }
    }
    for (int i = 0; i < 4; i++)
      _mm512_storeu_si512(to + 16 * i, _mm512_add_epi32(s[i], _mm512_slli_epi32(high[i], 8)));
  }
}

}  // namespace dejavu::DEJAVU_ISA
