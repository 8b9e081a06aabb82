// The SIMD layer over AVX-512 with matrix tiles of bf16 (AMX): that of AVX-512, and Tiles.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "simd_avx512.h"

#define DEJAVU_TILES

namespace dejavu::DEJAVU_ISA {

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
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    for (int i = 0; i < 8; i++) {
      shape.row_bytes[i] = 64;
      shape.rows[i] = 16;
    }
    asm volatile("" ::"m"(shape) : "memory");
    _tile_loadconfig(&shape);
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
  // The same as 16 lanes of two, for what is transposed next.
  static V both(V low, V high) { return _mm512_castsi512_ps(rounded(low, high)); }
  // 16 columns of two rows, side by side.
  static void put_pairs(uint8_t* to, V a, V b) {
    const __m512i lanes = _mm512_setr_epi32(
        0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007, 0x180008,
        0x190009, 0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(lanes, rounded(a, b)));
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
  // The same of two rows, in two tiles of 16 columns.
  static void put_pairs_i4(uint8_t* low, uint8_t* high, const uint8_t* a, V terms_a,
                           const uint8_t* b, V terms_b) {
    const auto spread = [](const uint8_t* p) {
      return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    };
    const __m512i words = _mm512_or_si512(spread(a), _mm512_slli_epi32(spread(b), 16));
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
  static void transpose(V (&v)[16]) {
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
};

}  // namespace dejavu::DEJAVU_ISA
