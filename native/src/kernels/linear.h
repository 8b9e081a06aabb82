// linear: y[t, n] = act(x[t] · w[n] + bias[n]), all n or those selected.
#pragma once

namespace dejavu::DEJAVU_ISA::linear {

enum { x, w, bias, select, y };
enum { activation, block };

constexpr int64_t batch = 32;  // rows whose results are written together

// Above this many activations a batch of rows is decoded once, not once for each tile.
constexpr int64_t decode_above = 2 * dot_cols;

// Whether all activations meet each panel of weights in tiles: of whole numbers, or of bf16.
static bool few(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  return CodeTiles::here && c.operand[x].type == DType::int8 && T >= tiles_from && T <= most_few &&
         !per_row(c.operand[select]);
}
static bool tiled(const Command& c) {
  return Tiles::here && c.operand[x].type == DType::int8 && c.operand[x].dim[0] >= tiles_from &&
         !few(c) && !per_row(c.operand[select]);
}

static int tasks(const Command& c, int threads) {
  const Operand& weights = c.operand[w];
  // Each task packs the activations for itself.
  if (tiled(c))
    return static_cast<int>(least(split(tiles_in(weights.dim[0], batch), weights.size(), threads),
                                  2 * threads));
  const int64_t rows = per_row(c.operand[select]) ? 1 : c.operand[x].dim[0];
  return split(weights.dim[0], weights.size() * rows, threads);
}

static int64_t results_bytes(int64_t T) {
  return round_up(T * batch * static_cast<int64_t>(sizeof(float)), 64);
}

static size_t workspace(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  const int64_t E = c.operand[w].dim[1];
  if (tiled(c)) {
    const int64_t tiles = tiles_in(T, tile_side) * (2 + tiles_in(E, tile_depth));
    return static_cast<size_t>(results_bytes(T) + (tiles + 2 * panel_depth / tile_depth) * tile_bytes);
  }
  if (few(c)) return static_cast<size_t>(results_bytes(T) + CodeColumns::bytes(T, E));
  if (c.operand[x].type == DType::int8) {
    int64_t row = 0;
    with_codes(c.operand[w].type, [&](auto q) {
      using Row = CodedRow<decltype(q)>;
      row = Row::bytes(E) + static_cast<int64_t>(sizeof(Row));
    });
    return static_cast<size_t>(results_bytes(T) + T * row);
  }
  const int64_t panel = T > decode_above && c.operand[w].type != DType::f32 ? batch * E : 0;
  return sizeof(float) * static_cast<size_t>(T * batch + panel);
}

// Adds the bias of output rows[i], activates and writes `count` results of each of T activations.
static void finish(const Command& c, const int64_t* rows, int64_t count, int64_t t0, int64_t T,
                   float* results) {
  const int64_t N = c.operand[w].dim[0];
  const int code = static_cast<int>(c.param[activation]);
  const bool one_run = rows[count - 1] - rows[0] == count - 1;
  const float* offset = c.operand[bias].data ? c.operand[bias].f32() : nullptr;
  float gathered[batch];
  if (offset && one_run) offset += rows[0];
  if (offset && !one_run) {
    for (int64_t i = 0; i < count; i++) gathered[i] = offset[rows[i]];
    offset = gathered;
  }
  for (int64_t t = 0; t < T; t++) {
    float* row = results + t * batch;
    float* out = c.operand[y].f32() + (t0 + t) * N;
    for (int64_t i = 0; i < count; i += W) {
      const int64_t n = least(W, count - i);
      V sums = load(row + i);
      if (offset) sums = add(sums, load(offset + i, n));
      store(one_run ? out + rows[0] + i : row + i, activate(code, sums), n);
    }
    for (int64_t i = 0; !one_run && i < count; i++) out[rows[i]] = row[i];
  }
}

// Outputs begin … end-1 of `outputs` for activations t0 … t0+T-1.
template <class D>
static void project(const Command& c, Chosen outputs, Range range, int64_t t0, int64_t T,
                    float* results) {
  const Operand& weights = c.operand[w];
  const Columns E = weights.columns();
  const int64_t stride = row_bytes(weights.type, E);
  const float* input = c.operand[x].f32() + t0 * E;
  float* panel = results + c.operand[x].dim[0] * batch;
  const auto at = [&](int64_t i) { return weights.data + outputs[i] * stride; };
  for (int64_t i = range.begin; i < range.end; i += batch) {
    const int64_t count = least(batch, range.end - i);
    int64_t rows[batch];
    const uint8_t* place[batch + dot_rows];
    for (int64_t r = 0; r < count; r++) rows[r] = outputs[i + r];
    for (int64_t r = 0; r < count + dot_rows; r++) place[r] = at(least(i + r, range.end - 1));
    if (T > decode_above) {
      const bool decoded = weights.type == DType::f32;
      for (int64_t r = 0; !decoded && r < count; r++) {
        decode_row<D>(D::row(place[r], E), 0, E, panel + r * E);
        place[r] = reinterpret_cast<const uint8_t*>(panel + r * E);
      }
      dots<F32>(place, nullptr, count, input, E, T, E, results, batch);
    } else {
      for (int64_t r = 0; r < count; r += dot_rows)
        dots<D>(place + r, place + r + dot_rows, least(dot_rows, count - r), input, E, T, E,
                results + r, batch);
    }
    finish(c, rows, count, t0, T, results);
  }
}

// The same for activations rounded to int8.
template <class Q>
static void project_codes(const Command& c, Chosen outputs, Range range, int64_t t0, int64_t T,
                          float* results, const CodedRow<Q>* input) {
  const Columns E = c.operand[w].columns();
  const int64_t stride = row_bytes(Q::type, E);
  const uint8_t* weights = c.operand[w].data;
  for (int64_t i = range.begin; i < range.end; i += batch) {
    const int64_t count = least(batch, range.end - i);
    int64_t rows[batch + Q::rows];
    const uint8_t* place[batch + Q::rows];
    if constexpr (in_quads<Q>)
      if (quad_rows<Q>(E)) {
        rows[0] = i, rows[count - 1] = i + count - 1;  // of a run no more is looked at
        if (outputs.index) outputs.list(i, count, range.end, rows);
        const bool one_run = rows[count - 1] - rows[0] == count - 1;
        quad_dots<Q>(weights, rows, one_run, count, input + t0, T, E, results, batch);
        finish(c, rows, count, t0, T, results);
        continue;
      }
    outputs.list(i, count + Q::rows, range.end, rows);
    const bool one_run = rows[count - 1] - rows[0] == count - 1;
    if (one_run && short_rows<Q>(E)) {
      short_dots<Q>(weights + rows[0] * stride, weights + c.operand[w].bytes(), count, input + t0, T,
                    E, results, batch);
      finish(c, rows, count, t0, T, results);
      continue;
    }
    for (int64_t r = 0; r < count + Q::rows; r++) place[r] = weights + rows[r] * stride;
    code_dots<Q>(place, place + Q::rows, one_run, count, input + t0, T, E, results, batch);
    finish(c, rows, count, t0, T, results);
  }
}

// The same for a few of them, by tiles.
template <class Q, class M = CodeTiles>
static void run_few(const Command& c, int task, float* results) {
  const int64_t T = c.operand[x].dim[0];
  const Columns E = c.operand[w].columns();
  const int64_t stride = row_bytes(Q::type, E);
  const uint8_t* weights = c.operand[w].data;
  const Chosen outputs = chosen(c.operand[select], 0, c.operand[w].dim[0],
                                static_cast<int64_t>(c.param[block]));
  const Range range = share(outputs.size(), task, c.tasks);
  if (range.begin == range.end) return;
  uint8_t* room = reinterpret_cast<uint8_t*>(results) + results_bytes(T);
  const auto input = CodeColumns::of<Q, M>(c.operand[x], room);
  [[maybe_unused]] const M ready;
  for (int64_t i = range.begin; i < range.end; i += batch) {
    int64_t rows[2 * batch];
    const uint8_t* place[2 * batch];
    outputs.list(i, 2 * batch, range.end, rows);
    for (int64_t r = 0; r < 2 * batch; r++) place[r] = weights + rows[r] * stride;
    few_dots<Q, M>(place, place + batch, input, E, results, T, batch);
    finish(c, rows, least(batch, range.end - i), 0, T, results);
  }
}

template <class Q>
static void run_codes(const Command& c, int task, int64_t each, float* results) {
  const Operand& weights = c.operand[w];
  const auto [T, E] = c.operand[x].matrix();
  const int64_t stride = row_bytes(weights.type, weights.dim[1]);
  uint8_t* room = reinterpret_cast<uint8_t*>(results) + results_bytes(T);
  auto* rows = reinterpret_cast<CodedRow<Q>*>(room + T * CodedRow<Q>::bytes(E));
  if (each == T) {  // what comes first is asked for while activations are prepared
    const Chosen outputs = chosen(c.operand[select], 0, weights.dim[0],
                                  static_cast<int64_t>(c.param[block]));
    const Range mine = share(outputs.size(), task, c.tasks);
    for (int64_t i = mine.begin; i < least(mine.end, mine.begin + Q::rows); i++)
      for (int64_t at = 0; at < stride; at += 64)
        __builtin_prefetch(weights.data + outputs[i] * stride + at);
  }
  for (int64_t t = 0; t < T; t++, room += CodedRow<Q>::bytes(E))
    rows[t] = CodedRow<Q>::of(c.operand[x].data + t * row_bytes(DType::int8, E), E, room);
  for (int64_t t = 0; t < T; t += each) {
    const Chosen outputs = chosen(c.operand[select], t, weights.dim[0],
                                  static_cast<int64_t>(c.param[block]));
    project_codes<Q>(c, outputs, share(outputs.size(), task, c.tasks), t, each, results, rows);
  }
}

// All activations by tiles: a panel of 32 rows of weights at a time.
template <class D, class M = Tiles>
static void run_tiles(const Command& c, int task, float* results) {
  const Operand& weights = c.operand[w];
  const int64_t T = c.operand[x].dim[0];
  const Columns E = weights.columns();
  const int64_t stride = row_bytes(weights.type, E);
  const int64_t depth = tiles_in(E, tile_depth), across = tiles_in(T, tile_side);
  uint8_t* sums = reinterpret_cast<uint8_t*>(results) + results_bytes(T);
  uint8_t* panel = sums + 2 * across * tile_bytes;
  uint8_t* right = panel + 2 * panel_depth / tile_depth * tile_bytes;
  const Chosen outputs =
      chosen(c.operand[select], 0, weights.dim[0], static_cast<int64_t>(c.param[block]));
  const Range range = share(outputs.size(), task, c.tasks, batch);
  if (range.begin == range.end) return;
  pack_right<M>(c.operand[x], right);
  [[maybe_unused]] const M ready;
  for (int64_t i = range.begin; i < range.end; i += batch) {
    const int64_t count = least(batch, range.end - i);
    int64_t rows[batch];
    const uint8_t* place[batch];
    const uint8_t* ahead[batch];
    for (int64_t r = 0; r < count; r++) {
      rows[r] = outputs[i + r];
      place[r] = weights.data + rows[r] * stride;
    }
    for (int64_t e0 = 0, e1; e0 < E; e0 = e1) {
      e1 = least(e0 + panel_depth, E);
      for (int64_t r = 0; r < count; r++)
        ahead[r] = e1 < E ? place[r] + code_bytes(D::type, e1)
                          : weights.data + outputs[least(i + batch + r, range.end - 1)] * stride;
      panel_left<D, M>(place, ahead, count, E, e0, e1, panel);
      for (int64_t t = 0, n; t < across; t += n) {
        n = least(2, across - t);
        const typename M::Side left{panel, 2 * tile_bytes, tile_bytes};
        const typename M::Side here{right + (t * depth + e0 / tile_depth) * tile_bytes, tile_bytes,
                                    depth * tile_bytes};
        (n == 2 ? M::template multiply<2, 2> : M::template multiply<2, 1>)(
            tiles_in(e1 - e0, tile_depth), left, here, sums + 2 * t * tile_bytes, tile_bytes,
            2 * tile_bytes, e0 == 0);
      }
    }
    for (int64_t t = 0; t < across; t++)
      for (int64_t half = 0; half < 2; half++) {
        const float* tile = reinterpret_cast<const float*>(sums + (2 * t + half) * tile_bytes);
        V lanes[tile_side];
        for (int64_t r = 0; r < tile_side; r++) lanes[r] = load(tile + r * W);
        M::transpose(lanes);
        for (int64_t r = 0; r < least(tile_side, T - t * tile_side); r++)
          store(results + (t * tile_side + r) * batch + half * W, lanes[r]);
      }
    finish(c, rows, count, 0, T, results);
  }
}

static void run(const Command& c, int task, float* results) {
  const Operand& weights = c.operand[w];
  const int64_t T = c.operand[x].dim[0];
  const int64_t each = per_row(c.operand[select]) ? 1 : T;
  if constexpr (Tiles::here) {
    if (tiled(c))
      return with_weights(weights.type, [&](auto type) {
        using D = decltype(type);
        if constexpr (format_of(D::type).bits) run_tiles<D>(c, task, results);
      });
  }
  if constexpr (CodeTiles::here) {
    if (few(c))
      return with_codes(weights.type, [&](auto q) { run_few<decltype(q)>(c, task, results); });
  }
  memset(results, 0, sizeof(float) * static_cast<size_t>(T * batch));
  if (c.operand[x].type == DType::int8)
    return with_codes(weights.type,
                      [&](auto q) { run_codes<decltype(q)>(c, task, each, results); });
  with_weights(weights.type, [&](auto type) {
    for (int64_t t = 0; t < T; t += each) {
      const Chosen outputs = chosen(c.operand[select], t, weights.dim[0],
                                    static_cast<int64_t>(c.param[block]));
      project<decltype(type)>(c, outputs, share(outputs.size(), task, c.tasks), t, each, results);
    }
  });
}

static Span reads(const Command& c, int task, int64_t piece) {
  if (per_row(c.operand[select])) return {};
  const Chosen outputs =
      chosen(c.operand[select], 0, c.operand[w].dim[0], static_cast<int64_t>(c.param[block]));
  const Range mine = share(outputs.size(), task, c.tasks, tiled(c) ? batch : 1);
  return piece_of(c.operand[w], outputs, mine, piece);
}

static constexpr Kernel kernel{
    "linear", 5, 2, 1u << bias | 1u << select, tasks, workspace, run, nullptr, reads};

}  // namespace dejavu::DEJAVU_ISA::linear
