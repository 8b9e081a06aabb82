// Sums over rows of 4-bit codes, each times a number of its own: x · w for one activation and a range of inputs.
//
// What a code is multiplied by, x[n] times its group's scale, is rounded to a whole number of 15 bits, the
// largest of the range to 32639, 127 times 257; products and sums of whole numbers are exact. A sum so has an error of
// about 1e-4 of its size, the same bits in any order of rows, and none from a row whose x is 0.
#pragma once

namespace dejavu::DEJAVU_ISA {

// More rows could exceed 32 bits: 15 · 32639 each.
constexpr int64_t most_code_rows = 4096;

template <DType type>
struct CodeSums {
  const uint8_t* weights;
  Columns E;
  const Chosen& inputs;
  Range range;  // places among those chosen
  const float* x;
  float* peaks;  // [N], the largest scale of each row, 0 where it is not known; or null

  static constexpr int rows = 8;  // in flight
  static constexpr int64_t groups = Scales::groups;
  static constexpr float largest = 32639;
  static constexpr bool minima = format_of(type).minima;

  static size_t room(int64_t E) {
    return sizeof(int32_t) * static_cast<size_t>(round_up(E, chunk) * (group_size + 2) / group_size);
  }

  const uint8_t* row(int64_t i) const {
    return weights + inputs[least(i, range.end - 1)] * row_bytes(type, E);
  }
  float factor(int64_t i) const { return i < range.end ? x[inputs[i]] : 0; }

  // The largest scale of input n's row.
  float peak_scale(int64_t n) const {
    const uint8_t* codes = weights + n * row_bytes(type, E);
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(codes + code_bytes(type, E));
    const int64_t count = (E + E.group - 1) / E.group;
    V top = zero();
    int64_t g = 0;
    for (; g + W <= count; g += W) top = max(top, abs(load_f16(scales + g)));
    if (g < count) top = max(top, abs(load_f16(scales + g, count - g)));
    return peak(top);
  }

  // What `peak_scale` says of input n; a row's scales are looked at once and known from then on.
  float known_peak(int64_t n) const {
    if (!peaks) return peak_scale(n);
    if (!(peaks[n] > 0)) peaks[n] = peak_scale(n);
    return peaks[n];
  }

  // The largest |x[n] · scale| of the range.
  float peak_factor() const {
    V tops = zero();
    int64_t i = range.begin;
    for (; !inputs.index && peaks && i + W <= range.end; i += W) {
      for (int64_t n = i; n < i + W; n++) known_peak(n);
      tops = max(tops, mul(abs(load(x + i)), load(peaks + i)));
    }
    for (; i < range.end; i += W) {
      int64_t n[W];
      float here[W];
      inputs.list(i, W, range.end, n);
      for (int64_t k = 0; k < W; k++) here[k] = x[n[k]] * known_peak(n[k]);
      tops = max(tops, abs(load(here)));
    }
    return peak(tops);
  }

  // sums [E] = those of the range.
  void run(float* sums, float* room) const {
    int32_t* total = reinterpret_cast<int32_t*>(room);  // by column, in the order of `add_codes`
    int32_t* factors = total + round_up(E, chunk);      // sums of factors by group
    float* rest = reinterpret_cast<float*>(factors + round_up(E, chunk) / group_size);
    for (int r = 0; r < rows && range.begin < range.end; r++)
      for (int64_t at = 0; at < row_bytes(type, E); at += 64)
        __builtin_prefetch(row(range.begin + r) + at);
    memset(room, 0, CodeSums::room(E));
    const float top = peak_factor();
    if (top > 0)
      for (int64_t i = range.begin; i < range.end; i += rows)
        add_rows(i, largest / top, total, factors);
    if (minima) add_minima(rest);
    const float unit = top / largest;
    for (int64_t e = 0; e < E; e += sum_columns) {
      int32_t codes[sum_columns];
#pragma GCC unroll 32
      for (int64_t i = 0; i < sum_columns; i += sum_run)
        memcpy(codes + i, total + e + sum_place(i), sum_run * sizeof(int32_t));
      float part[sum_columns];
      for (int64_t i = 0; i < sum_columns; i += group_size) {
        const int64_t group = (e + i) / group_size;
        for (int64_t k = i; k < i + group_size; k++)
          part[k] = unit * static_cast<float>(codes[k] - 8 * factors[group]) + rest[group];
      }
      memcpy(sums + e, part, sizeof(float) * static_cast<size_t>(least(sum_columns, E - e)));
    }
  }

