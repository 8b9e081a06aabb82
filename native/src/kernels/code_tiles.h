// Dot products of quantized rows of weights with a few activations rounded to int8, by tiles of whole
// numbers: weights are unpacked once for all of them, to bytes, never to floats. Products within a group of
// 32 are exact, as those of dot_codes.h; groups are added in ascending order, in f32.
//
// A SIMD layer that has `CodeTiles` defines DEJAVU_TILES; for others `CodeTiles::here` is false and nothing of this is compiled.
#pragma once

namespace dejavu::DEJAVU_ISA {

#ifndef DEJAVU_TILES
struct CodeTiles {
  static constexpr bool here = false;
};
#endif

// For so many activations at most, from `tiles_from` on; for more, tiles of bf16 have less to do (tiles.h).
constexpr int64_t most_code_tiled = 32;
// Rows of weights, and elements of them, that are unpacked at a time.
constexpr int64_t unpacked_rows = 32, unpacked_depth = 128, unpacked_groups = unpacked_depth / group_size;

// Activations [T, E] as right tiles, by 16 of them and then by group, with their scales, in Q's unit, and
// their sums where weights have minima; all padded with zeros.
struct CodeColumns {
  const uint8_t* tiles;  // [T / 16, groups, 8, 16] of four bytes: four elements of an activation
  const float *scales, *sums;  // [T / 16, groups, 16]
  int64_t blocks, groups;

  static constexpr int64_t tile = 8 * 64;
  static int64_t groups_of(int64_t E) { return round_up(E, chunk) / group_size; }
  static int64_t bytes(int64_t T, int64_t E) {
    const int64_t each = tile + 2 * 16 * static_cast<int64_t>(sizeof(float));
    return tiles_in(T, tile_side) * groups_of(E) * each;
  }

