// Dot products of quantized rows of weights with activations rounded to int8: integers within a group of
// 32, one f32 product of both scales for each group.
#pragma once

namespace dejavu::DEJAVU_ISA {

// Most rows of weights a tile takes at a time.
constexpr int code_rows = 8;

// How blocks of `groups` times 32 codes are laid out and multiplied, by weight type. `unit`: what their
// whole numbers count in. `rows`: of a tile.
template <DType t, class B, int block_groups, int tile_rows = code_rows>
struct CodesOf {
  using Block = B;
  static constexpr DType type = t;
  static constexpr int groups = block_groups;
  static constexpr int64_t size = groups * group_size, bytes = size * format_of(t).bits / 8;
  static constexpr int rows = tile_rows;
  static constexpr float unit = format_of(t).bits == 2 ? 0.5f : 1;
};
struct Codes8 : CodesOf<DType::int8, Block8, groups_i8, 4> {
  static Block block(const int8_t* x) { return block_i8(x); }
  static V dot(const uint8_t* w, const Block& x) {
    return dot_i8(reinterpret_cast<const int8_t*>(w), x);
  }
  static V spread(const float* scales) { return spread_i8(scales); }
};
template <DType t>
struct Codes4 : CodesOf<t, Block4, groups_i4> {
  static Block4 block(const int8_t* x) { return block_i4(x); }
  static V dot(const uint8_t* w, const Block4& x) { return dot_i4(w, x); }
  static V spread(const float* scales) { return spread_i4(scales); }
};
struct Codes2 : CodesOf<DType::int2g128, Block2, groups_i2> {
  static Block block(const int8_t* x) { return block_i2(x); }
  static V dot(const uint8_t* w, const Block& x) { return dot_i2(w, x); }
  static V spread(const float* scales) { return spread_i2(scales); }
};

// Calls f with how codes of `type` are multiplied.
template <class F>
static inline void with_codes(DType type, F f) {
  switch (type) {
    case DType::int8:
      return f(Codes8{});
    case DType::int4:
    case DType::int4g64:
    case DType::int4g128:
      return f(Codes4<DType::int4>{});
    case DType::int4z:
    case DType::int4g64z:
    case DType::int4g128z:
      return f(Codes4<DType::int4z>{});
    case DType::int2g128:
      return f(Codes2{});
    default:
      __builtin_trap();  // ops let no other through
  }
}

// A row of activations rounded to int8: its codes by block, and for each group a scale, in Q's unit, and
// the sum of the activations, all padded with zeros to a whole chunk.
template <class Q>
struct CodedRow {
  const typename Q::Block* blocks;
  const float *scales, *sums;

  static int64_t chunks(int64_t E) { return (E + chunk - 1) / chunk; }
  static int64_t blocks_of(int64_t E) { return chunks(E) * chunk / Q::size; }
  static int64_t bytes(int64_t E) {
    return blocks_of(E) * static_cast<int64_t>(sizeof(typename Q::Block)) +
           2 * chunks(E) * Scales::groups * static_cast<int64_t>(sizeof(float));
  }

  // In `room` of `bytes`.
  static CodedRow of(const uint8_t* row, int64_t E, uint8_t* room) {
    auto* block = reinterpret_cast<typename Q::Block*>(room);
    float* by_group = reinterpret_cast<float*>(block + blocks_of(E));
    float* sum_of = by_group + chunks(E) * Scales::groups;
    const CodedRow made{block, by_group, sum_of};
    Scales scales = Scales::of(row, DType::int8, E);
    for (int64_t e0 = 0, e1; e0 < E; e0 = e1) {
      e1 = chunk_end(e0, E);
      memset(scales.value, 0, sizeof scales.value);
      scales.prepare(e0, e1);
      for (int64_t g = 0; g < Scales::groups; g += W) {
        const V some = load(scales.value + g);
        store(by_group + g, Q::unit == 1 ? some : mul(some, set(Q::unit)));
      }
      if (format_of(Q::type).minima) add_sums(row, e0, e1, by_group, sum_of);
      by_group += Scales::groups;
      sum_of += Scales::groups;
      for (int64_t e = e0; e < e0 + chunk; e += Q::size) {
        int8_t codes[Q::size] = {};
        if (e < E) memcpy(codes, row + e, static_cast<size_t>(least(Q::size, E - e)));
        *block++ = Q::block(codes);
      }
    }
    return made;
  }

