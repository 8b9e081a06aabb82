// linearTransposed, path `tiles`: many activations times quantized weights, by tiles of bf16.
#pragma once

#include "sums.h"

namespace dejavu::DEJAVU_ISA::linear_transposed {

// Columns of a panel of tiles.
constexpr int64_t tile_columns = 128;

// Tiles across the most columns that a task has, in whole panels.
static int64_t columns_across(const Command& c) {
  int64_t across = 0;
  for (int task = 0; task < c.tasks; task++) {
    const Range columns = share(c.operand[w].dim[1], task, c.tasks, tile_columns);
    across = most(across, round_up(columns.end - columns.begin, tile_columns) / tile_side);
  }
  return across;
}

// Of a task: activations as left tiles, sums, and a panel of weights.
static size_t tiles_bytes(const Command& c) {
  constexpr int64_t depth = panel_depth / tile_depth;
  const int64_t down = tiles_in(c.operand[x].dim[0], tile_side);
  const int64_t tiles = down * (depth + columns_across(c)) + tile_columns / tile_side * depth;
  return static_cast<size_t>(tiles * tile_bytes);
}

// Inputs begin … end-1 of all activations as left tiles: those of 16 activations one after the other.
template <class M>
static void pack_left(const Command& c, const Chosen& inputs, Range range, uint8_t* to) {
  const auto [T, N] = c.operand[x].matrix();
  for (int64_t t = 0; t < round_up(T, tile_side); t++) {
    const float* row = c.operand[x].f32() + t * N;
    uint8_t* at = to + t / tile_side * (panel_depth / tile_depth) * tile_bytes + t % tile_side * 64;
    for (int64_t k = range.begin; k < range.end; k += tile_depth, at += tile_bytes) {
      const int64_t n = t < T ? least(tile_depth, range.end - k) : 0;
      float gathered[tile_depth];
      const float* from = row + k;
      for (int64_t i = 0; inputs.index && i < n; i++) gathered[i] = row[inputs[k + i]];
      if (inputs.index) from = gathered;
      if (n == tile_depth)
        M::put(at, load(from), load(from + W));
      else
        M::put(at, load(from, least(W, n)), load(from + W, most(0, n - W)));
    }
  }
}

// The weights of inputs and columns begin … end-1 as right tiles: those of 16 columns one after the other.
template <class D, class M>
static void panel_right(const Command& c, const Chosen& inputs, Range range, Range columns,
                        uint8_t* panel) {
  const Columns E = c.operand[w].columns();
  constexpr int64_t next = panel_depth / tile_depth * tile_bytes;
  constexpr int64_t ahead = 16;
  const auto at = [&](int64_t i) {
    return c.operand[w].data + inputs[least(i, range.end - 1)] * row_bytes(D::type, E);
  };
  for (int64_t k = range.begin; k < round_up(range.end - range.begin, tile_depth) + range.begin; k += 2) {
    const int64_t p = k - range.begin;
    const auto a = prepared<D>(at(k), E, columns.begin);
    const auto b = prepared<D>(at(k + 1), E, columns.begin);
    for (int64_t i = 0; i < 2; i++) {
      const uint8_t* row = at(k + ahead + i);
      constexpr int64_t bits = format_of(D::type).bits;
      for (int64_t e = 0; e < tile_columns * bits / 8; e += 64)
        __builtin_prefetch(row + columns.begin * bits / 8 + e);
      __builtin_prefetch(row + code_bytes(D::type, E) + columns.begin / group_size * 2);
    }
    uint8_t* to = panel + p / tile_depth * tile_bytes + p % tile_depth / 2 * 64;
    for (int64_t e = columns.begin; e < columns.end; e += group_size, to += 2 * next)
      put_groups<D, M>(a, b, e, columns.end - e, to, to + next);
  }
}

// y's columns = x · w for all activations by tiles, a panel of weights at a time.
template <class D, class M = Tiles>
static void run_tiles(const Command& c, int task, uint8_t* left) {
  const auto [N, E] = c.operand[w].matrix();
  const int64_t T = c.operand[x].dim[0];
  const Range columns = share(E, task, c.tasks, tile_columns);
  const Chosen inputs = chosen(c.operand[select], 0, N, static_cast<int64_t>(c.param[block]));
  if (columns.begin == columns.end) return;
  constexpr int64_t next = panel_depth / tile_depth * tile_bytes;
  const int64_t down = tiles_in(T, tile_side);
  const int64_t row = columns_across(c) * tile_bytes;  // of sums
  uint8_t* panel = left + down * next;
  uint8_t* sums = panel + tile_columns / tile_side * next;
  if (inputs.size() == 0) memset(sums, 0, static_cast<size_t>(down * row));
  [[maybe_unused]] const M ready;
  for (int64_t k = 0; k < inputs.size(); k += panel_depth) {
    const Range range{k, least(k + panel_depth, inputs.size())};
    const int64_t depth = tiles_in(range.end - k, tile_depth);
    pack_left<M>(c, inputs, range, left);
    for (int64_t e = columns.begin; e < columns.end; e += tile_columns) {
      const int64_t end = least(e + tile_columns, columns.end);
      panel_right<D, M>(c, inputs, range, {e, end}, panel);
      uint8_t* to = sums + (e - columns.begin) / tile_side * tile_bytes;
      for (int64_t i = 0; i < round_up(tiles_in(end - e, tile_side), 2); i += 2)
        for (int64_t t = 0, n; t < down; t += n) {
          n = least(2, down - t);
          (n == 2 ? M::template multiply<2, 2> : M::template multiply<1, 2>)(
              depth, {left + t * next, tile_bytes, next}, {panel + i * next, tile_bytes, next},
              to + t * row + i * tile_bytes, row, tile_bytes, k == 0);
        }
    }
  }
  for (int64_t t = 0; t < T; t++) {
    const uint8_t* from = sums + t / tile_side * row + t % tile_side * 64;
    float* out = c.operand[y].f32() + t * E;
    for (int64_t e = columns.begin; e < columns.end; e += W, from += tile_bytes)
      store(out + e, load(reinterpret_cast<const float*>(from)), least(W, columns.end - e));
    finish(c, t, columns, out, 1, 0);
  }
}

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
