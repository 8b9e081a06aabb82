// attention: one block of queries over a cache of type C.
#pragma once

#include "softmax.h"
#include "view.h"

namespace dejavu::DEJAVU_ISA::attention {

// Calls f with the type of a cache.
template <class F>
static inline void with_cache(DType type, F f) {
  switch (type) {
    case DType::f32:
      return f(F32{});
    case DType::f16:
      return f(F16{});
    case DType::int8:
      return f(Int8{});
    default:
      __builtin_trap();  // ops let no other through
  }
}

// One block of queries of one text and one KV head, over a cache of type C: their outputs, and what slots
// receive of them. `run` does score, weigh and mix, in this order.
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

}  // namespace dejavu::DEJAVU_ISA::attention
