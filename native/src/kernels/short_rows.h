// Dot products of quantized rows of a few hundred elements at most, one after the other in memory: such as
// a predictor's, whose inner size is its rank. A tile for each would be mostly its beginning and its end;
// here scales are decoded once a row, and the sums of W rows are formed together. The bits are those of
// CodeTile.
#pragma once

namespace dejavu::DEJAVU_ISA {

// Whether rows of E elements are such rows.
template <class Q>
static constexpr bool short_rows(Columns E) {
  return !format_of(Q::type).minima && E.group == group_size && E <= W * group_size &&
         row_bytes(Q::type, E) < stream_bytes;
}

// W vectors of one row each, from w on and `stride` apart, whose sums are their products with x. Whole
// blocks are read, `known` of them where that is not 0. As many bytes from `ahead` on are asked for, unless it
// is null, a little with each row: asked for at once, they would wait for one another.
template <class Q, int known>
static DEJAVU_INLINE V short_sums(const uint8_t* w, int64_t stride, const CodedRow<Q>& x, Columns E,
                                  const uint8_t* ahead) {
  const int64_t groups = (E + group_size - 1) / group_size;
  const int64_t blocks = known ? known : (E + Q::size - 1) / Q::size;
  const V by = load(x.scales);
  V sums[W];
  int64_t asked = 0;
  for (int64_t i = 0; i < W; i++, w += stride) {
    for (; ahead && asked < (i + 1) * stride; asked += 64) {
      __builtin_prefetch(ahead + asked);
      __builtin_prefetch(ahead + asked + far_bytes, 0, 2);
    }
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(w + code_bytes(Q::type, E));
    float both[W];
    store(both, mul(load_f16(scales, groups), by));
    sums[i] = zero();
    for (int64_t b = 0; b < blocks; b++)
      sums[i] = fma(Q::dot(w + b * Q::bytes, x.blocks[b]), Q::spread(both + b * Q::groups), sums[i]);
  }
  return sum_each(sums);
}

// All dot products of `rows` rows from w on and T activations. `end`: of the matrix, behind which nothing
// is read. `out` has room for a multiple of W rows.
template <class Q>
static void short_dots(const uint8_t* w, const uint8_t* end, int64_t rows, const CodedRow<Q>* x,
                       int64_t T, Columns E, float* out, int64_t out_stride) {
  const int64_t stride = row_bytes(Q::type, E), blocks = (E + Q::size - 1) / Q::size;
  const int64_t over = blocks * Q::bytes;  // at most, behind the last row
  for (int64_t r = 0; r < rows; r += W, w += W * stride) {
    const uint8_t* from = w;
    uint8_t last[W * stream_bytes];
    if (r + W > rows || end - w < W * stride + over) {
      memset(last, 0, sizeof last);
      memcpy(last, w, static_cast<size_t>(least(rows - r, W) * stride));
      from = last;
    }
    for (int64_t t = 0; t < T; t++) {
      const uint8_t* ahead = t == 0 ? w + ahead_bytes : nullptr;
      store(out + t * out_stride + r, blocks == 1 ? short_sums<Q, 1>(from, stride, x[t], E, ahead)
                                                  : short_sums<Q, 0>(from, stride, x[t], E, ahead));
    }
  }
}

}  // namespace dejavu::DEJAVU_ISA