  static void add_sums(const uint8_t* row, int64_t e0, int64_t e1, const float* scale, float* out) {
    for (int64_t g = 0; g < Scales::groups; g++) {
      int sum = 0;
      for (int64_t e = e0 + g * group_size; e < least(e1, e0 + (g + 1) * group_size); e++)
        sum += static_cast<int8_t>(row[e]);
      out[g] = scale[g] * static_cast<float>(sum);
    }
  }
};

// How far ahead of the row in work memory is asked for where rows lie one after the other: into the first
// cache, and into the second that much further.
constexpr int64_t ahead_bytes = 2048, far_bytes = 3072;

// A tile of R rows and T activations on its way over the chunks of a row. Memory at `ahead` is asked for
// meanwhile: the same places of rows that come later; of a `stream` those at `far` too.
template <class Q, int R, int T, bool stream = false>
struct CodeTile {
  static constexpr int64_t each = chunk / Q::size;
  const uint8_t* const* w;
  const uint8_t* const* ahead;
  const uint8_t* far;
  const CodedRow<Q>* x;
  Columns E;
  V sums[R][T];
  V rest[R][T];  // of minima, where there are any: in the middle of a group's codes, times its activations
  float both[R][T][Scales::groups];  // products of the scales of weights and activations

  // Those of the chunk that begins at e, of which `count` elements are there; zeros after them.
  static DEJAVU_INLINE void prepare(Scales& scales, int64_t e, int64_t count) {
    if (count == chunk) return scales.prepare(e, e + count);
    for (int64_t g = 0; g < Scales::groups; g += W) store(scales.value + g, zero());
    if (scales.group != group_size) return scales.prepare(e, e + count);
    const int64_t groups = (count + group_size - 1) / group_size;
    for (int64_t g = 0; g < groups; g += W)  // whole vectors are stored, which loads get at once
      store(scales.value + g, load_f16(scales.stored + e / group_size + g, least(W, groups - g)));
  }

  DEJAVU_INLINE void scale(int64_t e, int64_t count) {
    for (int r = 0; r < R; r++) {
      Scales scales = Scales::of(w[r], Q::type, E);
      prepare(scales, e, count);
      __builtin_prefetch(ahead[r] + code_bytes(Q::type, E) + e / group_size * 2);
      for (int t = 0; t < T; t++)
        for (int64_t g = 0; g < Scales::groups; g += W)
          store(both[r][t] + g, mul(load(scales.value + g), load(x[t].scales + e / group_size + g)));
      if (format_of(Q::type).minima) add_minima(e, count, r, scales);
    }
  }

  DEJAVU_INLINE void add_minima(int64_t e, int64_t count, int r, const Scales& scales) {
    Scales minima = Scales::minima_of(w[r], Q::type, E);
    prepare(minima, e, count);
    for (int64_t g = 0; g < Scales::groups; g += W) {
      const V middle = fma(load(scales.value + g), set(8), load(minima.value + g));
      for (int t = 0; t < T; t++)
        rest[r][t] = fma(middle, load(x[t].sums + e / group_size + g), rest[r][t]);
    }
  }

  // Block b of the chunk that begins at e; `codes`: where those of row r lie.
  DEJAVU_INLINE void multiply(int64_t e, int64_t b, int r, const uint8_t* codes) {
    for (int t = 0; t < T; t++)
      sums[r][t] = fma(Q::dot(codes, x[t].blocks[e / Q::size + b]),
                       Q::spread(both[r][t] + b * Q::groups), sums[r][t]);
  }

