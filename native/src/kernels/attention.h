// attention and store: a cache of keys and values [B, G, S, D] in f32, f16 or int8.
//
// A row's bits are those of its own weights in one line, slot after slot in the order of their places: not
// of the rows and heads that share the reading, nor of where a ring begins.
#pragma once

namespace dejavu::DEJAVU_ISA::attention {

enum { q, keys, values, sequences, slots, select, slopes, places, angles, sink_q, y, received };
enum { scale, window, sinks, recent, latest };

// Queries that share the reading of keys and values: of heads with one KV head, and of neighbouring rows of
// one text.
constexpr int64_t most_queries = 24;
// Keys, and values, that are read at a time.
constexpr int64_t key_batch = 4 * dot_rows, value_batch = 64;
// How many bytes before they are read memory is asked for keys, at least.
constexpr int64_t reach = 6 << 10;

struct Sizes {
  int64_t T, H, D, G, S;
  int64_t group;   // heads that share a KV head
  int64_t sinks;   // slots before the ring; 0: there is no ring
  int64_t recent;  // others that a row sees; 0: there is no ring
  int64_t rows;    // of a block

  explicit Sizes(const Command& c)
      : T(c.operand[q].dim[0]),
        H(c.operand[q].dim[1]),
        D(c.operand[q].dim[2]),
        G(c.operand[keys].dim[1]),
        S(c.operand[keys].dim[2]),
        group(H / G),
        sinks(c.param[attention::recent] > 0 ? static_cast<int64_t>(c.param[attention::sinks]) : 0),
        recent(static_cast<int64_t>(c.param[attention::recent])),
        rows(most(1, most_queries / group)) {}

  // A weight for each slot; neighbouring lines lie in different sets of the caches.
  int64_t line() const { return round_up(S, 16) + 16; }
  int64_t slot(int64_t position) const {
    return position < S ? position : sinks + (position - sinks) % (S - sinks);
  }
  // Blocks of rows that tasks take. What slots receive is added in the order of rows, by one task.
  int64_t blocks(const Command& c) const {
    return c.operand[received].data ? 1 : (T + rows - 1) / rows;
  }
};

struct Room {
  float *weights, *query, *sink_query, *sums, *decoded;

  Room(const Sizes& z, float* at) : weights(at) {
    const int64_t vectors = most_queries * z.D;
    query = weights + most_queries * z.line();
    sink_query = query + vectors;
    sums = sink_query + vectors;
    decoded = sums + vectors;
  }
  static int64_t size(const Sizes& z) {
    return most_queries * (z.line() + 3 * z.D) + most(key_batch, value_batch) * z.D;
  }
};

static int tasks(const Command& c, int threads) {
  if (threads == 1) return 1;
  const Sizes z(c);
  const int64_t units = most(1, z.blocks(c) * z.G);
  return static_cast<int>(units * least(z.group, (threads + units - 1) / units));
}

static size_t workspace(const Command& c) {
  return sizeof(float) * static_cast<size_t>(Room::size(Sizes(c)));
}

// Calls f with the type of a cache.
template <class F>
static inline void with_cache(DType type, F f) {
  switch (type) {
    case DType::f16:
      return f(F16{});
    case DType::int8:
      return f(Int8{});
    default:
      return f(F32{});
  }
}

// weights[s] = exp(scale * (weights[s] - their peak)); returns their sum.
static float soften(float* weights, int64_t n, float by) {
  V top = set(-__builtin_inff());
  int64_t s = 0;
  for (; s + W <= n; s += W) top = max(top, mul(set(by), load(weights + s)));
  float peaks = peak(top);
  for (; s < n; s++) peaks = by * weights[s] > peaks ? by * weights[s] : peaks;
  V sums = zero();
  for (s = 0; s + W <= n; s += W) {
    const V e = exp(sub(mul(set(by), load(weights + s)), set(peaks)));
    sums = dejavu::DEJAVU_ISA::add(sums, e);
    store(weights + s, e);
  }
  float total = sum(sums);
  if (s < n) {
    float rest[W];
    store(rest, exp(sub(mul(set(by), load(weights + s, n - s)), set(peaks))));
    for (int64_t i = 0; i < n - s; i++) total += weights[s + i] = rest[i];
  }
  return total;
}

// weights[s] = scale * weights[s] + slope * (how far s is from the row, which is negative): in places, where
// there are some, else in the order of the n.
static void lean(float* weights, int64_t n, float scale, float slope, const int32_t* place) {
  float lanes[W];
  for (int i = 0; i < W; i++) lanes[i] = static_cast<float>(i);
  const V steps = load(lanes);
  for (int64_t s = 0; s < n; s += W) {
    V away = dejavu::DEJAVU_ISA::add(steps, set(static_cast<float>(s + 1 - n)));
    if (place) {
      for (int64_t i = 0; i < least(W, n - s); i++)
        lanes[i] = static_cast<float>(place[s + i] - place[n - 1]);
      away = load(lanes);
    }
    const V bias = mul(set(slope), away);
    if (s + W <= n)
      store(weights + s, fma(set(scale), load(weights + s), bias));
    else
      store(weights + s, fma(set(scale), load(weights + s, n - s), bias), n - s);
  }
}

// Slots that a row sees: some of those before the ring, then those of some positions.
struct View {
  Range sinks, rest;
  int64_t shift;  // a position's place, where there are no places, is less by this

