// Weight types: how a row of each becomes f32. Every kernel over weights is written once over these.
//
// A `Row` decodes W elements at a time, from an element that is a multiple of W. Elements
// begin … end-1, no more than `chunk` and within one aligned chunk, must have been prepared.
#pragma once

namespace dejavu::DEJAVU_ISA {

constexpr int64_t chunk = 512;

static inline int64_t chunk_end(int64_t begin, int64_t end) {
  return least(end, (begin | (chunk - 1)) + 1);
}

struct F32 {
  static constexpr int64_t line = 16;  // elements a cache line holds
  struct Row {
    const float* data;
    void prepare(int64_t, int64_t) {}
    V at(int64_t i) const { return load(data + i); }
    V at(int64_t i, int64_t n) const { return load(data + i, n); }
  };
  static Row row(const uint8_t* bytes, int64_t) { return {reinterpret_cast<const float*>(bytes)}; }
};

struct F16 {
  static constexpr int64_t line = 32;
  struct Row {
    const uint16_t* data;
    void prepare(int64_t, int64_t) {}
    V at(int64_t i) const { return load_f16(data + i); }
    V at(int64_t i, int64_t n) const { return load_f16(data + i, n); }
  };
  static Row row(const uint8_t* bytes, int64_t) {
    return {reinterpret_cast<const uint16_t*>(bytes)};
  }
};

// Scales of a quantized row, decoded for one chunk.
struct Scales {
  static constexpr int64_t groups = chunk / group_size;
  const uint16_t* stored;
  float value[groups];

  void prepare(int64_t begin, int64_t end) {
    const int64_t last = (end + group_size - 1) / group_size;
    for (int64_t g = begin / group_size; g < last; g += W) {
      const int64_t n = least(W, last - g);
      float decoded[W];
      store(decoded, n == W ? load_f16(stored + g) : load_f16(stored + g, n));
      for (int64_t i = 0; i < n; i++) value[(g + i) % groups] = decoded[i];
    }
  }
  V at(int64_t i) const { return set(value[i / group_size % groups]); }
};

struct Int8 {
  static constexpr int64_t line = 64;
  struct Row {
    const int8_t* codes;
    Scales scales;
    void prepare(int64_t begin, int64_t end) { scales.prepare(begin, end); }
    V at(int64_t i) const { return mul(load_i8(codes + i), scales.at(i)); }
    V at(int64_t i, int64_t n) const { return mul(load_i8(codes + i, n), scales.at(i)); }
  };
  static Row row(const uint8_t* bytes, int64_t columns) {
    Row r;
    r.codes = reinterpret_cast<const int8_t*>(bytes);
    r.scales.stored = reinterpret_cast<const uint16_t*>(bytes + code_bytes(DType::int8, columns));
    return r;
  }
};

struct Int4 {
  static constexpr int64_t line = 128;
  struct Row {
    const uint8_t* codes;
    Scales scales;
    void prepare(int64_t begin, int64_t end) { scales.prepare(begin, end); }
    V at(int64_t i) const {
      const V code = load_i4(codes + i / group_size * 16 + i % 16, (i & 16) != 0);
      return mul(code, scales.at(i));
    }
    // The codes of the last group are all there.
    V at(int64_t i, int64_t) const { return at(i); }
  };
  static Row row(const uint8_t* bytes, int64_t columns) {
    Row r;
    r.codes = bytes;
    r.scales.stored = reinterpret_cast<const uint16_t*>(bytes + code_bytes(DType::int4, columns));
    return r;
  }
};

// Calls f with the weight type of `type`.
template <class F>
static inline void with_weights(DType type, F f) {
  if (type == DType::f32)
    f(F32{});
  else if (type == DType::f16)
    f(F16{});
  else if (type == DType::int8)
    f(Int8{});
  else
    f(Int4{});
}

// out[0 … end-begin-1] = elements begin … end-1 of a row; `begin` is a multiple of W.
template <class D>
static void decode_row(typename D::Row row, int64_t begin, int64_t end, float* out) {
  out -= begin;
  for (int64_t e0 = begin, e1; e0 < end; e0 = e1) {
    e1 = chunk_end(e0, end);
    row.prepare(e0, e1);
    int64_t e = e0;
    for (; e + W <= e1; e += W) store(out + e, row.at(e));
    if (e < e1) store(out + e, row.at(e, e1 - e), e1 - e);
  }
}

}  // namespace dejavu::DEJAVU_ISA
