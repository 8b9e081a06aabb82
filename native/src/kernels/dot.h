// Tiles of dot products between rows of weights and rows of activations.
//
// Each dot product has one vector accumulator that runs over the row from its beginning, and one
// horizontal sum at its end. So its bits depend on the two rows alone: not on the tile, on the number
// of activations, on what else is selected, or on the task.
#pragma once

namespace dejavu::DEJAVU_ISA {

#ifndef DEJAVU_FOUR_SUMS
// The sums of four vectors, bit for bit those of `sum`.
static inline void store_sums(float* out, V a, V b, V c, V d) {
  out[0] = sum(a);
  out[1] = sum(b);
  out[2] = sum(c);
  out[3] = sum(d);
}
#endif

// out[t * out_stride + r] = w[r] · x[t] over E elements. `ahead`: rows to prefetch meanwhile, or null.
// `fixed`, where not 0: E and x_stride, known beforehand.
template <class D, int R, int T, int64_t fixed>
static void dot_tile(const uint8_t* const* w, const uint8_t* const* ahead, const float* x,
                     int64_t x_stride, Columns E, float* out, int64_t out_stride) {
  if constexpr (fixed) E = x_stride = fixed;
  typename D::Row row[R];
  V sums[R][T];
  for (int r = 0; r < R; r++) {
    row[r] = D::row(w[r], E);
    for (int t = 0; t < T; t++) sums[r][t] = zero();
  }
  const int64_t bytes = row_bytes(D::type, E);
  const int64_t step = R * (bytes * group_size / E + 1);
  Ahead next(ahead, R, 0, bytes);
  for (int64_t e0 = 0, e1; e0 < E; e0 = e1) {
    e1 = chunk_end(e0, E);
    for (int r = 0; r < R; r++) row[r].prepare(e0, e1);
    over(
        e0, e1,
        [&](int64_t) { next.ask(step); },
        [&](int64_t i, int s) {
          V v[R];
          for (int r = 0; r < R; r++) v[r] = row[r].at(i, s);
          for (int t = 0; t < T; t++) {
            const V a = load(x + t * x_stride + i + s);
            for (int r = 0; r < R; r++) sums[r][t] = fma(v[r], a, sums[r][t]);
          }
        },
        [&](int64_t i, int s, int64_t n) {
          for (int t = 0; t < T; t++) {
            const V a = load(x + t * x_stride + i + s, n);
            for (int r = 0; r < R; r++) sums[r][t] = fma(row[r].at(i, s, n), a, sums[r][t]);
          }
        });
  }
  for (int t = 0; t < T; t++) {
    if constexpr (R == 4)
      store_sums(out + t * out_stride, sums[0][t], sums[1][t], sums[2][t], sums[3][t]);
    else
      for (int r = 0; r < R; r++) out[t * out_stride + r] = sum(sums[r][t]);
  }
}

template <class D, int R, int64_t fixed>
static inline void dot_tiles(int T, const uint8_t* const* w, const uint8_t* const* ahead,
                             const float* x, int64_t x_stride, Columns E, float* out,
                             int64_t out_stride) {
  if (T == dot_cols)
    dot_tile<D, R, dot_cols, fixed>(w, ahead, x, x_stride, E, out, out_stride);
  else if (T == 1)
    dot_tile<D, R, 1, fixed>(w, ahead, x, x_stride, E, out, out_stride);
  else if (T == 2)
    dot_tile<D, R, 2, fixed>(w, ahead, x, x_stride, E, out, out_stride);
  else
    dot_tile<D, R, 3, fixed>(w, ahead, x, x_stride, E, out, out_stride);
}

// All dot products of `rows` rows and T activations. `ahead` as above, one for each row.
template <class D, int64_t fixed = 0>
static void dots(const uint8_t* const* w, const uint8_t* const* ahead, int64_t rows, const float* x,
                 int64_t x_stride, int64_t T, Columns E, float* out, int64_t out_stride) {
  for (int64_t t = 0, n; t < T; t += n) {
    n = T - t >= dot_cols ? dot_cols : least(3, T - t);
    const uint8_t* const* next = t == 0 ? ahead : nullptr;
    int64_t r = 0;
    for (; r + dot_rows <= rows; r += dot_rows)
      dot_tiles<D, dot_rows, fixed>(static_cast<int>(n), w + r, next ? next + r : nullptr,
                             x + t * x_stride, x_stride, E, out + t * out_stride + r, out_stride);
    for (; r < rows; r++)
      dot_tiles<D, 1, fixed>(static_cast<int>(n), w + r, next ? next + r : nullptr, x + t * x_stride,
                      x_stride, E, out + t * out_stride + r, out_stride);
  }
}

}  // namespace dejavu::DEJAVU_ISA
