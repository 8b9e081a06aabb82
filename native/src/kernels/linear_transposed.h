// linearTransposed: y[t] = Σ_n x[t, n] · w[n] + bias + add[t], all n or those selected.
//
// A task owns a range of inputs n, whose rows are one run of memory, and adds them up in ascending
// order; whichever task ends last adds the tasks' sums, in their order. The ranges follow from the shape
// alone. So the bits depend neither on threads nor on what is selected: a row with x of 0, or one left
// out, changes none. With many activations a task owns columns instead (`multiply`).
//
// Codes of int4 rows are multiplied by whole numbers (code_sums.h): those sums are exact, and their order does
// not matter. From 8 activations on, tiles round (`tiled`, `few`); then rows that are left out change bits.
#pragma once

namespace dejavu::DEJAVU_ISA::linear_transposed {

enum { x, w, bias, add, select, y };
enum { block };

// From this many activations on, rows that all of them use are decoded once for many.
constexpr int64_t pack_from = 8;
// Weights that make a task worth its sum, and most tasks.
constexpr int64_t task_weights = 1 << 16, large_task_weights = 1 << 20;
constexpr int64_t most_tasks = 8;
// Columns of a panel of tiles.
constexpr int64_t tile_columns = 128;
// Before the sums in shared memory: how many tasks have ended.
constexpr size_t count_bytes = 64;

// Whether tiles are made for activations that are few: they are multiplied by the weights' scales then, and
// rounded.
static bool few(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  return FewTiles::here && T >= tiles_from && T <= tile_side && !per_row(c.operand[select]) &&
         format_of(c.operand[w].type).bits == 4 && c.operand[w].dim[1] % group_size == 0;
}

static bool packs(const Command& c) {
  return c.operand[x].dim[0] >= pack_from && !per_row(c.operand[select]) && !few(c);
}

// Whether that is done by tiles: x is rounded then.
static bool tiled(const Command& c) {
  return Tiles::here && packs(c) && format_of(c.operand[w].type).bits &&
         c.operand[x].dim[0] >= tiles_from;
}

static int tasks(const Command& c, int threads) {
  const Operand& weights = c.operand[w];
  const auto [N, E] = weights.matrix();
  const int64_t T = c.operand[x].dim[0];
  // Each task packs the activations for itself.
  if (tiled(c))
    return static_cast<int>(
        least(split(tiles_in(E, tile_columns), weights.size(), threads), 2 * threads));
  if (packs(c)) return split(most(1, E / panel_columns), weights.size() * T, threads);
  const int64_t blocks = N / static_cast<int64_t>(c.param[block]);
  const int64_t few = most(4, weights.size() / large_task_weights);
  const int64_t wanted = most((N + most_code_rows - 1) / most_code_rows,
                              least(most_tasks, least(weights.size() / task_weights, few)));
  return static_cast<int>(most(1, least(blocks, wanted)));
}

static size_t sums_bytes(const Command& c) {
  return sizeof(float) * static_cast<size_t>(c.operand[x].dim[0] * c.operand[w].dim[1]);
}

// Tiles across the most columns that a task has, in whole panels.
static int64_t columns_across(const Command& c) {
  int64_t across = 0;
  for (int task = 0; task < c.tasks; task++) {
    const Range columns = share(c.operand[w].dim[1], task, c.tasks, tile_columns);
    across = most(across, round_up(columns.end - columns.begin, tile_columns) / tile_side);
  }
  return across;
}

// Room of few activations: a panel's own numbers, scales and middles, then tiles.
struct FewRoom {
  static constexpr int64_t depth = 128, steps = depth / tile_depth;
  float inputs[tile_side][depth], scale[Scales::groups][depth], middle[Scales::groups][depth];
  alignas(64) uint8_t left[steps * tile_bytes], right[steps * 2 * tile_bytes];
};

static size_t workspace(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  if (few(c)) return sums_bytes(c) + sizeof(FewRoom);
  if (tiled(c)) {
    constexpr int64_t depth = panel_depth / tile_depth;
    const int64_t down = tiles_in(T, tile_side);
    const int64_t tiles = down * (depth + columns_across(c)) + tile_columns / tile_side * depth;
    return static_cast<size_t>(tiles * tile_bytes);
  }
  if (packs(c)) return sizeof(float) * static_cast<size_t>(panel_rows * (panel_columns + T));
  if (format_of(c.operand[w].type).bits == 4)
    return sums_bytes(c) + CodeSums<DType::int4>::room(c.operand[w].dim[1]);
  return sums_bytes(c) + sizeof(float) * static_cast<size_t>(flow_rows * T);
}

static size_t shared(const Command& c) {
  if (packs(c)) return 0;
  const bool codes = format_of(c.operand[w].type).bits == 4;
  const size_t peaks = codes ? sizeof(float) * static_cast<size_t>(c.operand[w].dim[0]) : 0;
  return count_bytes + static_cast<size_t>(c.tasks) * sums_bytes(c) + peaks;
}

// sums [T, E] += x · w over R rows in flight; `ahead`: rows to prefetch meanwhile. The bits of one
// activation do not depend on the others.
template <class D, int R>
static void flow(const uint8_t* const* rows, const uint8_t* const* ahead, const float* factor,
                 int64_t T, Columns E, float* sums) {
  typename D::Row row[R];
  for (int r = 0; r < R; r++) row[r] = D::row(rows[r], E);
  const int64_t bytes = row_bytes(D::type, E);
  const int64_t step = R * (bytes * group_size / E + 1);
  Ahead next(ahead, R, 0, bytes);
  for (int64_t e0 = 0, e1; e0 < E; e0 = e1) {
    e1 = chunk_end(e0, E);
    for (int r = 0; r < R; r++) row[r].prepare(e0, e1);
    int64_t i = e0;
    for (; i + group_size <= e1; i += group_size) {
      next.ask(step);
      for (int64_t t = 0; t < T; t++) {
        V term[R];
        for (int r = 0; r < R; r++) term[r] = row[r].term(i, factor[t * R + r]);
#pragma GCC unroll 8
        for (int s = 0; s < group_size; s += W) {
          float* place = sums + t * E + i + s;
          V sum = load(place);
          for (int r = 0; r < R; r++) sum = row[r].plus(sum, term[r], i, s);
          store(place, sum);
        }
      }
    }
    for (int s = 0; i + s < e1; s += W)
      for (int64_t t = 0; t < T; t++) {
        const int64_t n = least(W, e1 - i - s);
        float* place = sums + t * E + i + s;
        V sum = load(place, n);
        for (int r = 0; r < R; r++) sum = fma(row[r].at(i, s, n), set(factor[t * R + r]), sum);
        store(place, sum, n);
      }
  }
}

// sums [T, E] = x · w over inputs begin … end-1 of those chosen; `factor` is room for their x.
template <class D>
static void walk(const Command& c, Chosen inputs, Range range, int64_t t0, int64_t T, float* sums,
                 float* factor) {
  const Operand& weights = c.operand[w];
  const auto [N, E] = weights.matrix();
  const int64_t stride = row_bytes(weights.type, E);
  const float* input = c.operand[x].f32() + t0 * N;
  memset(sums, 0, sizeof(float) * static_cast<size_t>(T * E));
  const auto at = [&](int64_t i) { return weights.data + inputs[least(i, range.end - 1)] * stride; };
  for (int64_t i = range.begin, n; i < range.end; i += n) {
    n = range.end - i >= flow_rows ? flow_rows : 1;
    const uint8_t* rows[flow_rows];
    const uint8_t* ahead[flow_rows];
    for (int64_t r = 0; r < n; r++) {
      rows[r] = at(i + r);
      ahead[r] = at(i + r + flow_rows);
      for (int64_t t = 0; t < T; t++) factor[t * n + r] = input[t * N + inputs[i + r]];
    }
    if (n == 1)
      flow<D, 1>(rows, ahead, factor, T, E, sums);
    else
      flow<D, flow_rows>(rows, ahead, factor, T, E, sums);
  }
}

// The same for 4-bit codes, through exact sums of codes; `room` is CodeSums'.
template <class D>
static void walk_codes(const Command& c, Chosen inputs, Range range, int64_t t0, int64_t T,
                       float* sums, float* room) {
  const auto [N, E] = c.operand[w].matrix();
  const size_t before = count_bytes + static_cast<size_t>(c.tasks) * sums_bytes(c);
  float* peaks = c.tasks > 1 ? reinterpret_cast<float*>(c.shared + before) : nullptr;
  for (int64_t t = 0; t < T; t++)
    CodeSums<D::type>{c.operand[w].data, E, inputs, range, c.operand[x].f32() + (t0 + t) * N, peaks}
        .run(sums + t * E, room);
}

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
static void walk_few(const Command& c, Chosen inputs, Range range, float* sums, FewRoom& room) {
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

// y's columns = x · w for all activations, a panel of decoded weights at a time.
template <class D>
static void multiply(const Command& c, Chosen inputs, Range columns, float* panel) {
  const Operand& weights = c.operand[w];
  const auto [N, E] = weights.matrix();
  const int64_t stride = row_bytes(weights.type, E);
  const int64_t T = c.operand[x].dim[0];
  float* gathered = panel + panel_rows * panel_columns;
  for (int64_t t = 0; t < T && inputs.size() == 0; t++)
    memset(c.operand[y].f32() + t * E + columns.begin, 0,
           sizeof(float) * static_cast<size_t>(columns.end - columns.begin));
  for (int64_t k = 0; k < inputs.size(); k += panel_rows) {
    const int64_t depth = least(panel_rows, inputs.size() - k);
    Places a{c.operand[x].f32() + k, N, 1};
    if (inputs.index) {
      for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < depth; i++)
          gathered[t * panel_rows + i] = c.operand[x].f32()[t * N + inputs[k + i]];
      a = {gathered, panel_rows, 1};
    }
    for (int64_t e = columns.begin; e < columns.end; e += panel_columns) {
      const int64_t end = least(e + panel_columns, columns.end);
      for (int64_t i = 0; i < depth; i++)
        decode_row<D>(D::row(weights.data + inputs[k + i] * stride, E), e, end,
                      panel + i * panel_columns);
      outer(T, end - e, depth, a, panel, panel_columns, c.operand[y].f32() + e, E, k == 0);
    }
  }
}

// y[t] = (sums of all tasks, in order) + bias + add[t] over a range of columns.
static void finish(const Command& c, int64_t t, Range columns, const float* sums, int parts,
                   int64_t part_stride) {
  const int64_t E = c.operand[y].dim[1];
  float* out = c.operand[y].f32() + t * E;
  const float* offset = c.operand[bias].f32();
  const float* residual = c.operand[add].data ? c.operand[add].f32() + t * E : nullptr;
  for (int64_t e = columns.begin; e < columns.end; e += W) {
    const int64_t n = least(W, columns.end - e);
    V sum = load(sums + e, n);
    for (int p = 1; p < parts; p++) sum = DEJAVU_ISA::add(sum, load(sums + p * part_stride + e, n));
    if (offset) sum = DEJAVU_ISA::add(sum, load(offset + e, n));
    if (residual) sum = DEJAVU_ISA::add(sum, load(residual + e, n));
    store(out + e, sum, n);
  }
}

// Places among those chosen of the inputs that are this task's.
static Range inputs_of(const Chosen& inputs, int64_t blocks, int task, int tasks) {
  const Range range = share(blocks, task, tasks);
  if (!inputs.index) return {range.begin * inputs.block, range.end * inputs.block};
  const auto first_from = [&](int64_t bound) {
    int64_t low = 0, high = inputs.count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (inputs.index[middle] < bound)
        low = middle + 1;
      else
        high = middle;
    }
    return low * inputs.block;
  };
  return {first_from(range.begin), first_from(range.end)};
}

