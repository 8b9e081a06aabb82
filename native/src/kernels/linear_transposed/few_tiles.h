// linearTransposed, path `few_tiles`: some activations times 4-bit codes, by tiles of bf16.
#pragma once

#include "sums.h"

namespace dejavu::DEJAVU_ISA::linear_transposed {

// What a task of this path works in: x of `depth` inputs by activation; the scales and middles of these inputs'
// rows, by group of the chunk; x times scales as left tiles; codes as right tiles.
struct FewRoom {
  static constexpr int64_t depth = 128, steps = depth / tile_depth;
  float inputs[tile_side][depth], scale[Scales::groups][depth], middle[Scales::groups][depth];
  alignas(64) uint8_t left[steps * tile_bytes], right[steps * 2 * tile_bytes];
};

// Scales of the chunk that begins at e, and middles where there are minima, of FewRoom::depth rows: by
// group, then by row.
template <class D, class M>
static void few_scales(const uint8_t* const* rows, int64_t e, Columns E, FewRoom& room) {
  static_assert(M::here && Scales::groups == tile_side);
  for (int64_t k = 0; k < FewRoom::depth; k += tile_side) {
    V scale[tile_side], middle[tile_side];
    for (int64_t r = 0; r < tile_side; r++) {
      auto row = D::row(rows[k + r], E);
      row.prepare(e, chunk_end(e, E));
      scale[r] = load(row.scales.value);
      if constexpr (format_of(D::type).minima) middle[r] = load(row.middles.value);
    }
    M::transpose(scale);
    for (int64_t g = 0; g < tile_side; g++) store(room.scale[g] + k, scale[g]);
    if constexpr (!format_of(D::type).minima) continue;
    M::transpose(middle);
    for (int64_t g = 0; g < tile_side; g++) store(room.middle[g] + k, middle[g]);
  }
}

// sums [T, E] = x · w over the range for a few activations: tiles of codes meet those of x times the
// group's scales.
template <class D, class M = FewTiles>
static void sum_by_tiles(const Command& c, Chosen inputs, Range range, float* sums, FewRoom& room) {
  const auto [N, E] = c.operand[w].matrix();
  const int64_t T = c.operand[x].dim[0], stride = row_bytes(D::type, E);
  constexpr int64_t depth = FewRoom::depth, steps = FewRoom::steps;
  if (range.begin == range.end)
    memset(sums, 0, sizeof(float) * static_cast<size_t>(T * E));
  const M ready(T);
  for (int64_t k = range.begin; k < range.end; k += depth) {
    int64_t place[2 * depth];
    const uint8_t* rows[2 * depth];
    inputs.list(k, 2 * depth, range.end, place);
    for (int64_t i = 0; i < 2 * depth; i++) rows[i] = c.operand[w].data + place[i] * stride;
    for (int64_t t = 0; t < T; t++)
      for (int64_t i = 0; i < depth; i++)
        room.inputs[t][i] = k + i < range.end ? c.operand[x].f32()[t * N + place[i]] : 0;
    for (int64_t e = 0; e < E; e += group_size) {
      const int64_t g = e / group_size % Scales::groups;
      if (g == 0) few_scales<D, M>(rows, e, E, room);
      for (int64_t i = depth * e / E; i < depth * (e + group_size) / E; i++)
        for (int64_t at = 0; at < stride; at += 64) __builtin_prefetch(rows[depth + i] + at, 0, 2);
      for (int64_t i = 0; i < depth; i += 2) {
        uint8_t* to = room.right + i / tile_depth * 2 * tile_bytes + i % tile_depth / 2 * 64;
        M::put_codes(to, to + tile_bytes, rows[i] + e / 2, rows[i + 1] + e / 2);
      }
      for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < depth; i += tile_depth) {
          const auto part = [&](int64_t n) {
            return mul(load(room.inputs[t] + n), load(room.scale[g] + n));
          };
          M::put(room.left + (i / tile_depth * T + t) * 64, part(i), part(i + W));
        }
      M::multiply(steps, room.left, T * 64, room.right, sums + e, E * 4, k == range.begin);
      if constexpr (format_of(D::type).minima)
        for (int64_t t = 0; t < T; t++) {
          V rest = zero();
          for (int64_t i = 0; i < depth; i += W)
            rest = fma(load(room.inputs[t] + i), load(room.middle[g] + i), rest);
          const V all = set(sum(rest));
          for (int64_t i = 0; i < group_size; i += W) {
            float* to = sums + t * E + e + i;
            store(to, DEJAVU_ISA::add(load(to), all));
          }
        }
    }
  }
}

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
