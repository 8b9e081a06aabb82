// The SIMD layer over AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace dejavu::avx2 {

using V = __m256;
constexpr int W = 8;
constexpr int dot_rows = 3, dot_cols = 4;
constexpr int mul_rows = 6, mul_vecs = 2;
constexpr int rows_at_once = 8;
constexpr bool fast_f16 = true;

static inline __m256i first(int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
}

static inline V zero() { return _mm256_setzero_ps(); }
static inline V set(float x) { return _mm256_set1_ps(x); }
static inline V load(const float* p) { return _mm256_loadu_ps(p); }
static inline V load(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
static inline void store(float* p, V v) { _mm256_storeu_ps(p, v); }
static inline void store(float* p, V v, int64_t n) { _mm256_maskstore_ps(p, first(n), v); }

static inline V load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline V load_f16(const uint16_t* p, int64_t n) {
  uint16_t lanes[W] = {};
  memcpy(lanes, p, static_cast<size_t>(n) * 2);
  return load_f16(lanes);
}
static inline V load_i8(const int8_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
// W / times numbers, each in so many lanes: 2 or 4.
static inline V load_f16_each(const uint16_t* p, int times) {
  const __m256i lanes = _mm256_srl_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                                         _mm_cvtsi32_si128(times / 2));
  return _mm256_permutevar8x32_ps(load_f16(p, W / times), lanes);
}
static inline V load_i8(const int8_t* p, int64_t n) {
  int8_t lanes[W] = {};
  memcpy(lanes, p, static_cast<size_t>(n));
  return load_i8(lanes);
}

static inline V load_i4(const uint8_t* p, bool high) {
  __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  if (high) bytes = _mm256_srli_epi32(bytes, 4);
  const __m256i codes = _mm256_and_si256(bytes, _mm256_set1_epi32(15));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(8)));
}

// Codes of 2 bits from s on of the 32 in 8 bytes, as -1.5 … 1.5.
static inline V load_i2(const uint8_t* p, int s) {
  const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m256i codes = _mm256_and_si256(_mm256_srl_epi32(bytes, _mm_cvtsi32_si128(s / 4)),
                                         _mm256_set1_epi32(3));
  return _mm256_sub_ps(_mm256_cvtepi32_ps(codes), _mm256_set1_ps(1.5f));
}

static inline V add(V a, V b) { return _mm256_add_ps(a, b); }
static inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
static inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
static inline V div(V a, V b) { return _mm256_div_ps(a, b); }
static inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
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
static inline V max(V a, V b) { return _mm256_max_ps(a, b); }
static inline V min(V a, V b) { return _mm256_min_ps(a, b); }
static inline V abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline V sqrt(V a) { return _mm256_sqrt_ps(a); }
static inline V round(V a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline V pow2(V n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
static inline V where_positive(V x, V a, V b) {
  return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, zero(), _CMP_GT_OQ));
}
// A count, plus 1 in lanes with v > cut.
static inline V count_above(V count, V v, V cut) {
  return add(count, _mm256_and_ps(_mm256_cmp_ps(v, cut, _CMP_GT_OQ), set(1)));
}
static inline float sum(V a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float peak(V a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
static inline V sum_each(const V* rows) {
  float sums[W];
  for (int i = 0; i < W; i++) sums[i] = sum(rows[i]);
  return load(sums);
}

static inline int64_t keep_above(uint32_t* out, V v, V threshold, uint32_t base) {
  unsigned chosen =
      static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(v, threshold, _CMP_GT_OQ)));
  int64_t count = 0;
  for (; chosen; chosen &= chosen - 1)
    out[count++] = base + static_cast<uint32_t>(__builtin_ctz(chosen));
  return count;
}

// Integer products with activations rounded to int8, some groups of 32 codes at a time.
static inline __m256i load_codes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
// Sums of pairs of 16-bit numbers.
static inline __m256i pair_sums(__m256i a) {
  return _mm256_madd_epi16(a, _mm256_set1_epi16(1));
}

