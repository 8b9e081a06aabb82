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
// Most blocks of a row, all of which are whole.
constexpr int64_t quad_blocks = 4;

template <class Q>
static constexpr bool quad_rows(Columns E) {
  return in_quads<Q> && E.group == Q::size && E % Q::size == 0 && E <= quad_blocks * Q::size;
}

// The sums of W rows of B blocks from w on. `ask`: for what lies behind them.
template <class Q, int B, class M>
static DEJAVU_INLINE V quad_sums(const uint8_t* w, const typename M::Block* x, const V* by,
                                 bool ask) {
  constexpr int64_t codes = B * Q::bytes, stride = row_bytes(Q::type, B * Q::size);
  V total = zero();
#pragma GCC unroll 4
  for (int64_t b = 0; b < B; b++) {
    V quads[W / 4];
    uint16_t scales[W];
#pragma GCC unroll 16
    for (int64_t i = 0; i < W; i++) memcpy(scales + i, w + i * stride + codes + 2 * b, 2);
#pragma GCC unroll 4
    for (int64_t q = 0; q < W / 4; q++) {
      const int64_t first = 4 * q * stride, last = first + 4 * stride;
      quads[q] = mul(M::products(w + first + b * Q::bytes, stride, x[b]), by[b]);
      if (ask && b == 0)
#pragma GCC unroll 16
        for (int64_t i = round_up(first, 64); i < last; i += 64) {
          __builtin_prefetch(w + ahead_bytes + i);
          __builtin_prefetch(w + ahead_bytes + far_bytes + i, 0, 2);
        }
    }
    total = fma(M::sums(quads), load_f16(scales), total);
  }
  return total;
}

// All dot products of `count` rows of `matrix` and T activations: rows[0] and those that follow it, if they
// are one run, else those of `rows`. `out` has room for a multiple of W rows.
template <class Q, int B, class M = Quads>
static void quad_dots(const uint8_t* matrix, const int64_t* rows, bool one_run, int64_t count,
                      const CodedRow<Q>* x, int64_t T, float* out, int64_t out_stride) {
  constexpr int64_t stride = row_bytes(Q::type, B * Q::size);
  uint8_t copy[W * stride];
  for (int64_t t = 0; t < T; t++) {
    V by[B];
    typename M::Block blocks[B];
    for (int64_t b = 0; b < B; b++) {
      by[b] = M::spread(x[t].scales + b * Q::groups);
      blocks[b] = M::block(x[t].blocks[b]);
    }
    for (int64_t r = 0; r < count; r += W) {
      const bool there = one_run && r + W <= count;
      for (int64_t i = 0; !there && i < W; i++) {
        const int64_t at = least(r + i, count - 1);
        memcpy(copy + i * stride, matrix + (one_run ? rows[0] + at : rows[at]) * stride, stride);
      }
      const uint8_t* first = there ? matrix + (rows[0] + r) * stride : copy;
      store(out + t * out_stride + r, quad_sums<Q, B, M>(first, blocks, by, there && t == 0));
    }
  }
}

// The same for rows of E elements.
template <class Q>
static void quad_dots(const uint8_t* matrix, const int64_t* rows, bool one_run, int64_t count,
                      const CodedRow<Q>* x, int64_t T, Columns E, float* out, int64_t out_stride) {
  const auto dots = [&]<int B>() {
    quad_dots<Q, B>(matrix, rows, one_run, count, x, T, out, out_stride);
  };
  switch (E / Q::size) {
    case 1:
      return dots.template operator()<1>();
    case 2:
      return dots.template operator()<2>();
    case 3:
      return dots.template operator()<3>();
    default:
      return dots.template operator()<quad_blocks>();
  }
}

}  // namespace dejavu::DEJAVU_ISA