  View() = default;
  View(const Command& c, const Sizes& z, int64_t slot, const int32_t* place) {
    const int64_t begin = z.recent ? most(z.sinks, slot + 1 - z.recent) : 0;
    sinks = {0, least(z.sinks, slot + 1)};
    rest = {begin, most(begin, slot + 1)};
    shift = begin - sinks.end;
    const int64_t last = static_cast<int64_t>(c.param[window]);
    if (last && place) {
      while (place[slot] - place[rest.begin] >= last) rest.begin++;
    } else if (last) {
      const int64_t excess = most(0, size() - last);
      sinks.begin = least(excess, sinks.end);
      rest.begin += excess - sinks.begin;
    }
  }
  int64_t size() const { return sinks.end - sinks.begin + rest.end - rest.begin; }
};

struct Query {
  int64_t row, head;
  View view;
};

// Queries of one text and one KV head.
struct Block {
  int64_t text, kv_head;
  Range rest;  // positions that any of them sees
  int64_t count = 0;
  Query query[most_queries];

  Range any(int64_t from, int64_t n) const {
    Range found = query[from].view.rest;
    for (int64_t i = from + 1; i < from + n; i++) {
      const Range& r = query[i].view.rest;
      found = {least(found.begin, r.begin), most(found.end, r.end)};
    }
    return found;
  }
  // Those of `within` that all see.
  Range all(int64_t from, int64_t n, Range within) const {
    for (int64_t i = from; i < from + n; i++) {
      const Range& r = query[i].view.rest;
      within = {most(within.begin, r.begin), least(within.end, r.end)};
    }
    return within;
  }
};

// One block's attention, over a cache of type C.
template <class C>
struct Attend {
  const Command& c;
  const Sizes& z;
  const Block& block;
  Room room;
  const int64_t bytes = row_bytes(C::type, z.D);
  const int64_t first_slot = (block.text * z.G + block.kv_head) * z.S;
  const uint8_t* key = c.operand[keys].data + first_slot * bytes;
  const uint8_t* value = c.operand[values].data + first_slot * bytes;
  const int32_t* place = c.operand[places].data ? c.operand[places].i32() + first_slot : nullptr;
  const int64_t start = z.slot(block.rest.begin);

  // That of one of the block's positions, which come around at most once.
  int64_t slot_of(int64_t position) const {
    const int64_t slot = start + position - block.rest.begin;
    return slot < z.S ? slot : slot - (z.S - z.sinks);
  }
  // A query's weights: that of a position; of its first slot.
  float* weights(int64_t i, int64_t position) const {
    return room.weights + i * z.line() + z.sinks + position - block.rest.begin;
  }
  float* line(int64_t i) const {
    const View& view = block.query[i].view;
    return weights(i, view.rest.begin) - (view.sinks.end - view.sinks.begin);
  }

  // The key in a slot, turned by the angles of its place.
  void turned(int64_t slot, int64_t at, float* out) const {
    const Operand& table = c.operand[angles];
    const int64_t R = table.dim[1];
    decode_row<C>(C::row(key + slot * bytes, z.D), 0, z.D, out);
    rotary::turn(out, table.f32() + (place ? place[slot] : at) * R, R, z.D, out);
  }