constexpr int groups_i4 = 2;
struct Block4 {
  __m256i low, high, offset;  // first and second halves of the groups; 8 times their sums
};
// Codes are at most 15: four products stay within 16 bits.
static inline __m256i products_i4(__m256i low, __m256i high, __m256i x_low, __m256i x_high) {
  return pair_sums(
      _mm256_add_epi16(_mm256_maddubs_epi16(low, x_low), _mm256_maddubs_epi16(high, x_high)));
}
static inline Block4 block_i4(const int8_t* x) {
  const __m256i a = load_codes(x), b = load_codes(x + 32), eight = _mm256_set1_epi8(8);
  const __m256i low = _mm256_permute2x128_si256(a, b, 0x20);
  const __m256i high = _mm256_permute2x128_si256(a, b, 0x31);
  return {low, high, products_i4(eight, eight, low, high)};
}
static inline V dot_i4(const uint8_t* w, const Block4& x) {
  const __m256i half = _mm256_set1_epi8(15), bytes = load_codes(w);
  const __m256i low = _mm256_and_si256(bytes, half);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half);
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(products_i4(low, high, x.low, x.high), x.offset));
}
static inline V spread_i4(const float* scales) {
  return _mm256_set_m128(_mm_set1_ps(scales[1]), _mm_set1_ps(scales[0]));
}

constexpr int groups_i2 = 4;
struct Block2 {
  __m256i part[4], offset;  // what code i of each byte meets; three times their sums
};
static inline Block2 block_i2(const int8_t* x) {
  const __m256i a = load_codes(x), b = load_codes(x + 32);
  const __m256i c = load_codes(x + 64), d = load_codes(x + 96);
  const __m256i even[2] = {_mm256_unpacklo_epi64(a, b), _mm256_unpacklo_epi64(c, d)};
  const __m256i odd[2] = {_mm256_unpackhi_epi64(a, b), _mm256_unpackhi_epi64(c, d)};
  Block2 block{{_mm256_permute2x128_si256(even[0], even[1], 0x20),
                _mm256_permute2x128_si256(odd[0], odd[1], 0x20),
                _mm256_permute2x128_si256(even[0], even[1], 0x31),
                _mm256_permute2x128_si256(odd[0], odd[1], 0x31)},
               _mm256_setzero_si256()};
  for (const __m256i& part : block.part)
    block.offset = _mm256_add_epi16(block.offset, _mm256_maddubs_epi16(_mm256_set1_epi8(3), part));
  block.offset = pair_sums(block.offset);
  return block;
}
// Twice the codes less 1.5, times x. Codes are at most 3: eight products stay within 16 bits.
static inline __m256i whole_i2(__m256i codes, const Block2& x) {
  const auto products = [](__m256i turned, __m256i part) {
    return _mm256_maddubs_epi16(_mm256_and_si256(turned, _mm256_set1_epi8(3)), part);
  };
  const __m256i sum = _mm256_add_epi16(
      _mm256_add_epi16(products(codes, x.part[0]),
                       products(_mm256_srli_epi16(codes, 2), x.part[1])),
      _mm256_add_epi16(products(_mm256_srli_epi16(codes, 4), x.part[2]),
                       products(_mm256_srli_epi16(codes, 6), x.part[3])));
  return _mm256_sub_epi32(_mm256_madd_epi16(sum, _mm256_set1_epi16(2)), x.offset);
}
static inline V dot_i2(const uint8_t* w, const Block2& x) {
  return _mm256_cvtepi32_ps(whole_i2(load_codes(w), x));
}
static inline V spread_i2(const float* scales) {
  const __m128 four = _mm_loadu_ps(scales);
  return _mm256_set_m128(_mm_unpackhi_ps(four, four), _mm_unpacklo_ps(four, four));
}

// 128 codes of two rows, the lanes of 32 of them added while they are whole numbers. Those of the result,
// of rows a and b and parts 0 to 3: a0 a1 b0 b1, a2 a3 b2 b3.
#define DEJAVU_QUADS
struct Quads {
  static constexpr bool here = true;
  static constexpr int64_t size = 128, bytes = 32, groups = 4;