  // As `multiply`, of row r's block at `place`, where its codes may end: what lies behind them counts as 0.
  DEJAVU_INLINE void multiply_last(int64_t e, int64_t b, int r, int64_t place) {
    const int64_t count = code_bytes(Q::type, E) - place;
    if (count >= Q::bytes) return multiply(e, b, r, w[r] + place);
    uint8_t codes[Q::bytes] = {};
    memcpy(codes, w[r] + place, static_cast<size_t>(count));
    multiply(e, b, r, codes);
  }

  DEJAVU_INLINE void run(float* out, int64_t out_stride) {
    for (int r = 0; r < R; r++)
      for (int t = 0; t < T; t++) sums[r][t] = rest[r][t] = zero();
    int64_t e = 0;
    for (; e + chunk <= E; e += chunk) {
      scale(e, chunk);
#pragma GCC unroll 8
      for (int64_t b = 0; b < each; b++)
        for (int r = 0; r < R; r++) {
          const int64_t place = (e / Q::size + b) * Q::bytes;
          if (b * Q::bytes % 64 == 0) {
            __builtin_prefetch(ahead[r] + place);
            if (stream) __builtin_prefetch(far + place, 0, 2);
          }
          multiply(e, b, r, w[r] + place);
        }
    }
    if (e < E) {
      scale(e, E - e);
      for (int64_t b = 0; e + b * Q::size < E; b++)
        for (int r = 0; r < R; r++) multiply_last(e, b, r, (e / Q::size + b) * Q::bytes);
    }
    for (int r = 0; r < R; r++)
      for (int t = 0; t < T; t++)
        out[t * out_stride + r] =
            sum(format_of(Q::type).minima ? add(sums[r][t], rest[r][t]) : sums[r][t]);
  }
};

// Rows that are shorter are not worth a tile each.
constexpr int64_t stream_bytes = 512;

// All dot products of `rows` rows and T activations. Rows in one run of memory are read one by one, as
// one stream; rows that lie apart several at a time, while those of `ahead` are asked for.
template <class Q>
static void code_dots(const uint8_t* const* w, const uint8_t* const* ahead, bool one_run,
                      int64_t rows, const CodedRow<Q>* x, int64_t T, Columns E, float* out,
                      int64_t out_stride) {
  constexpr int most_t = 4;
  // Row r, which may be one of those behind them.
  const auto later = [&](int64_t r) { return r < rows ? w[r] : ahead[r - Q::rows]; };
  const auto tile = [&]<int R>(int64_t r, const uint8_t* const* next) {
    for (int64_t t = 0, n; t < T; t += n) {
      n = T - t >= most_t ? most_t : T - t >= 2 ? 2 : 1;
      float* to = out + t * out_stride + r;
      if (n == most_t)
        CodeTile<Q, R, most_t>{w + r, next, nullptr, x + t, E}.run(to, out_stride);
      else if (n == 2)
        CodeTile<Q, R, 2>{w + r, next, nullptr, x + t, E}.run(to, out_stride);
      else
        CodeTile<Q, R, 1>{w + r, next, nullptr, x + t, E}.run(to, out_stride);
    }
  };
  const int64_t bytes = row_bytes(Q::type, E);
  const int64_t near = least(Q::rows - 1, (ahead_bytes + bytes - 1) / bytes);
  const int64_t far = least(Q::rows, (ahead_bytes + far_bytes + bytes - 1) / bytes);
  int64_t r = 0;
  if (one_run && T == 1 && bytes >= stream_bytes)
    for (; r < rows; r++) {
      const bool on = w[r] + far * bytes == later(r + far);
      const uint8_t* next = on ? w[r] + ahead_bytes : later(r + near);
      const uint8_t* farther = on ? next + far_bytes : later(r + far);
      CodeTile<Q, 1, 1, true>{w + r, &next, farther, x, E}.run(out + r, out_stride);
    }
  if (T >= 2)  // twice the rows would be more sums than there are registers
    for (; r + 4 <= rows; r += 4) tile.template operator()<4>(r, ahead + r);
  for (; r + Q::rows <= rows; r += Q::rows) tile.template operator()<Q::rows>(r, ahead + r);
  for (; r < rows; r++) tile.template operator()<1>(r, ahead + r);
}

}  // namespace dejavu::DEJAVU_ISA
