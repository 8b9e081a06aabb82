// Dot products of rows of 2-bit codes, four at a time: a predictor's up matrix, of which every row is read in
// every step. What its scales cost for each row would take longer than its bytes do. A row's bits do not
// depend on where it lies; they are not those of CodeTile, which takes longer rows.
//
// The SIMD layer has `Quads`, or there are none.
#pragma once

namespace dejavu::DEJAVU_ISA {

#ifndef DEJAVU_QUADS
struct Quads {
  static constexpr bool here = false;
};
#endif

template <class Q>
constexpr bool in_quads = Quads::here && format_of(Q::type).bits == 2;
// Most blocks of a row.
constexpr int64_t quad_blocks = 4;

template <class Q>
static constexpr bool quad_rows(Columns E) {
  return in_quads<Q> && E.group == Q::size && E <= quad_blocks * Q::size;
}

// The sums of W rows from `first` on. Whole blocks are read. `ask`: for what lies behind them.
template <class Q, class M>
static DEJAVU_INLINE V quad_sums(const uint8_t* first, int64_t stride, const CodedRow<Q>& x,
                                 const V* by, Columns E, bool ask) {
  const int64_t codes = code_bytes(Q::type, E);
  V total = zero();
  for (int64_t b = 0; b * Q::size < E; b++) {
    V quads[W / 4];
    typename M::Four scales[W / 4];
    const uint8_t* at = first;
    for (int q = 0; q < W / 4; q++, at += 4 * stride) {
      const uint8_t* const w[4] = {at, at + stride, at + 2 * stride, at + 3 * stride};
      for (int64_t i = 0; ask && b == 0 && i < 4 * stride; i += 64) {
        __builtin_prefetch(at + ahead_bytes + i);
        __builtin_prefetch(at + ahead_bytes + far_bytes + i, 0, 2);
      }
      scales[q] = M::scales(w, codes + 2 * b);
      quads[q] = mul(M::products(w, b * Q::bytes, x.blocks[b]), by[b]);
    }
    total = fma(M::sums(quads), M::numbers(scales), total);
  }
  return total;
}

// All dot products of those `count` rows of `matrix` and T activations. `end`: of the matrix, behind which
// nothing is read. `out` has room for a multiple of W rows.
template <class Q, class M = Quads>
static void quad_dots(const uint8_t* matrix, const uint8_t* end, const int64_t* rows, int64_t count,
                      const CodedRow<Q>* x, int64_t T, Columns E, float* out, int64_t out_stride) {
  const int64_t stride = row_bytes(Q::type, E);
  uint8_t copy[(W * (quad_blocks + 1) + 1) * Q::bytes];
  for (int64_t r = 0; r < count; r += W) {
    const uint8_t* first = matrix + rows[r] * stride;
    const bool there = r + W <= count && rows[r + W - 1] - rows[r] == W - 1 &&
                       end - first >= W * stride + Q::bytes;
    for (int64_t i = 0; !there && i < W; i++)
      memcpy(copy + i * stride, matrix + rows[least(r + i, count - 1)] * stride,
             static_cast<size_t>(stride));
    for (int64_t t = 0; t < T; t++) {
      V by[quad_blocks];
      for (int64_t b = 0; b * Q::size < E; b++)
        by[b] = M::spread(x[t].scales + b * Q::groups);
      store(out + t * out_stride + r,
            quad_sums<Q, M>(there ? first : copy, stride, x[t], by, E, there && t == 0));
    }
  }
}

}  // namespace dejavu::DEJAVU_ISA
