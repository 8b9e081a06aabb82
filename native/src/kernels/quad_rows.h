// Dot products of short rows of 2-bit codes, such as a predictor's up matrix, of which every row is read in
// every step. What its scales cost for each row would take longer than its bytes do, so W rows are worked on
// together: in each of four vectors four numbers of W / 4 rows. A row's bits do not depend on where it lies;
// they are not those of CodeTile, which takes rows that are longer or end within a group.
//
// A SIMD layer that has `Quads` defines DEJAVU_QUADS; for others `Quads::here` is false and nothing of this is compiled.
#pragma once

namespace dejavu::DEJAVU_ISA {

#ifndef DEJAVU_QUADS
struct Quads {
  static constexpr bool here = false;
};
#endif

template <class Q>
constexpr bool in_quads = Quads::here && format_of(Q::type).bits == 2;
// Most of a row's parts of M::size codes, all of which are whole.
constexpr int64_t quad_parts = 4;

template <class Q, class M = Quads>
static constexpr bool quad_rows(Columns E) {
  return E.group == M::size && E % M::size == 0 && E <= quad_parts * M::size;
}

// The sums of W rows of P parts from w on. `ask`: for what lies behind them.
template <class Q, int P, class M>
static DEJAVU_INLINE V quad_sums(const uint8_t* w, const typename Q::Block* x, const V* by,
                                 bool ask) {
  constexpr int64_t codes = P * M::bytes, stride = row_bytes(Q::type, P * M::size);
  V total = zero();
#pragma GCC unroll 4
  for (int64_t p = 0; p < P; p++) {
    V quads[4];
    uint16_t scales[W];
#pragma GCC unroll 16
    for (int64_t i = 0; i < W; i++) memcpy(scales + i, w + i * stride + codes + 2 * p, 2);
#pragma GCC unroll 4
    for (int64_t q = 0; q < 4; q++) {
      const int64_t first = q * W / 4 * stride, last = first + W / 4 * stride;
      quads[q] = mul(M::products(w + first + p * M::bytes, stride, x[p]), by[p]);
      if (ask && p == 0)
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
template <class Q, int P, class M = Quads>
static void quad_dots(const uint8_t* matrix, const int64_t* rows, bool one_run, int64_t count,
                      const CodedRow<Q>* x, int64_t T, float* out, int64_t out_stride) {
  constexpr int64_t stride = row_bytes(Q::type, P * M::size), each = Q::size / M::size;
  uint8_t copy[W * stride];
  for (int64_t t = 0; t < T; t++) {
    V by[P];
    typename Q::Block blocks[P];
    for (int64_t p = 0; p < P; p++) {
      by[p] = M::spread(x[t].scales + p * M::groups);
      blocks[p] = M::block(x[t].blocks[p / each], p % each);
    }
    for (int64_t r = 0; r < count; r += W) {
      const bool there = one_run && r + W <= count;
      for (int64_t i = 0; !there && i < W; i++) {
        const int64_t at = least(r + i, count - 1);
        memcpy(copy + i * stride, matrix + (one_run ? rows[0] + at : rows[at]) * stride, stride);
      }
      const uint8_t* first = there ? matrix + (rows[0] + r) * stride : copy;
      store(out + t * out_stride + r, quad_sums<Q, P, M>(first, blocks, by, there && t == 0));
    }
  }
}

// Calls the above with as many parts as E elements are. Only where `quad_rows<Q>(E)`.
template <class Q, class M = Quads>
static void quad_dots(const uint8_t* matrix, const int64_t* rows, bool one_run, int64_t count,
                      const CodedRow<Q>* x, int64_t T, Columns E, float* out, int64_t out_stride) {
  const auto dots = [&]<int P>() {
    quad_dots<Q, P>(matrix, rows, one_run, count, x, T, out, out_stride);
  };
  switch (E / M::size) {
    case 1:
      return dots.template operator()<1>();
    case 2:
      return dots.template operator()<2>();
    case 3:
      return dots.template operator()<3>();
    default:
      return dots.template operator()<quad_parts>();
  }
}

}  // namespace dejavu::DEJAVU_ISA