  // Products of `count` keys, those of `slot(i)` at place `at(i)`, with n queries.
  template <class Slot, class At>
  void products(int64_t count, Slot slot, At at, const uint8_t* const* ahead, const float* query,
                int64_t n, float* out, bool again) const {
    const uint8_t* row[key_batch];
    const bool turn = c.operand[angles].data;
    for (int64_t i = 0; i < count; i++) {
      float* to = room.decoded + i * z.D;
      if (turn && !again) turned(slot(i), at(i), to);
      row[i] = turn ? reinterpret_cast<const uint8_t*>(to) : key + slot(i) * bytes;
    }
    if (turn)
      dots<F32>(row, nullptr, count, query, z.D, n, z.D, out, z.line());
    else if (z.D == 64)
      dots<C, 64>(row, ahead, count, query, z.D, n, z.D, out, z.line());
    else if (z.D == 128)
      dots<C, 128>(row, ahead, count, query, z.D, n, z.D, out, z.line());
    else
      dots<C>(row, ahead, count, query, z.D, n, z.D, out, z.line());
  }

  void score() const {
    const int64_t shift = block.query[0].view.shift;
    for (int64_t p = block.rest.begin; p < block.rest.end; p += key_batch) {
      const int64_t count = least(key_batch, block.rest.end - p);
      const uint8_t* ahead[key_batch];
      const int64_t next = p + most(count, reach / bytes);
      for (int64_t i = 0; i < count; i++)
        ahead[i] = key + slot_of(least(next + i, block.rest.end - 1)) * bytes;
      bool again = false;
      for (int64_t i = 0; i < block.count; i += dot_cols) {
        const int64_t n = least(dot_cols, block.count - i);
        const Range seen = block.any(i, n);
        if (seen.end <= p || seen.begin >= p + count) continue;
        products(
            count, [&](int64_t k) { return slot_of(p + k); },
            [&](int64_t k) { return p + k - shift; }, again ? nullptr : ahead,
            room.query + i * z.D, n, weights(i, p), again);
        again = true;
      }
    }
    const float* query = c.operand[sink_q].data ? room.sink_query : room.query;
    for (int64_t i = 0; i < block.count; i++) {
      const Range first = block.query[i].view.sinks;
      for (int64_t s = first.begin; s < first.end; s += key_batch) {
        const auto at = [&](int64_t k) { return s + k; };
        products(least(key_batch, first.end - s), at, at, nullptr, query + i * z.D, 1,
                 line(i) + s - first.begin, false);
      }
    }
  }

  // Weights of query i; returns their sum.
  float weigh(int64_t i) const {
    const auto& [row, head, view] = block.query[i];
    const float by = static_cast<float>(c.param[scale]);
    const float* slope = c.operand[slopes].f32();
    const int64_t n = view.size(), last = static_cast<int64_t>(c.param[window]);
    const int32_t* at = place ? place + view.rest.begin : nullptr;
    const auto far = [&](int64_t s) { return at[n - 1] - at[s] >= last; };
    float* w = line(i);
    if (slope) lean(w, n, by, slope[head], at);
    for (int64_t s = 0; at && last && s < n; s++)
      if (far(s)) w[s] = -__builtin_inff();
    const float total = soften(w, n, slope ? 1 : by);
    for (int64_t s = 0; at && last && s < n; s++)
      if (far(s)) w[s] = 0;
    return total;
  }

  void receive(int64_t i, float total) const {
    const auto& [row, head, view] = block.query[i];
    float* to = c.operand[received].f32() + (block.text * z.H + head) * z.S + view.rest.begin;
    const float* w = line(i);
    const V part = set(1 / total);
    const int64_t n = view.size();
    for (int64_t s = 0; s < n; s += W) {
      if (s + W <= n)
        store(to + s, fma(load(w + s), part, load(to + s)));
      else
        store(to + s, fma(load(w + s, n - s), part, load(to + s, n - s)), n - s);
    }
  }

  // Whether values are decoded once for all queries, not in passing.
  bool many() const { return block.count >= 2 * mul_rows; }

  // Values from a slot on, as they lie there or, where many queries read them, decoded.
  Right values_from(int64_t slot, int64_t count) const {
    const uint8_t* from = value + slot * bytes;
    if (C::type == DType::f32 || !many()) return {from, z.D, bytes, reach};
    for (int64_t i = 0; i < count; i++) {
      for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(from + i * bytes + b + reach, 0, 2);
      decode_row<C>(C::row(from + i * bytes, z.D), 0, z.D, room.decoded + i * z.D);
    }
    return {reinterpret_cast<const uint8_t*>(room.decoded), z.D,
            z.D * static_cast<int64_t>(sizeof(float)), 0};
  }