static void run_columns(const Command& c, int task, float* panel) {
  const auto [N, E] = c.operand[w].matrix();
  const int64_t T = c.operand[x].dim[0];
  const Chosen inputs = chosen(c.operand[select], 0, N, static_cast<int64_t>(c.param[block]));
  const Range columns = share(E, task, c.tasks, panel_columns);
  if (columns.begin == columns.end) return;
  with_weights(c.operand[w].type,
               [&](auto type) { multiply<decltype(type)>(c, inputs, columns, panel); });
  for (int64_t t = 0; t < T; t++) finish(c, t, columns, c.operand[y].f32() + t * E, 1, 0);
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

static void run(const Command& c, int task, float* workspace) {
  if constexpr (Tiles::here) {
    if (tiled(c))
      return with_weights(c.operand[w].type, [&](auto type) {
        using D = decltype(type);
        if constexpr (format_of(D::type).bits)
          run_tiles<D>(c, task, reinterpret_cast<uint8_t*>(workspace));
      });
  }
  if (packs(c)) return run_columns(c, task, workspace);
  const auto [N, E] = c.operand[w].matrix();
  const int64_t T = c.operand[x].dim[0];
  const int64_t size = static_cast<int64_t>(c.param[block]);
  const int64_t each = per_row(c.operand[select]) ? 1 : T;
  float* parts = c.tasks > 1 ? reinterpret_cast<float*>(c.shared + count_bytes) : workspace;
  float* sums = parts + task * T * E;
  float* room = workspace + T * E;
  with_weights(c.operand[w].type, [&](auto type) {
    using D = decltype(type);
    for (int64_t t = 0; t < T; t += each) {
      const Chosen inputs = chosen(c.operand[select], t, N, size);
      const Range mine = inputs_of(inputs, N / size, task, c.tasks);
      if constexpr (FewTiles::here && format_of(D::type).bits == 4)
        if (few(c)) {
          walk_few<D>(c, inputs, mine, sums, *reinterpret_cast<FewRoom*>(room));
          continue;
        }
      if constexpr (format_of(D::type).bits == 4)
        walk_codes<D>(c, inputs, mine, t, each, sums + t * E, room);
      else
        walk<D>(c, inputs, mine, t, each, sums + t * E, room);
    }
  });
  if (c.tasks > 1) {
    int* ended = reinterpret_cast<int*>(c.shared);
    if (__atomic_add_fetch(ended, 1, __ATOMIC_ACQ_REL) < c.tasks) return;
    __atomic_store_n(ended, 0, __ATOMIC_RELAXED);
  }
  for (int64_t t = 0; t < T; t++) finish(c, t, {0, E}, parts + t * E, c.tasks, T * E);
}

static Span reads(const Command& c, int task, int64_t piece) {
  if (packs(c) || per_row(c.operand[select])) return {};
  const int64_t N = c.operand[w].dim[0], size = static_cast<int64_t>(c.param[block]);
  const Chosen inputs = chosen(c.operand[select], 0, N, size);
  return piece_of(c.operand[w], inputs, inputs_of(inputs, N / size, task, c.tasks), piece);
}

static constexpr Kernel kernel{"linearTransposed",
                               6,
                               1,
                               1u << bias | 1u << add | 1u << select,
                               tasks,
                               workspace,
                               run,
                               shared,
                               reads};

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
