// Weight types: how a row of each becomes f32. Every kernel over weights is written once over these.
//
// A `Row` decodes W elements at a time: those from i + s on, where i begins a group and s, a multiple
// of W, lies in it. Elements begin … end-1, all in one aligned chunk, must have been prepared, `begin`
// beginning a group. `term(i, x)` is what the group at i needs so that plus(sum, term, i, s) adds x times
// its elements, in fewer instructions than decoding them first.
#pragma once

namespace dejavu::DEJAVU_ISA {

constexpr int64_t chunk = 512;

static inline int64_t chunk_end(int64_t begin, int64_t end) {
  return least(end, (begin | (chunk - 1)) + 1);
}

struct F32 {
  static constexpr DType type = DType::f32;
  struct Row {
    const float* data;
    void prepare(int64_t, int64_t) {}
    V at(int64_t i, int s) const { return load(data + i + s); }
    V at(int64_t i, int s, int64_t n) const { return load(data + i + s, n); }
    V term(int64_t, float x) const { return set(x); }
    V plus(V sum, V term, int64_t i, int s) const { return fma(at(i, s), term, sum); }
  };
  static Row row(const uint8_t* bytes, Columns) { return {reinterpret_cast<const float*>(bytes)}; }
};

struct F16 {
  static constexpr DType type = DType::f16;
  struct Row {
    const uint16_t* data;
    void prepare(int64_t, int64_t) {}
    V at(int64_t i, int s) const { return load_f16(data + i + s); }
    V at(int64_t i, int s, int64_t n) const { return load_f16(data + i + s, n); }
    V term(int64_t, float x) const { return set(x); }
    V plus(V sum, V term, int64_t i, int s) const { return fma(at(i, s), term, sum); }
  };
  static Row row(const uint8_t* bytes, Columns) {
    return {reinterpret_cast<const uint16_t*>(bytes)};
  }
};

// The scales of a quantized row, or its minima, decoded for one chunk: one for each 32 elements, whatever
// the group.
struct Scales {
  static constexpr int64_t groups = chunk / group_size;
  const uint16_t* stored;
  int64_t group = group_size;  // elements that share one
  alignas(64) float value[groups];

  // 2 bits come in one group alone: it is known when this is compiled.
  static DEJAVU_INLINE Scales of(const uint8_t* row, DType type, Columns columns) {
    Scales scales;
    scales.stored = reinterpret_cast<const uint16_t*>(row + code_bytes(type, columns));
    scales.group = format_of(type).bits == 2 ? format_of(type).group : columns.group;
    return scales;
  }
  static DEJAVU_INLINE Scales minima_of(const uint8_t* row, DType type, Columns columns) {
    return of(row + columns.scale_bytes, type, columns);
  }

