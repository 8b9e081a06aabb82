// keepInput, recent, backlog, linearMissing, storeMissing: keys and values that heads which were not
// chosen get when they are chosen again.
#pragma once

namespace dejavu::DEJAVU_ISA::keep_input {

DEJAVU_OPERANDS(x, sequences, positions, ring);

static void run(const Command& c, int, float*) {
  const Operand& to = c.operand[ring];
  const int64_t P = to.dim[1], bytes = row_bytes(to.type, to.dim[2]);
  const int64_t row = c.operand[sequences].i32()[0] * P + c.operand[positions].i32()[0] % P;
  memcpy(to.data + row * bytes, c.operand[x].data, static_cast<size_t>(bytes));
}

static constexpr Kernel kernel{"keepInput", operands, {}, 0, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::keep_input

namespace dejavu::DEJAVU_ISA::recent {

DEJAVU_OPERANDS(positions, y);

static void run(const Command& c, int, float*) {
  const int32_t P = static_cast<int32_t>(c.operand[y].dim[0]);
  const int32_t last = c.operand[positions].i32()[0];
  for (int32_t i = 0; i < P; i++) c.operand[y].i32()[i] = i > last ? 0 : last - (last - i) % P;
}

static constexpr Kernel kernel{"recent", operands, {}, 0, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::recent

namespace dejavu::DEJAVU_ISA::backlog {

DEJAVU_OPERANDS(select, sequences, positions, complete, known, chosen, missing);
DEJAVU_PARAMS(rows, fresh);

static void run(const Command& c, int, float*) {
  const int64_t G = c.operand[known].dim[1];
  const int32_t sequence = c.operand[sequences].i32()[0];
  const int32_t end = c.operand[positions].i32()[0] + 1;
  const int32_t before = end - static_cast<int32_t>(c.param[fresh]);
  const int32_t whole = c.operand[complete].i32()[0];
  int32_t* have = c.operand[known].i32() + sequence * G;
  int32_t* gap = c.operand[missing].i32();
  uint32_t* out = c.operand[chosen].u32();
  const Chosen asked = dejavu::DEJAVU_ISA::chosen(c.operand[select], 0, G);
  uint32_t count = 0;
  gap[0] = sequence;
  gap[1] = end;
  for (int64_t g = 0, i = 0; g < G; g++) {
    const bool wanted = i < asked.count && asked[i] == g;
    i += wanted;
    int32_t from = have[g] > whole ? have[g] : whole;
    if (from > before) from = before;
    const bool takes = from < end && (wanted || end - from >= static_cast<int32_t>(c.param[rows]));
    if (takes) out[1 + count++] = static_cast<uint32_t>(g);
    have[g] = takes ? end : from;
    gap[2 + g] = from;
  }
  out[0] = count;
}

static constexpr Kernel kernel{"backlog", operands, params, 1u << select, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::backlog

namespace dejavu::DEJAVU_ISA::linear_missing {

DEJAVU_OPERANDS(ring, w, bias, chosen, missing, y);
DEJAVU_PARAMS(block);

using linear::batch;
using linear::results_bytes;

static int tasks(const Command& c, int threads) {
  return split(c.operand[w].dim[0], c.operand[w].size(), threads);
}

static size_t workspace(const Command& c) {
  const int64_t P = c.operand[ring].dim[1], E = c.operand[ring].dim[2];
  int64_t row = 0;
  if (c.operand[ring].type == DType::int8)
    with_codes(c.operand[w].type, [&](auto q) {
      using Row = CodedRow<decltype(q)>;
      row = Row::bytes(E) + 2 * static_cast<int64_t>(sizeof(Row));
    });
  return static_cast<size_t>(results_bytes(P) + P * row);
}

// Writes `count` outputs from `first` on of T positions from `from` on, with their bias.
static void finish(const Command& c, int64_t first, int64_t count, int64_t from, int64_t T,
                   float* results) {
  const int64_t P = c.operand[y].dim[0], N = c.operand[y].dim[1];
  float offset[batch] = {};
  if (c.operand[bias].data)
    memcpy(offset, c.operand[bias].f32() + first, static_cast<size_t>(count) * sizeof(float));
  for (int64_t t = 0; t < T; t++) {
    float* row = results + t * batch;
    for (int64_t i = 0; i < batch; i += W) store(row + i, add(load(row + i), load(offset + i)));
    memcpy(c.operand[y].f32() + (from + t) % P * N + first, row,
           static_cast<size_t>(count) * sizeof(float));
  }
}

// Outputs of this task, a batch of one head's at a time: multiply(places of rows of weights, followed by
// those of `spare` rows that come next, how many rows, first position, positions).
template <class F>
static void each_batch(const Command& c, int task, int64_t spare, float* results, F multiply) {
  const Operand& weights = c.operand[w];
  const int64_t D = static_cast<int64_t>(c.param[block]);
  const int64_t stride = row_bytes(weights.type, weights.dim[1]);
  const int32_t* gap = c.operand[missing].i32();
  const Chosen outputs = dejavu::DEJAVU_ISA::chosen(c.operand[chosen], 0, weights.dim[0], D);
  const Range range = share(outputs.size(), task, c.tasks);
  for (int64_t i = range.begin, count; i < range.end; i += count) {
    count = least(batch, least(range.end, (i / D + 1) * D) - i);
    const uint8_t* place[batch + code_rows + dot_rows];
    for (int64_t r = 0; r < count + spare; r++)
      place[r] = weights.data + outputs[least(i + r, range.end - 1)] * stride;
    const int64_t first = outputs[i], from = gap[2 + first / D], T = gap[1] - from;
    multiply(place, count, from, T);
    finish(c, first, count, from, T, results);
  }
}

template <class D>
static void run_rows(const Command& c, int task, float* results) {
  const int64_t P = c.operand[ring].dim[1], E = c.operand[ring].dim[2];
  const Columns columns = c.operand[w].columns();
  const float* inputs = c.operand[ring].f32() + c.operand[missing].i32()[0] * P * E;
  each_batch(c, task, dot_rows, results,
             [&](const uint8_t* const* place, int64_t count, int64_t from, int64_t T) {
               for (int64_t r = 0; r < count; r += dot_rows)
                 for (int64_t t = 0, n; t < T; t += n) {  // up to the end of the ring
                   const int64_t slot = (from + t) % P;
                   n = least(T - t, P - slot);
                   dots<D>(place + r, place + r + dot_rows, least(dot_rows, count - r),
                           inputs + slot * E, E, n, columns, results + t * batch + r, batch);
                 }
             });
}

// As `run_rows`, for inputs rounded to int8. Each is laid out for products of codes once, by the first head
// of the task that misses it.
template <class Q>
static void run_codes(const Command& c, int task, float* results) {
  using Row = CodedRow<Q>;
  const int64_t P = c.operand[ring].dim[1], E = c.operand[ring].dim[2];
  const Columns columns = c.operand[w].columns();
  const uint8_t* inputs =
      c.operand[ring].data + c.operand[missing].i32()[0] * P * row_bytes(DType::int8, E);
  uint8_t* room = reinterpret_cast<uint8_t*>(results) + results_bytes(P);
  auto* made = reinterpret_cast<Row*>(room + P * Row::bytes(E));
  Row* rows = made + P;
  for (int64_t p = 0; p < P; p++) made[p].blocks = nullptr;
  each_batch(c, task, Q::rows, results,
             [&](const uint8_t* const* place, int64_t count, int64_t from, int64_t T) {
               for (int64_t t = 0; t < T; t++) {
                 const int64_t slot = (from + t) % P;
                 if (!made[slot].blocks)
                   made[slot] = Row::of(inputs + slot * row_bytes(DType::int8, E), E,
                                        room + slot * Row::bytes(E));
                 rows[t] = made[slot];
               }
               code_dots<Q>(place, place + Q::rows, true, count, rows, T, columns, results, batch);
             });
}

static void run(const Command& c, int task, float* results) {
  memset(results, 0, static_cast<size_t>(results_bytes(c.operand[ring].dim[1])));
  if (c.operand[ring].type == DType::int8)
    return with_codes(c.operand[w].type,
                      [&](auto q) { run_codes<decltype(q)>(c, task, results); });
  with_weights(c.operand[w].type,
               [&](auto type) { run_rows<decltype(type)>(c, task, results); });
}

static constexpr Kernel kernel{"linearMissing", operands, params, 1u << bias, tasks, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::linear_missing

namespace dejavu::DEJAVU_ISA::store_missing {

DEJAVU_OPERANDS(x, angles, chosen, missing, cache);

static int tasks(const Command& c, int threads) {
  return split(c.operand[x].dim[1], c.operand[x].size(), threads);
}

static size_t workspace(const Command& c) {
  return sizeof(float) * static_cast<size_t>(c.operand[x].dim[2]);
}

static void run(const Command& c, int task, float* turned) {
  const Operand& to = c.operand[cache];
  const int64_t P = c.operand[x].dim[0], G = c.operand[x].dim[1], D = c.operand[x].dim[2];
  const int64_t S = to.dim[2], bytes = row_bytes(to.type, D);
  const int64_t R = c.operand[angles].data ? c.operand[angles].dim[1] : 0;
  const int32_t* gap = c.operand[missing].i32();
  const Chosen heads = dejavu::DEJAVU_ISA::chosen(c.operand[chosen], 0, G);
  const Range mine = share(heads.size(), task, c.tasks);
  for (int64_t i = mine.begin; i < mine.end; i++)
    for (int64_t g = heads[i], p = gap[2 + g]; p < gap[1]; p++) {
      rotary::turn(c.operand[x].f32() + (p % P * G + g) * D, c.operand[angles].f32() + p % P * R, R,
                   D, turned);
      encode::encode_row(to.type, turned, D, to.data + ((gap[0] * G + g) * S + p) * bytes);
    }
}

static constexpr Kernel kernel{"storeMissing", operands, {}, 1u << angles, tasks, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::store_missing
