// Dot products of quantized rows of weights with activations rounded to int8: integers within a group of
// 32, one f32 product of both scales for each group.
#pragma once

namespace dejavu::DEJAVU_ISA {

constexpr int64_t block_size = block_groups * group_size;

// Most rows of weights a tile takes at a time.
constexpr int code_rows = 8;

static inline int64_t blocks_of(int64_t E) { return (E + block_size - 1) / block_size; }

// How a block of codes of each weight type is laid out and multiplied.
struct Codes8 {
  static constexpr DType type = DType::int8;
  static constexpr int64_t bytes = block_size;
  static constexpr int rows = 4;  // of a tile
  static Block block(const int8_t* x, const float* scales) { return block_i8(x, scales); }
  static V dot(const uint8_t* w, const Block& x) {
    return dot_i8(reinterpret_cast<const int8_t*>(w), x);
  }
  static V spread(const float* scales) { return spread_i8(scales); }
};
struct Codes4 {
  static constexpr DType type = DType::int4;
  static constexpr int64_t bytes = block_size / 2;
  static constexpr int rows = code_rows;
  static Block block(const int8_t* x, const float* scales) { return block_i4(x, scales); }
  static V dot(const uint8_t* w, const Block& x) { return dot_i4(w, x); }
  static V spread(const float* scales) { return spread_i4(scales); }
};

static inline Scales scales_of(DType type, const uint8_t* row, int64_t E) {
  Scales scales;
  scales.stored = reinterpret_cast<const uint16_t*>(row + code_bytes(type, E));
  return scales;
}

// Blocks of one row of activations, the last padded with zeros.
template <class Q>
static void prepare_blocks(const uint8_t* row, int64_t E, Block* out) {
  Scales scales = scales_of(DType::int8, row, E);
  for (int64_t e0 = 0, e1; e0 < E; e0 = e1) {
    e1 = chunk_end(e0, E);
    memset(scales.value, 0, sizeof scales.value);
    scales.prepare(e0, e1);
    for (int64_t e = e0; e < e1; e += block_size) {
      int8_t codes[block_size] = {};
      memcpy(codes, row + e, static_cast<size_t>(least(block_size, E - e)));
      *out++ = Q::block(codes, scales.value + e / group_size % Scales::groups);
    }
  }
}

// out[t * out_stride + r] = w[r] · x[t] for R rows and T activations of `blocks` blocks each. `ahead`:
// rows to prefetch meanwhile, or null.
template <class Q, int R, int T>
static void code_tile(const uint8_t* const* w, const uint8_t* const* ahead, const Block* x,
                      int64_t E, float* out, int64_t out_stride) {
  const int64_t row = row_bytes(Q::type, E);
  const int64_t step = R * (row * block_size / E + 1);
  Ahead next(ahead, R, 0, row);
  const int64_t blocks = blocks_of(E), whole = E / block_size;
  Scales scales[R];
  V sums[R][T];
  for (int r = 0; r < R; r++) {
    scales[r] = scales_of(Q::type, w[r], E);
    for (int t = 0; t < T; t++) sums[r][t] = zero();
  }
  constexpr int64_t each = chunk / block_size;
  for (int64_t b0 = 0; b0 < blocks; b0 += each) {
    const int64_t b1 = least(b0 + each, blocks);
    for (int r = 0; r < R; r++) {
      if (b1 > whole) memset(scales[r].value, 0, sizeof scales[r].value);
      scales[r].prepare(b0 * block_size, least(b1 * block_size, E));
    }
    for (int64_t b = b0; b < b1; b++) {
      next.ask(step);
      uint8_t rest[R][Q::bytes];
      for (int r = 0; r < R; r++) {
        const uint8_t* codes = w[r] + b * Q::bytes;
        if (b == whole) {  // the last block lacks codes: what follows is not ours to multiply
          memset(rest[r], 0, sizeof rest[r]);
          memcpy(rest[r], codes, static_cast<size_t>(code_bytes(Q::type, E) - b * Q::bytes));
          codes = rest[r];
        }
        const V scale = Q::spread(scales[r].value + (b - b0) * block_groups);
        for (int t = 0; t < T; t++) {
          const Block& activation = x[t * blocks + b];
          sums[r][t] = fma(Q::dot(codes, activation), mul(scale, activation.scale), sums[r][t]);
        }
      }
    }
  }
  for (int r = 0; r < R; r++)
    for (int t = 0; t < T; t++) out[t * out_stride + r] = sum(sums[r][t]);
}

// All dot products of `rows` rows and T activations. `ahead` as above, one for each row.
template <class Q>
static void code_dots(const uint8_t* const* w, const uint8_t* const* ahead, int64_t rows,
                      const Block* x, int64_t T, int64_t E, float* out, int64_t out_stride) {
  constexpr int most_t = 4;
  const int64_t blocks = blocks_of(E);
  for (int64_t t = 0, n; t < T; t += n) {
    n = T - t >= most_t ? most_t : 1;
    const Block* from = x + t * blocks;
    float* to = out + t * out_stride;
    const uint8_t* const* next = t == 0 ? ahead : nullptr;
    const auto tile = [&]<int R>(int64_t r) {
      const uint8_t* const* then = next ? next + r : nullptr;
      if (n == most_t)
        code_tile<Q, R, most_t>(w + r, then, from, E, to + r, out_stride);
      else
        code_tile<Q, R, 1>(w + r, then, from, E, to + r, out_stride);
    };
    int64_t r = 0;
    for (; r + Q::rows <= rows; r += Q::rows) tile.template operator()<Q::rows>(r);
    for (; r < rows; r++) tile.template operator()<1>(r);
  }
}

}  // namespace dejavu::DEJAVU_ISA