  // n queries' sums += their weights from w on times `count` of these values, the first left out.
  void add(int64_t i, int64_t n, const float* w, int64_t left_out, int64_t count, Right from) const {
    if (count <= 0) return;
    from.rows += left_out * from.stride;
    if (i > 0) from.ahead = 0;
    const Places at = {w, z.line(), 1};
    float* to = room.sums + i * z.D;
    if (C::type == DType::f32 || many())
      outer<F32>(n, z.D, count, at, from, to, z.D, false);
    else
      outer<C>(n, z.D, count, at, from, to, z.D, false);
  }

  // Each query adds values by ascending position.
  void mix() const {
    Range first = {z.sinks, 0};
    for (int64_t i = 0; i < block.count; i++) {
      const Range& own = block.query[i].view.sinks;
      first = {least(first.begin, own.begin), most(first.end, own.end)};
    }
    for (int64_t s = first.begin; s < first.end; s += value_batch) {
      const int64_t end = least(s + value_batch, first.end);
      const Right from = values_from(s, end - s);
      for (int64_t i = 0; i < block.count; i++) {
        const Range& own = block.query[i].view.sinks;
        const int64_t begin = most(s, own.begin);
        add(i, 1, line(i) + begin - own.begin, begin - s, least(end, own.end) - begin, from);
      }
    }
    for (int64_t p = block.rest.begin, end; p < block.rest.end; p = end) {
      const int64_t slot = slot_of(p);
      end = p + least(value_batch, least(block.rest.end - p, z.S - slot));
      const Right from = values_from(slot, end - p);
      const auto add_some = [&](int64_t i, int64_t n, int64_t begin, int64_t until) {
        add(i, n, weights(i, begin), begin - p, until - begin, from);
      };
      for (int64_t i = 0; i < block.count; i += mul_rows) {
        const int64_t n = least(mul_rows, block.count - i);
        Range all = block.all(i, n, {p, end});
        if (all.begin > all.end) all = {p, p};
        const auto own = [&](int64_t k) { return block.all(i + k, 1, {p, end}); };
        for (int64_t k = 0; k < n; k++)
          add_some(i + k, 1, own(k).begin, least(own(k).end, all.begin));
        add_some(i, n, all.begin, all.end);
        for (int64_t k = 0; k < n; k++) add_some(i + k, 1, most(own(k).begin, all.end), own(k).end);
      }
    }
  }