  // In `room` of `bytes`.
  template <class Q, class M>
  static CodeColumns of(const Operand& x, uint8_t* room) {
    const auto [T, E] = x.matrix();
    const int64_t stride = row_bytes(DType::int8, E);
    const int64_t blocks = tiles_in(T, tile_side), groups = groups_of(E);
    const int64_t numbers = blocks * groups * tile_side;
    float* scales = reinterpret_cast<float*>(room + blocks * groups * tile);
    float* sums = scales + numbers;
    memset(scales, 0, 2 * sizeof(float) * static_cast<size_t>(numbers));
    for (int64_t t = 0; t < T; t++) {
      const uint8_t* row = x.data + t * stride;
      Scales own = Scales::of(row, DType::int8, E);
      for (int64_t e = 0; e < E; e += group_size) {
        if (e % chunk == 0) own.prepare(e, chunk_end(e, E));
        const int64_t at = (t / tile_side * groups + e / group_size) * tile_side + t % tile_side;
        scales[at] = Q::unit * own.number(e);
        if (!format_of(Q::type).minima) continue;
        int sum = 0;
        for (int64_t i = e; i < least(E, e + group_size); i++) sum += static_cast<int8_t>(row[i]);
        sums[at] = scales[at] * static_cast<float>(sum);
      }
    }
    uint8_t* to = room;
    for (int64_t first = 0; first < T; first += tile_side)
      for (int64_t e = 0; e < groups * group_size; e += 2 * group_size, to += 2 * tile) {
        uint8_t codes[tile_side][2 * group_size] = {};
        const int64_t known = most(0, least(2 * group_size, E - e));
        for (int64_t t = first; t < least(T, first + tile_side); t++)
          memcpy(codes[t - first], x.data + t * stride + e, static_cast<size_t>(known));
        V lanes[tile_side];
        memcpy(lanes, codes, sizeof lanes);
        M::transpose(lanes);
        memcpy(to, lanes, sizeof lanes);
      }
    return {room, scales, sums, blocks, groups};
  }
};

// out[t * out_stride + r] = w[r] · x[t] for `unpacked_rows` rows and T activations, whole rows of 16 of them.
// `ahead`: as many rows that come next, whose memory is asked for meanwhile.
template <class Q, class M>
static void tile_dots(const uint8_t* const* w, const uint8_t* const* ahead, const CodeColumns& x,
                     Columns E, float* out, int64_t T, int64_t out_stride) {
  constexpr bool minima = format_of(Q::type).minima;
  constexpr int bits = format_of(Q::type).bits;
  constexpr int64_t step = unpacked_depth * bits / 8;
  struct alignas(64) Room {
    uint8_t left[unpacked_rows * unpacked_depth];
    int32_t products[unpacked_groups * unpacked_rows * tile_side];
    float sums[most_code_tiled / tile_side][unpacked_rows][tile_side];
    float scale[unpacked_rows][Scales::groups], middle[minima ? unpacked_rows : 1][Scales::groups];
  } room;
  memset(room.sums, 0, sizeof room.sums);
  const int64_t codes = code_bytes(Q::type, E);

  const auto prepare = [&](int64_t e) {
    const int64_t count = least(chunk, E - e);
    for (int64_t r = 0; r < unpacked_rows; r++) {
      Scales scales = Scales::of(w[r], Q::type, E);
      CodeTile<Q, 1, 1>::prepare(scales, e, count);
      __builtin_prefetch(ahead[r] + codes + e / group_size * 2, 0, 2);
      for (int64_t g = 0; g < Scales::groups; g += W)
        store(room.scale[r] + g, load(scales.value + g));
      if constexpr (minima) {
        Scales lowest = Scales::minima_of(w[r], Q::type, E);
        CodeTile<Q, 1, 1>::prepare(lowest, e, count);
        for (int64_t g = 0; g < Scales::groups; g += W)
          store(room.middle[r] + g, fma(load(scales.value + g), set(8), load(lowest.value + g)));
      }
    }
  };
  const auto unpack = [&](int64_t place) {
    for (int64_t r = 0; r < unpacked_rows; r++) {
      const uint8_t* from = w[r] + place;
      uint8_t last[step];
      if (place + step > codes) {  // what follows a row's codes may not be ours to read
        memset(last, 0, sizeof last);
        memcpy(last, from, static_cast<size_t>(codes - place));
        from = last;
      }
      for (int64_t at = 0; at < step; at += 64) __builtin_prefetch(ahead[r] + place + at, 0, 2);
      M::template unpack<bits>(room.left + r * unpacked_depth, from);
    }
  };
  // Of a block of activations, for groups from g on.
  const auto add = [&](int64_t b, int64_t g) {
    const int64_t at = (b * x.groups + g) * tile_side, first = g % Scales::groups;
    for (int64_t r = 0; r < unpacked_rows; r++) {
      V sum = load(room.sums[b][r]);
#pragma GCC unroll 4
      for (int64_t i = 0; i < unpacked_groups; i++) {
        const V whole = M::whole(room.products + (i * unpacked_rows + r) * tile_side);
        sum = fma(mul(whole, load(x.scales + at + i * tile_side)), set(room.scale[r][first + i]), sum);
        if constexpr (minima)
          sum = fma(load(x.sums + at + i * tile_side), set(room.middle[r][first + i]), sum);
      }
      store(room.sums[b][r], sum);
    }
  };

  for (int64_t e = 0; e < E; e += unpacked_depth) {
    if (e % chunk == 0) prepare(e);
    unpack(e * bits / 8);
    const int64_t g = e / group_size;
    for (int64_t b = 0; b < x.blocks; b++) {
      M::multiply(room.left, x.tiles + (b * x.groups + g) * CodeColumns::tile, room.products);
      add(b, g);
    }
  }
  for (int64_t b = 0; b < x.blocks; b++)
    for (int64_t half = 0; half < unpacked_rows; half += tile_side) {
      V lanes[tile_side];
      for (int64_t r = 0; r < tile_side; r++) lanes[r] = load(room.sums[b][half + r]);
      M::transpose(lanes);
      for (int64_t t = 0; t < least(tile_side, T - b * tile_side); t++)
        store(out + (b * tile_side + t) * out_stride + half, lanes[t]);
    }
}

}  // namespace dejavu::DEJAVU_ISA
