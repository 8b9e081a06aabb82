// The SIMD layer over AVX-512 with matrix tiles (AMX): that of AVX-512, tiles of bf16, and of whole numbers.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "simd_avx512.h"

#define DEJAVU_TILES

namespace dejavu::DEJAVU_ISA {

struct Shape {
  int row_bytes, rows;
};
// Tiles of the shapes that `shape(i)` gives, for this thread.
template <class F>
static inline void configure(F shape) {
  struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  } all;
  for (int i = 0; i < 8; i++) {
    all.row_bytes[i] = static_cast<uint16_t>(shape(i).row_bytes);
    all.rows[i] = static_cast<uint8_t>(shape(i).rows);
  }
  asm volatile("" ::"m"(all) : "memory");
  _tile_loadconfig(&all);
}

// 16 rows become columns.
static inline void transposed(V (&v)[16]) {
  V a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    a[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  const auto d = [](V x) { return _mm512_castps_pd(x); };
  for (int i = 0; i < 16; i += 4)
    for (int h = 0; h < 2; h++) {
      b[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(d(a[i + h]), d(a[i + h + 2])));
      b[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(d(a[i + h]), d(a[i + h + 2])));
    }
  for (int i = 0; i < 16; i += 8)  // b[i + j]: column j of each quarter, of rows i … i+3
    for (int j = 0; j < 4; j++) {
      a[i + j] = _mm512_shuffle_f32x4(b[i + j], b[i + 4 + j], 0x88);
      a[i + 4 + j] = _mm512_shuffle_f32x4(b[i + j], b[i + 4 + j], 0xdd);
    }
  for (int j = 0; j < 8; j++) {
    v[j] = _mm512_shuffle_f32x4(a[j], a[8 + j], 0x88);
    v[8 + j] = _mm512_shuffle_f32x4(a[j], a[8 + j], 0xdd);
  }
}

// Tiles are 1 KB, 16 rows of 64 bytes. In a left tile a row is 32 elements; in a right one, row i is
// elements 2i and 2i + 1 of 16 columns, side by side; in a sum, 16 columns of f32.
//
// An object of this type is needed while a thread multiplies.
struct Tiles {
  static constexpr bool here = true;
  static constexpr int64_t bytes = 1024;

  // Left or right tiles along a sum: bytes from one to the next, and to those of 16 rows or columns on.
  struct Side {
    const uint8_t* first;
    int64_t step, next;
  };

  Tiles() {
    configure([](int) { return Shape{64, 16}; });
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  // sums [M, N] (tiles, those of a row `across` bytes apart, rows `down` bytes) += a · b, over `steps`
  // tiles of 32 elements. `fresh`: the sums held nothing.
  template <int M, int N>
  static __attribute__((noinline)) void multiply(int64_t steps, Side a, Side b, uint8_t* sums,
                                                 int64_t down, int64_t across, bool fresh) {
    asm volatile("" ::: "memory");  // tiles are loaded after all that is written before
    if (fresh) {
      _tile_zero(0);
      if constexpr (N == 2) _tile_zero(1);
      if constexpr (M == 2) _tile_zero(2);
      if constexpr (M == 2 && N == 2) _tile_zero(3);
    } else {
      _tile_loadd(0, sums, 64);
      if constexpr (N == 2) _tile_loadd(1, sums + across, 64);
      if constexpr (M == 2) _tile_loadd(2, sums + down, 64);
      if constexpr (M == 2 && N == 2) _tile_loadd(3, sums + down + across, 64);
    }
    const uint8_t *left = a.first, *right = b.first;
    for (int64_t k = 0; k < steps; k++, left += a.step, right += b.step) {
      _tile_loadd(6, right, 64);
      _tile_loadd(4, left, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (M == 2) {
        _tile_loadd(5, left + a.next, 64);
        _tile_dpbf16ps(2, 5, 6);
      }
      if constexpr (N == 2) {
        _tile_loadd(7, right + b.next, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      if constexpr (M == 2 && N == 2) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 64);
    if constexpr (N == 2) _tile_stored(1, sums + across, 64);
    if constexpr (M == 2) _tile_stored(2, sums + down, 64);
    if constexpr (M == 2 && N == 2) _tile_stored(3, sums + down + across, 64);
    asm volatile("" ::: "memory");
  }

  // 32 elements of a row, rounded to bf16.
  static __m512i rounded(V low, V high) {
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
  }
  static void put(uint8_t* to, V low, V high) { _mm512_storeu_si512(to, rounded(low, high)); }
  // 32 elements rounded to bf16 as 16 lanes of two, for `transpose`.
  static V both(V low, V high) { return _mm512_castsi512_ps(rounded(low, high)); }
  // 16 columns of two rows, side by side.
  static void put_pairs(uint8_t* to, V a, V b) {
    const __m512i lanes = _mm512_setr_epi32(
        0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007, 0x180008,
        0x190009, 0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(lanes, rounded(a, b)));
  }

  // 16 bytes of two rows as words, side by side.
  static __m512i side_by_side(const uint8_t* a, const uint8_t* b) {
    const auto spread = [](const uint8_t* p) {
      return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    };
    return _mm512_or_si512(spread(a), _mm512_slli_epi32(spread(b), 16));
  }

  static V codes() { return codes_i4(); }
  // A group of 4-bit codes, as what each of the 16 stands for.
  static void put_i4(uint8_t* to, const uint8_t* codes, V terms) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
    const __m512i words = _mm512_cvtepu8_epi16(_mm256_broadcastsi128_si256(half));
    const __m512i shifts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_srlv_epi16(words, shifts),
                                                     rounded(terms, terms)));
  }
  // As `put_i4`, of groups of two rows side by side, in two tiles of 16 columns.
  static void put_pairs_i4(uint8_t* low, uint8_t* high, const uint8_t* a, V terms_a,
                           const uint8_t* b, V terms_b) {
    const __m512i words = side_by_side(a, b);
    const __m512i mask = _mm512_set1_epi16(15), second = _mm512_set1_epi32(0x100000);
    const auto places = [&](__m512i codes) {  // (codes & mask) | second
      return _mm512_ternarylogic_epi32(codes, mask, second, 0xea);
    };
    const __m512i table = rounded(terms_a, terms_b);
    _mm512_storeu_si512(low, _mm512_permutexvar_epi16(places(words), table));
    _mm512_storeu_si512(high,
                        _mm512_permutexvar_epi16(places(_mm512_srli_epi32(words, 4)), table));
  }

  // Rows become columns.
  static void transpose(V (&v)[16]) { transposed(v); }
};

// Tiles of bf16 whose left side, and sums, have as many rows as there are activations, 16 at most.
struct FewTiles {
  static constexpr bool here = true;

  explicit FewTiles(int64_t rows) {
    configure([=](int i) { return Shape{64, i < 6 ? static_cast<int>(rows) : 16}; });
  }
  ~FewTiles() { _tile_release(); }
  FewTiles(const FewTiles&) = delete;
  FewTiles& operator=(const FewTiles&) = delete;

  // 32 columns of sums, rows `stride` bytes apart, += the products of `steps` left tiles, `next` bytes apart,
  // with two right ones each. `fresh`: the sums held nothing.
  static __attribute__((noinline)) void multiply(int64_t steps, const uint8_t* left, int64_t next,
                                                 const uint8_t* right, float* sums, int64_t stride,
                                                 bool fresh) {
    asm volatile("" ::: "memory");
    if (fresh) {
      _tile_zero(0);
      _tile_zero(1);
    } else {
      _tile_loadd(0, sums, stride);
      _tile_loadd(1, sums + W, stride);
    }
    for (int64_t k = 0; k < steps; k++, left += next, right += 2048) {
      _tile_loadd(4, left, 64);
      _tile_loadd(6, right, 64);
      _tile_loadd(7, right + 1024, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, sums, stride);
    _tile_stored(1, sums + W, stride);
    asm volatile("" ::: "memory");
  }

  static void put(uint8_t* to, V low, V high) { Tiles::put(to, low, high); }
  // Codes of a group of two rows as -8 … 7, in two tiles of 16 columns.
  static void put_codes(uint8_t* low, uint8_t* high, const uint8_t* a, const uint8_t* b) {
    const __m512i words = Tiles::side_by_side(a, b);
    const __m512i table = Tiles::rounded(codes_i4(), codes_i4());  // a place is five bits, the last is any
    _mm512_storeu_si512(low, _mm512_permutexvar_epi16(words, table));
    _mm512_storeu_si512(high, _mm512_permutexvar_epi16(_mm512_srli_epi16(words, 4), table));
  }
  static void transpose(V (&v)[16]) { transposed(v); }
};

// Tiles of whole numbers: in a left one, a row is 32 bytes of a row; in a right one, of 8 rows, row i is
// bytes 4i … 4i + 3 of 16 columns, side by side; in a sum, 16 columns of i32.
//
// An object of this type is needed while a thread multiplies.
struct CodeTiles {
  static constexpr bool here = true;

  CodeTiles() { configure([](int i) { return Shape{i == 4 || i == 5 ? 32 : 64, i < 6 ? 16 : 8}; }); }
  ~CodeTiles() { _tile_release(); }
  CodeTiles(const CodeTiles&) = delete;
  CodeTiles& operator=(const CodeTiles&) = delete;

  // products [4, 32, 16] of 32 rows of 128 bytes, a group of 32 after the other, and 16 columns.
  static __attribute__((noinline)) void multiply(const uint8_t* left, const uint8_t* right,
                                                 int32_t* products) {
    asm volatile("" ::: "memory");
    for (int i = 0; i < 4; i += 2, left += 64, right += 1024, products += 1024) {
      _tile_loadd(6, right, 64);
      _tile_loadd(7, right + 512, 64);
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      _tile_loadd(4, left, 128);
      _tile_loadd(5, left + 16 * 128, 128);
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 5, 6);
      _tile_loadd(4, left + 32, 128);
      _tile_loadd(5, left + 32 + 16 * 128, 128);
      _tile_dpbssd(2, 4, 7);
      _tile_dpbssd(3, 5, 7);
      _tile_stored(0, products, 64);
      _tile_stored(1, products + 256, 64);
      _tile_stored(2, products + 512, 64);
      _tile_stored(3, products + 768, 64);
    }
    asm volatile("" ::: "memory");
  }

  // 128 codes of a row, as bytes: four groups.
  template <int bits>
  static void unpack(uint8_t* to, const uint8_t* codes) {
    if constexpr (bits == 8) {
      _mm512_storeu_si512(to, load_codes(codes));
      _mm512_storeu_si512(to + 64, load_codes(codes + 64));
      return;
    }
    if constexpr (bits == 2) {
      const __m512i twice =
          _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
      const __m512i turns = _mm512_inserti64x4(_mm512_set1_epi32(1), _mm256_set1_epi32(31), 1);
      const __m512i pairs = _mm512_rolv_epi32(twice, turns);  // twice codes 0 and 1 of each byte
      const auto centred = [](__m512i turned) {
        return _mm512_sub_epi8(_mm512_and_si512(turned, _mm512_set1_epi8(6)), _mm512_set1_epi8(3));
      };
      const auto [first, second] =
          turned_i2(centred(pairs), centred(_mm512_srli_epi16(pairs, 4)));
      _mm512_storeu_si512(to, first);
      _mm512_storeu_si512(to + 64, second);
      return;
    }
    const __m512i bytes = load_codes(codes);
    const __m512i half = _mm512_set1_epi8(15), eight = _mm512_set1_epi8(8);
    const __m512i low = _mm512_sub_epi8(_mm512_and_si512(bytes, half), eight);
    const __m512i high =
        _mm512_sub_epi8(_mm512_and_si512(_mm512_srli_epi16(bytes, 4), half), eight);
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi64(low, first, high));
    _mm512_storeu_si512(to + 64, _mm512_permutex2var_epi64(low, second, high));
  }

  static V whole(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  static void transpose(V (&v)[16]) { transposed(v); }
};

}  // namespace dejavu::DEJAVU_ISA