  static const Block2& block(const Block2& x, int64_t) { return x; }
  static V products(const uint8_t* w, int64_t stride, const Block2& x) {
    return _mm256_cvtepi32_ps(
        _mm256_hadd_epi32(whole_i2(load_codes(w), x), whole_i2(load_codes(w + stride), x)));
  }
  static V spread(const float* four) {
    const __m128 numbers = _mm_loadu_ps(four);
    return _mm256_set_m128(_mm_movehl_ps(numbers, numbers), _mm_movelh_ps(numbers, numbers));
  }
  // The sums of 8 rows, in their order.
  static V sums(const V* quads) {
    const V a = _mm256_hadd_ps(quads[0], quads[1]), b = _mm256_hadd_ps(quads[2], quads[3]);
    return add(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }
};

constexpr int groups_i8 = 1;
struct Block8 {
  __m256i codes;
};
static inline Block8 block_i8(const int8_t* x) { return {load_codes(x)}; }
static inline V dot_i8(const int8_t* w, const Block8& x) {
  const __m256i codes = load_codes(w);
  return _mm256_cvtepi32_ps(pair_sums(
      _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x.codes, codes))));
}
static inline V spread_i8(const float* scales) { return set(*scales); }

// Codes of rows in pairs, times whole numbers (code_sums.h): columns of a step, where column i of a step
// lies in its sums, and how many lie together.
constexpr int64_t sum_columns = 64, sum_run = 8;
constexpr int64_t sum_place(int64_t i) {
  return (i / 32 * 4 + i % 16 / 8 * 2 + i % 32 / 16) * 8 + i % 8;
}
constexpr int factor_rows = 2;
// Pairs of 16-bit factors of 16 groups; adds the factors to `totals`.
static inline void whole_factors(const float* const* scales, const float* by, int32_t* factors,
                                 int32_t* totals) {
  for (int g = 0; g < 16; g += 8) {
    const __m256i low = _mm256_cvtps_epi32(mul(load(scales[0] + g), set(by[0])));
    const __m256i high = _mm256_cvtps_epi32(mul(load(scales[1] + g), set(by[1])));
    __m256i* total = reinterpret_cast<__m256i*>(totals + g);
    _mm256_storeu_si256(total, _mm256_add_epi32(_mm256_loadu_si256(total),
                                                _mm256_add_epi32(low, high)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(factors + g),
                        _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xaa));
  }
}
// sums [64] += the codes of R rows times their factors. `meanwhile(i)` is called for i of 0 … 3, in between.
template <int R, class F>
static inline void add_codes(int32_t* sums, const uint8_t* const* w, const int32_t* factors,
                             F meanwhile) {
  const __m256i half = _mm256_set1_epi16(15);
  __m256i* at = reinterpret_cast<__m256i*>(sums);
  __m256i s[8];
  for (int i = 0; i < 8; i++) s[i] = _mm256_loadu_si256(at + i);
  for (int r = 0; r < R; r += 2) {
    meanwhile(r * 4 / R);
    const __m256i a = load_codes(w[r]), b = load_codes(w[r + 1]);
    const __m256i both[2] = {_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
#pragma GCC unroll 2
    for (int g = 0; g < 2; g++) {
      const __m256i factor = _mm256_set1_epi32(factors[r * 8 + g]);
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) {
        const __m256i words = _mm256_cvtepu8_epi16(g ? _mm256_extracti128_si256(both[h], 1)
                                                     : _mm256_castsi256_si128(both[h]));
        __m256i* to = s + 4 * g + 2 * h;
        to[0] = _mm256_add_epi32(to[0], _mm256_madd_epi16(_mm256_and_si256(words, half), factor));
        to[1] = _mm256_add_epi32(to[1], _mm256_madd_epi16(_mm256_srli_epi16(words, 4), factor));
      }
    }
  }
  for (int i = 0; i < 8; i++) _mm256_storeu_si256(at + i, s[i]);
}

}  // namespace dejavu::avx2
