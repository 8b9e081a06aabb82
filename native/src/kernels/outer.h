// Tiles of outer products: c [M, N] += a [M, K] · b [K, N], each element adding its terms in ascending
// order of k, one fma each, so that its bits do not depend on the tile or on how K is cut.
#pragma once

namespace dejavu::DEJAVU_ISA {

// Where a matrix lies: element (i, k) at data[i * row + k * step].
struct Places {
  const float* data;
  int64_t row, step;
};

template <int n>
struct Number {
  static constexpr int value = n;
};

// Rows of b, of type D, each of so many columns, and bytes from one to the next. `ahead`, where not 0: how
// many bytes before it is read memory is asked for what comes.
struct Right {
  const uint8_t* rows;
  int64_t columns, stride, ahead;
};

// N vectors of columns from `first` on; `tail`, where there is one, is the number of columns of the only one.
template <class D, bool asks, int M, int N, bool tailed>
static void outer_tile(int64_t K, Places a, const Right& b, int64_t first, float* c, int64_t c_row,
                       bool fresh, int64_t tail) {
  const auto get = [&](const float* p) { return tailed ? load(p, tail) : load(p); };
  const int64_t width = tailed ? tail : N * W, begin = first & ~(group_size - 1);
  V sums[M][N];
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) sums[m][n] = fresh ? zero() : get(c + m * c_row + first + n * W);
  for (int64_t k = 0; k < K; k++) {
    const uint8_t* bytes = b.rows + k * b.stride;
    if constexpr (asks)
      for (int64_t i = 0; i < row_bytes(D::type, N * W); i += 64)
        __builtin_prefetch(bytes + row_bytes(D::type, first) + i + b.ahead, 0, 2);
    typename D::Row row = D::row(bytes, b.columns);
    row.prepare(begin, first + width);
    V v[N];
    for (int n = 0; n < N; n++) {
      const int64_t i = (first + n * W) & ~(group_size - 1);
      const int s = static_cast<int>(first + n * W - i);
      v[n] = tailed ? row.at(i, s, tail) : row.at(i, s);
    }
    for (int m = 0; m < M; m++) {
      const V x = set(a.data[m * a.row + k * a.step]);
      for (int n = 0; n < N; n++) sums[m][n] = fma(x, v[n], sums[m][n]);
    }
  }
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) {
      if (tailed)
        store(c + m * c_row + first, sums[m][n], tail);
      else
        store(c + m * c_row + first + n * W, sums[m][n]);
    }
}

template <class D, bool asks, int M>
static void outer_rows(int64_t N, int64_t K, Places a, const Right& b, float* c, int64_t c_row,
                       bool fresh) {
  int64_t n = 0;
  if constexpr (M == 1)
    for (; n + 2 * mul_vecs * W <= N; n += 2 * mul_vecs * W)
      outer_tile<D, asks, M, 2 * mul_vecs, false>(K, a, b, n, c, c_row, fresh, 0);
  for (; n + mul_vecs * W <= N; n += mul_vecs * W)
    outer_tile<D, asks, M, mul_vecs, false>(K, a, b, n, c, c_row, fresh, 0);
  for (; n + W <= N; n += W)
    outer_tile<D, asks, M, 1, false>(K, a, b, n, c, c_row, fresh, 0);
  if (n < N) outer_tile<D, asks, M, 1, true>(K, a, b, n, c, c_row, fresh, N - n);
}

// `fresh`: c held nothing, sums begin at 0.
template <class D>
static void outer(int64_t M, int64_t N, int64_t K, Places a, const Right& b, float* c, int64_t c_row,
                  bool fresh) {
  int64_t m = 0;
  const auto some = [&](auto count) {
    const Places at = {a.data + m * a.row, a.row, a.step};
    if (b.ahead && m == 0)
      outer_rows<D, true, count.value>(N, K, at, b, c + m * c_row, c_row, fresh);
    else
      outer_rows<D, false, count.value>(N, K, at, b, c + m * c_row, c_row, fresh);
    m += count.value;
  };
  while (m + mul_rows <= M) some(Number<mul_rows>{});
  while (m + mul_rows / 2 <= M) some(Number<mul_rows / 2>{});
  while (m < M) some(Number<1>{});
}

// `outer` for a matrix b in f32, whose rows lie `b_row` elements apart.
static inline void outer(int64_t M, int64_t N, int64_t K, Places a, const float* b, int64_t b_row,
                         float* c, int64_t c_row, bool fresh) {
  constexpr int64_t size = sizeof(float);
  outer<F32>(M, N, K, a, {reinterpret_cast<const uint8_t*>(b), N, b_row * size, 0}, c, c_row, fresh);
}

// A block of b that `outer` reads: rows of K, columns of N, packed so that it stays in cache.
constexpr int64_t panel_rows = 256;
constexpr int64_t panel_columns = 64;

}  // namespace dejavu::DEJAVU_ISA
