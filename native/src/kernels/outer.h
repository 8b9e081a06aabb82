// Tiles of outer products: c [M, N] += a [M, K] · b [K, N], each element adding its terms in ascending
// order of k, one fma each, so that its bits do not depend on the tile or on how K is cut.
#pragma once

namespace dejavu::DEJAVU_ISA {

// Where a matrix lies: element (i, k) at data[i * row + k * step].
struct Places {
  const float* data;
  int64_t row, step;
};

// N vectors of columns; `tail`, where above 0, is the number of columns of the only one.
template <int M, int N, bool tailed>
static void outer_tile(int64_t K, Places a, const float* b, int64_t b_row, float* c, int64_t c_row,
                       bool fresh, int64_t tail) {
  const auto get = [&](const float* p) { return tailed ? load(p, tail) : load(p); };
  V sums[M][N];
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) sums[m][n] = fresh ? zero() : get(c + m * c_row + n * W);
  for (int64_t k = 0; k < K; k++) {
    V v[N];
    for (int n = 0; n < N; n++) v[n] = get(b + k * b_row + n * W);
    for (int m = 0; m < M; m++) {
      const V x = set(a.data[m * a.row + k * a.step]);
      for (int n = 0; n < N; n++) sums[m][n] = fma(x, v[n], sums[m][n]);
    }
  }
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) {
      if (tailed)
        store(c + m * c_row, sums[m][n], tail);
      else
        store(c + m * c_row + n * W, sums[m][n]);
    }
}

template <int M>
static void outer_rows(int64_t N, int64_t K, Places a, const float* b, int64_t b_row, float* c,
                       int64_t c_row, bool fresh) {
  int64_t n = 0;
  for (; n + mul_vecs * W <= N; n += mul_vecs * W)
    outer_tile<M, mul_vecs, false>(K, a, b + n, b_row, c + n, c_row, fresh, 0);
  for (; n + W <= N; n += W) outer_tile<M, 1, false>(K, a, b + n, b_row, c + n, c_row, fresh, 0);
  if (n < N) outer_tile<M, 1, true>(K, a, b + n, b_row, c + n, c_row, fresh, N - n);
}

// `fresh`: c held nothing, sums begin at 0.
static void outer(int64_t M, int64_t N, int64_t K, Places a, const float* b, int64_t b_row,
                  float* c, int64_t c_row, bool fresh) {
  int64_t m = 0;
  const auto at = [&](int64_t i) { return Places{a.data + i * a.row, a.row, a.step}; };
  for (; m + mul_rows <= M; m += mul_rows)
    outer_rows<mul_rows>(N, K, at(m), b, b_row, c + m * c_row, c_row, fresh);
  for (; m + mul_rows / 2 <= M; m += mul_rows / 2)
    outer_rows<mul_rows / 2>(N, K, at(m), b, b_row, c + m * c_row, c_row, fresh);
  for (; m < M; m++) outer_rows<1>(N, K, at(m), b, b_row, c + m * c_row, c_row, fresh);
}

// A block of b that `outer` reads: rows of K, columns of N, packed so that it stays in cache.
constexpr int64_t panel_rows = 256;
constexpr int64_t panel_columns = 64;

}  // namespace dejavu::DEJAVU_ISA