  // `counted`: the first row whose weights slots receive.
  void run(int64_t counted) const {
    const size_t length = static_cast<size_t>(z.D) * sizeof(float);
    const float* sink_queries = c.operand[sink_q].f32();
    for (int64_t i = 0; i < block.count; i++) {
      const int64_t from = (block.query[i].row * z.H + block.query[i].head) * z.D;
      memcpy(room.query + i * z.D, c.operand[q].f32() + from, length);
      if (sink_queries) memcpy(room.sink_query + i * z.D, sink_queries + from, length);
    }
    score();
    float total[most_queries];
    for (int64_t i = 0; i < block.count; i++) {
      total[i] = weigh(i);
      if (c.operand[received].data && block.query[i].row >= counted) receive(i, total[i]);
    }
    memset(room.sums, 0, static_cast<size_t>(block.count) * length);
    mix();
    for (int64_t i = 0; i < block.count; i++) {
      float* out = c.operand[y].f32() + (block.query[i].row * z.H + block.query[i].head) * z.D;
      for (int64_t d = 0; d < z.D; d++) out[d] = room.sums[i * z.D + d] / total[i];
    }
  }
};

// Heads of one KV head in rows begin … end-1, which are of one text.
static void attend(const Command& c, const Sizes& z, int64_t kv_head, Range heads, Range rows,
                   int64_t counted, float* workspace) {
  const int64_t text = c.operand[sequences].i32()[rows.begin];
  const int32_t* place = c.operand[places].data
                             ? c.operand[places].i32() + (text * z.G + kv_head) * z.S
                             : nullptr;
  Block block;
  block.text = text;
  block.kv_head = kv_head;
  const auto flush = [&] {
    if (!block.count) return;
    with_cache(c.operand[keys].type, [&](auto type) {
      Attend<decltype(type)>{c, z, block, Room(z, workspace)}.run(counted);
    });
    block.count = 0;
  };
  for (int64_t t = rows.begin; t < rows.end; t++) {
    const View view(c, z, c.operand[slots].i32()[t], place);
    const Chosen chosen_heads = chosen(c.operand[select], t, z.H);
    for (int64_t i = 0; i < chosen_heads.size(); i++) {
      const int64_t head = chosen_heads[i];
      if (head < heads.begin || head >= heads.end) continue;
      Range rest = view.rest;
      if (block.count) {
        rest = {least(block.rest.begin, rest.begin), most(block.rest.end, rest.end)};
        // Places of keys in a ring are others for each row.
        const bool apart = z.recent && c.operand[angles].data && block.query[0].row != t;
        if (apart || block.count == most_queries || rest.end - rest.begin > z.S - z.sinks) {
          flush();
          rest = view.rest;
        }
      }
      block.rest = rest;
      block.query[block.count++] = {t, head, view};
    }
  }
  flush();
}

// Unit: a block of rows and some heads of a KV head; `parts`: units that a KV head is.
static void run_unit(const Command& c, const Sizes& z, int64_t unit, int64_t parts,
                     float* workspace) {
  const int64_t blocks = z.blocks(c), kv_head = unit / parts / blocks, part = unit % parts;
  const int64_t block = unit / parts % blocks, first = kv_head * z.group;
  const Range heads = {first + z.group * part / parts, first + z.group * (part + 1) / parts};
  const Range rows = blocks == 1 ? Range{0, z.T}
                                 : Range{block * z.rows, least((block + 1) * z.rows, z.T)};
  const int32_t* text = c.operand[sequences].i32();
  const int64_t counted = static_cast<int64_t>(c.param[latest]);
  for (int64_t t = rows.begin, end; t < rows.end; t = end) {
    for (end = t + 1; end < rows.end && text[end] == text[t];) end++;
    if (c.operand[received].data) {
      const size_t used = static_cast<size_t>(c.operand[slots].i32()[end - 1] + 1);
      for (int64_t h = heads.begin; h < heads.end; h++)
        memset(c.operand[received].f32() + (text[t] * z.H + h) * z.S, 0, used * sizeof(float));
    }
    attend(c, z, kv_head, heads, {t, end}, counted ? most(t, end - counted) : t, workspace);
  }
}

static void run(const Command& c, int task, float* workspace) {
  const Sizes z(c);
  const int64_t units = most(1, z.blocks(c) * z.G);
  if (c.tasks > 1) return run_unit(c, z, task, c.tasks / units, workspace);
  for (int64_t unit = 0; unit < units; unit++) run_unit(c, z, unit, 1, workspace);
}

// Keys, then values, of the task's KV head: of a single row, where each byte is read once.
static Span reads(const Command& c, int task, int64_t piece) {
  const Sizes z(c);
  if (z.T > 1 || piece > 1) return {};
  const int64_t kv_head = c.tasks > 1 ? task / (c.tasks / z.G) : 0;
  const Chosen heads = chosen(c.operand[select], 0, z.H);
  bool any = false;
  for (int64_t i = 0; i < heads.size(); i++) any = any || heads[i] / z.group == kv_head;
  if (!any) return {};
  const Operand& from = c.operand[piece ? values : keys];
  const int64_t used = least(c.operand[slots].i32()[0] + 1, z.S), bytes = row_bytes(from.type, z.D);
  const int64_t text = c.operand[sequences].i32()[0];
  return {from.data + (text * z.G + kv_head) * z.S * bytes, used * bytes};
}

static constexpr Kernel kernel{"attention",
                               12,
                               5,
                               1u << select | 1u << slopes | 1u << places | 1u << angles |
                                   1u << sink_q | 1u << received,
                               tasks,
                               workspace,
                               run,
                               nullptr,
                               reads};

}  // namespace dejavu::DEJAVU_ISA::attention

namespace dejavu::DEJAVU_ISA::cache_store {

enum { x, sequences, slots, cache };
enum { sinks };

// By KV heads: rows that come around to one slot are stored in their order.
static int tasks(const Command& c, int threads) {
  return split(c.operand[x].dim[1], c.operand[x].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const Operand& to = c.operand[cache];
  const int64_t T = c.operand[x].dim[0], G = c.operand[x].dim[1], D = c.operand[x].dim[2];
  const int64_t S = to.dim[2], bytes = row_bytes(to.type, D);
  const int64_t first = static_cast<int64_t>(c.param[sinks]);
  const Range heads = share(G, task, c.tasks);
  for (int64_t t = 0; t < T; t++) {
    int64_t slot = c.operand[slots].i32()[t];
    if (slot >= S) slot = first + (slot - first) % (S - first);
    for (int64_t g = heads.begin; g < heads.end; g++) {
      const int64_t row = (c.operand[sequences].i32()[t] * G + g) * S + slot;
      encode::encode_row(to.type, c.operand[x].f32() + (t * G + g) * D, D, to.data + row * bytes);
    }
  }
}

static constexpr Kernel kernel{"store", 4, 1, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::cache_store