  // Whole vectors are stored, whose parts later loads get at once.
  DEJAVU_INLINE void prepare(int64_t begin, int64_t end) {
    if (group == 2 * group_size) return repeat<2>(begin, end);
    if (group == 4 * group_size) return repeat<4>(begin, end);
    const int64_t last = (end + group_size - 1) / group_size;
    for (int64_t g = begin / group_size & ~int64_t{W - 1}; g < last; g += W)
      store(value + g % groups,
            g + W <= last ? load_f16(stored + g) : load_f16(stored + g, last - g));
  }
  // Each once for every 32 elements of its group.
  template <int times>
  DEJAVU_INLINE void repeat(int64_t begin, int64_t end) {
    if (end - begin < chunk) return repeat_some<times>(begin, end);
    for (int64_t g = 0; g < groups; g += W)
      store(value + g, load_f16_each(stored + (begin / group_size + g) / times, times));
  }
  // `repeat` of less than a chunk. Not inlined: every tile would hold a copy of what runs once a row.
  template <int times>
  __attribute__((noinline)) void repeat_some(int64_t begin, int64_t end) {
    const int64_t first = begin / (times * group_size);
    const int64_t count = (end - 1) / (times * group_size) + 1 - first;
    float once[round_up(groups / times, W)];
    for (int64_t g = 0; g < count; g += W)
      store(once + g, load_f16(stored + first + g, least(W, count - g)));
    float* to = value + first * times % groups;
    for (int64_t g = 0; g < count; g++)
      for (int i = 0; i < times; i++) to[g * times + i] = once[g];
  }
  float number(int64_t i) const { return value[i / group_size % groups]; }
  V at(int64_t i) const { return set(number(i)); }
};

// Rows of codes times a scale. `Own` says how codes are read, those of a vector, from element i + s on, where i
// begins 32 of them; and may say better how they are multiplied.
template <DType t, class Own>
struct Scaled {
  static constexpr DType type = t;
  struct Row {
    const uint8_t* codes;
    Scales scales;
    void prepare(int64_t begin, int64_t end) { scales.prepare(begin, end); }
    V at(int64_t i, int s) const { return mul(Own::load(codes, i, s), scales.at(i)); }
    V at(int64_t i, int s, int64_t n) const {
      return mul(Own::load_some(codes, i, s, n), scales.at(i));
    }
    V term(int64_t i, float x) const { return Own::term(x * scales.number(i)); }
    V plus(V sum, V term, int64_t i, int s) const { return Own::plus(sum, term, codes, i, s); }
  };
  static Row row(const uint8_t* bytes, Columns columns) {
    return {bytes, Scales::of(bytes, type, columns)};
  }
  // The codes of the last 32 are all there.
  static V load_some(const uint8_t* codes, int64_t i, int s, int64_t) {
    return Own::load(codes, i, s);
  }
  static V term(float factor) { return set(factor); }
  static V plus(V sum, V term, const uint8_t* codes, int64_t i, int s) {
    return fma(Own::load(codes, i, s), term, sum);
  }
};

struct Int8 : Scaled<DType::int8, Int8> {
  static const int8_t* place(const uint8_t* codes, int64_t i, int s) {
    return reinterpret_cast<const int8_t*>(codes) + i + s;
  }
  static V load(const uint8_t* codes, int64_t i, int s) { return load_i8(place(codes, i, s)); }
  static V load_some(const uint8_t* codes, int64_t i, int s, int64_t n) {
    return load_i8(place(codes, i, s), n);
  }
};

// Codes of 4 bits as -8 … 7.
struct Int4 : Scaled<DType::int4, Int4> {
  static V load(const uint8_t* codes, int64_t i, int s) {
    return load_i4(codes + i / 2 + s % 16, s >= 16);
  }
  static V term(float factor) { return term_i4(factor); }
  static V plus(V sum, V term, const uint8_t* codes, int64_t i, int s) {
    return plus_i4(sum, term, codes + i / 2 + s % 16, s >= 16);
  }
};

// Codes of 2 bits as -1.5, -0.5, 0.5 and 1.5.
struct Int2 : Scaled<DType::int2g128, Int2> {
  static V load(const uint8_t* codes, int64_t i, int s) { return load_i2(codes + i / 4, s); }
};

// Codes of 4 bits as 0 … 15 times a scale, and a minimum: -8 … 7 times the scale, and a middle.
struct Int4z {
  static constexpr DType type = DType::int4z;
  struct Row {
    const uint8_t* codes;
    Scales scales, middles;
    void prepare(int64_t begin, int64_t end) {
      scales.prepare(begin, end);
      middles.prepare(begin, end);
      for (int64_t g = 0; g < Scales::groups; g += W)
        store(middles.value + g,
              fma(load(scales.value + g), set(8), load(middles.value + g)));
    }
    V at(int64_t i, int s) const {
      return fma(load_i4(codes + i / 2 + s % 16, s >= 16), scales.at(i), middles.at(i));
    }
    V at(int64_t i, int s, int64_t) const { return at(i, s); }
    V term(int64_t, float x) const { return set(x); }
    V plus(V sum, V term, int64_t i, int s) const { return fma(at(i, s), term, sum); }
  };
  static Row row(const uint8_t* bytes, Columns columns) {
    return {bytes, Scales::of(bytes, type, columns), Scales::minima_of(bytes, type, columns)};
  }
};

// Calls f with how weights of `type` are decoded. `Columns` say how many elements share a scale.
template <class F>
static inline void with_weights(DType type, F f) {
  switch (type) {
    case DType::f32:
      return f(F32{});
    case DType::f16:
      return f(F16{});
    case DType::int8:
      return f(Int8{});
    case DType::int4:
    case DType::int4g64:
    case DType::int4g128:
      return f(Int4{});
    case DType::int4z:
    case DType::int4g64z:
    case DType::int4g128z:
      return f(Int4z{});
    case DType::int2g128:
      return f(Int2{});
    default:
      __builtin_trap();  // ops let no other through
  }
}

// Asks memory for parts of rows that are to be read next, a little with each step of the present work
// and one row after the other: long runs of addresses are what the processor's own prefetch follows.
// Into the second cache, as the first can wait for few lines at a time.
struct Ahead {
  const uint8_t* const* rows;  // null: nothing to ask for
  int64_t begin, end;          // bytes of each row
  int64_t at;
  int left;                    // rows

  Ahead(const uint8_t* const* next, int count, int64_t first, int64_t last)
      : rows(next), begin(first), end(last), at(first), left(next ? count : 0) {}

  void ask(int64_t bytes) {
    for (; bytes > 0 && left > 0; bytes -= 64) {
      __builtin_prefetch(*rows + at, 0, 2);
      at += 64;
      if (at < end) continue;
      at = begin;
      rows++;
      left--;
    }
  }
};

// Calls whole(i, s) for each whole vector of elements begin … end-1 and part(i, s, n) for what is left;
// both ends lie in one chunk. `group(i)` is called before each whole group.
template <class Group, class Whole, class Part>
static inline __attribute__((always_inline)) void over(int64_t begin, int64_t end, Group group,
                                                       Whole whole, Part part) {
  int64_t i = begin;
  for (; i + group_size <= end; i += group_size) {
    group(i);
#pragma GCC unroll 8
    for (int s = 0; s < group_size; s += W) whole(i, s);
  }
  for (int s = 0; i + s < end; s += W) part(i, s, least(W, end - i - s));
}

// out[0 … end-begin-1] = elements begin … end-1 of a row; `begin` begins a group.
template <class D>
static void decode_row(typename D::Row&& row, int64_t begin, int64_t end, float* out) {
  out -= begin;
  for (int64_t e0 = begin, e1; e0 < end; e0 = e1) {
    e1 = chunk_end(e0, end);
    row.prepare(e0, e1);
    over(
        e0, e1, [](int64_t) {}, [&](int64_t i, int s) { store(out + i + s, row.at(i, s)); },
        [&](int64_t i, int s, int64_t n) { store(out + i + s, row.at(i, s, n), n); });
  }
}

}  // namespace dejavu::DEJAVU_ISA
