// Matrix tiles: weights and activations rounded to bf16, products added in f32.
//
// A panel of weights is decoded once, stays in cache, and meets all activations there. What a number is rounded
// to depends on nothing else; sums run over tiles of 32 elements in ascending order of their places.
//
// A SIMD layer that has `Tiles` defines DEJAVU_TILES; for others `Tiles::here` is false and nothing of this is compiled.
#pragma once

namespace dejavu::DEJAVU_ISA {

#ifndef DEJAVU_TILES
struct Tiles {
  static constexpr bool here = false;
};
struct FewTiles {
  static constexpr bool here = false;
};
#endif

// From this many activations on, quantized weights are multiplied by tiles, of whole numbers while they are
// few (code_tiles.h). The bits of fewer are those that each has alone.
constexpr int64_t tiles_from = 8;
// Elements of the sums that a panel takes: more would not fit into the first cache.
constexpr int64_t panel_depth = 256;
constexpr int64_t tile_side = 16, tile_depth = 32, tile_bytes = 1024;

static inline int64_t tiles_in(int64_t n, int64_t size) { return (n + size - 1) / size; }

// What each 4-bit code of the group at i stands for.
template <class D, class M>
static inline V terms_of(const typename D::Row& row, int64_t i) {
  if constexpr (format_of(D::type).minima)
    return fma(M::codes(), row.scales.at(i), row.middles.at(i));
  else
    return mul(M::codes(), row.scales.at(i));
}

// A row with the whole chunk around element i prepared: half of one would be written to memory, and be read
// again, in different pieces.
template <class D>
static inline typename D::Row prepared(const uint8_t* bytes, Columns E, int64_t i) {
  typename D::Row row = D::row(bytes, E);
  row.prepare(i & ~(chunk - 1), chunk_end(i, E));
  return row;
}

// Elements i … i+31 of a row, those from i + n on as 0 or as any finite number.
template <class D, class M>
static inline void put_group(const typename D::Row& row, int64_t i, int64_t n, uint8_t* to) {
  if constexpr (format_of(D::type).bits == 4)
    M::put_i4(to, row.codes + i / 2, terms_of<D, M>(row, i));
  else if (n >= group_size)
    M::put(to, row.at(i, 0), row.at(i, W));
  else
    M::put(to, row.at(i, 0, least(W, n)), row.at(i, W, most(0, n - W)));
}

// Elements i … i+31 of two rows side by side, in two right tiles: of columns i … i+15 and i+16 … i+31. Those
// from i + n on as 0 or as any finite number.
template <class D, class M>
static inline void put_groups(const typename D::Row& a, const typename D::Row& b, int64_t i,
                              int64_t n, uint8_t* low, uint8_t* high) {
  if constexpr (format_of(D::type).bits == 4) {
    M::put_pairs_i4(low, high, a.codes + i / 2, terms_of<D, M>(a, i), b.codes + i / 2,
                    terms_of<D, M>(b, i));
  } else {
    const int64_t first = least(W, n), second = most(0, least(W, n - W));
    M::put_pairs(low, a.at(i, 0, first), b.at(i, 0, first));
    M::put_pairs(high, a.at(i, W, second), b.at(i, W, second));
  }
}

// Rows [T, E] of int8 as right tiles: those of 16 rows one after the other.
template <class M>
static void pack_right(const Operand& x, uint8_t* to) {
  const auto [T, E] = x.matrix();
  const int64_t stride = row_bytes(DType::int8, E);
  for (int64_t t = 0; t < T; t += tile_side) {
    const int64_t rows = least(tile_side, T - t);
    Int8::Row row[tile_side];
    for (int64_t r = 0; r < rows; r++) row[r] = Int8::row(x.data + (t + r) * stride, E);
    for (int64_t e0 = 0, e1; e0 < E; e0 = e1) {
      e1 = chunk_end(e0, E);
      for (int64_t r = 0; r < rows; r++) row[r].prepare(e0, e1);
      for (int64_t i = e0; i < e1; i += group_size, to += tile_bytes) {
        const int64_t n = e1 - i;
        V lanes[tile_side];
        for (int64_t r = 0; r < tile_side; r++) {
          if (r >= rows)
            lanes[r] = zero();
          else if (n >= group_size)
            lanes[r] = M::both(row[r].at(i, 0), row[r].at(i, W));
          else
            lanes[r] = M::both(row[r].at(i, 0, least(W, n)), row[r].at(i, W, most(0, n - W)));
        }
        M::transpose(lanes);
        for (int64_t r = 0; r < tile_side; r++)
          store(reinterpret_cast<float*>(to) + r * W, lanes[r]);
      }
    }
  }
}

// Elements begin … end-1, in one chunk, of `count` rows as left tiles, two in 32 rows. `ahead`: where those
// that come next lie.
template <class D, class M>
static void panel_left(const uint8_t* const* rows, const uint8_t* const* ahead, int64_t count,
                       Columns E, int64_t begin, int64_t end, uint8_t* panel) {
  constexpr int64_t bytes = panel_depth * format_of(D::type).bits / 8;
  for (int64_t r = 0; r < count; r++) {
    const typename D::Row row = prepared<D>(rows[r], E, begin);
    uint8_t* to = panel + r / tile_side * tile_bytes + r % tile_side * 64;
    for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(ahead[r] + b);
    for (int64_t i = begin; i < end; i += group_size, to += 2 * tile_bytes)
      put_group<D, M>(row, i, end - i, to);
  }
}

}  // namespace dejavu::DEJAVU_ISA