  // rest [E / 32] += x times the middles of the groups' codes.
  void add_minima(float* rest) const {
    for (int64_t i = range.begin; i < range.end; i++) {
      const uint8_t* at = row(i);
      Scales scales = Scales::of(at, type, E), minima_ = Scales::minima_of(at, type, E);
      const V by = set(factor(i));
      for (int64_t e = 0; e < E; e += chunk) {
        const int64_t end = least(E, e + chunk);
        scales.prepare(e, end);
        minima_.prepare(e, end);
        const int64_t count = (end - e + group_size - 1) / group_size;
        for (int64_t g = 0; g < count; g += W) {
          const int64_t n = least(W, count - g);
          const V middle = fma(load(scales.value + g, n), set(8), load(minima_.value + g, n));
          float* to = rest + e / group_size + g;
          store(to, fma(by, middle, load(to, n)), n);
        }
      }
    }
  }

  // Adds codes times whole factors of the rows from place i on.
  void add_rows(int64_t i, float by, int32_t* total, int32_t* factors) const {
    Rows at;
    int64_t n[2 * rows];
    inputs.list(i, 2 * rows, range.end, n);
    for (int r = 0; r < rows; r++) {
      at.row[r] = weights + n[r] * row_bytes(type, E);
      at.later[r] = weights + n[r + rows] * row_bytes(type, E);
      at.number[r] = i + r < range.end ? x[n[r]] * by : 0;
    }
    if (at.later[0] == at.row[0] + rows * row_bytes(type, E))
      add_chunks<true>(at, total, factors);
    else
      add_chunks<false>(at, total, factors);
  }

  struct Rows {
    const uint8_t *row[rows], *later[rows];
    float number[rows];
  };

  // Where rows lie one after the other they are asked for in that order, a little with each step: into the
  // first cache what follows the next rows by that much, and into the second what follows that.
  static constexpr int64_t ahead = 1024, further = 2048;

  // `one_run`: these rows and later ones lie so.
  template <bool one_run>
  void add_chunks(const Rows& at, int32_t* total, int32_t* factors) const {
    constexpr int64_t step = rows * row_bytes(type, sum_columns);
    constexpr int64_t lines = (step + 63) / 64;
    const uint8_t* next = at.later[0] + ahead;
    int32_t whole[rows * groups / 2];
    int64_t e = 0;
    for (; e + chunk <= E; e += chunk) {
      prepare<one_run>(at, e, chunk, whole, factors);
#pragma GCC unroll 1
      for (int64_t begin = 0; begin < chunk; begin += sum_columns) {
        const int64_t place = (e + begin) / 2;
        const uint8_t* codes[rows];
        for (int r = 0; r < rows; r++) {
          codes[r] = at.row[r] + place;
          if (!one_run && place % 64 == 0) __builtin_prefetch(at.later[r] + place);
        }
        add_codes<rows>(total + e + begin, codes, whole + begin / group_size, [&](int part) {
          if (!one_run) return;
#pragma GCC unroll 4
          for (int64_t line = lines * part / 4; line < lines * (part + 1) / 4; line++) {
            __builtin_prefetch(next + line * 64);
            __builtin_prefetch(next + line * 64 + further, 0, 2);
          }
        });
        next += step;
        asm volatile("" : "+r"(next));  // or compilers ask for several steps' lines at once, in any order
      }
    }
    if (e == E) return;
    prepare<one_run>(at, e, E - e, whole, factors);
    for (int64_t begin = 0; e + begin < E; begin += sum_columns) {
      uint8_t last[rows][sum_columns / 2] = {};  // what follows a row's codes is not ours to multiply
      const uint8_t* codes[rows];
      const int64_t place = (e + begin) / 2;
      const int64_t bytes = least(sum_columns / 2, code_bytes(type, E) - place);
      for (int r = 0; r < rows; r++) {
        codes[r] = last[r];
        memcpy(last[r], at.row[r] + place, static_cast<size_t>(bytes));
      }
      add_codes<rows>(total + e + begin, codes, whole + begin / group_size, [](int) {});
    }
  }

  // Whole factors of the groups of a chunk, and their sums.
  template <bool one_run>
  DEJAVU_INLINE void prepare(const Rows& at, int64_t e, int64_t count, int32_t* whole,
                             int32_t* factors) const {
    Scales scales[rows];
    const float* values[rows];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      scales[r] = Scales::of(at.row[r], type, E);
      values[r] = scales[r].value;
      if (!one_run) __builtin_prefetch(at.later[r] + code_bytes(type, E) + e / 16);
      if (count < chunk) memset(scales[r].value, 0, sizeof scales[r].value);
      if (count < chunk || E.group != group_size)
        scales[r].prepare(e, e + count);
      else
        for (int64_t g = 0; g < groups; g += W)
          store(scales[r].value + g, load_f16(scales[r].stored + e / group_size + g));
    }
    for (int r = 0; r < rows; r += factor_rows)
      whole_factors(values + r, at.number + r, whole + r * groups / 2, factors + e / group_size);
  }
};

}  // namespace dejavu::DEJAVU_ISA
