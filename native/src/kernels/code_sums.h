// Sums over rows of 4-bit codes, each times a number of its own: x · w for one activation and a range of inputs.
//
// What a code is multiplied by, x[n] times its group's scale, is rounded to a whole number of 15 bits, the
// largest of the range to 32767; products and sums of whole numbers are exact. A sum so has an error of
// about 1e-4 of its size, the same bits in any order of rows, and none from a row whose x is 0.
#pragma once

namespace dejavu::DEJAVU_ISA {

// More rows could exceed 32 bits: 15 · 32767 each.
constexpr int64_t most_code_rows = 4096;

template <DType type>
struct CodeSums {
  const uint8_t* weights;
  int64_t E;
  const Chosen& inputs;
  Range range;  // places among those chosen
  const float* x;
  float* peaks;  // [N], the largest scale of each row, 0 where it is not known; or null

  static constexpr int rows = 8;  // in flight, in pairs
  static constexpr int64_t groups = Scales::groups;
  static constexpr float largest = 32767;
  static constexpr bool minima = format_of(type).minima;

  static size_t room(int64_t E) {
    return sizeof(int32_t) * static_cast<size_t>(round_up(E, chunk) * (group_size + 2) / group_size);
  }

  const uint8_t* row(int64_t i) const {
    return weights + inputs[least(i, range.end - 1)] * row_bytes(type, E);
  }
  float factor(int64_t i) const { return i < range.end ? x[inputs[i]] : 0; }

  // Where a column's sum is.
  static int64_t place(int64_t e) { return e - e % pair_columns + pair_place(e % pair_columns); }

  // The largest scale of input n's row.
  float peak_scale(int64_t n) const {
    const uint8_t* codes = weights + n * row_bytes(type, E);
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(codes + code_bytes(type, E));
    const int64_t count = (E + format_of(type).group - 1) / format_of(type).group;
    V top = zero();
    int64_t g = 0;
    for (; g + W <= count; g += W) top = max(top, abs(load_f16(scales + g)));
    if (g < count) top = max(top, abs(load_f16(scales + g, count - g)));
    return peak(top);
  }

  // The largest |x[n] · scale| of the range. A row's scales are looked at once and known from then on.
  float peak_factor() const {
    float top = 0;
    for (int64_t i = range.begin; i < range.end; i++) {
      const int64_t n = inputs[i];
      const float known = peaks && peaks[n] > 0 ? peaks[n] : peak_scale(n);
      if (peaks) peaks[n] = known;
      const float here = fabsf(x[n]) * known;
      top = here > top ? here : top;
    }
    return top;
  }

  // sums [E] = those of the range.
  void run(float* sums, float* room) const {
    int32_t* total = reinterpret_cast<int32_t*>(room);  // by column, in the order of `add_pairs`
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
    for (int64_t e = 0; e < E; e += 8) {  // eight columns always lie together
      const int32_t* codes = total + place(e);
      const int32_t eights = 8 * factors[e / group_size];
      float eight[8];
      for (int k = 0; k < 8; k++)
        eight[k] = unit * static_cast<float>(codes[k] - eights) + rest[e / group_size];
      memcpy(sums + e, eight, sizeof(float) * static_cast<size_t>(least(8, E - e)));
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
    for (int r = 0; r < rows; r++) {
      at.row[r] = row(i + r);
      at.later[r] = row(i + r + rows);
      at.scales[r] = Scales::of(at.row[r], type, E);
      at.number[r] = factor(i + r) * by;
    }
    if (at.later[0] == at.row[0] + rows * row_bytes(type, E))
      add_chunks<true>(at, total, factors);
    else
      add_chunks<false>(at, total, factors);
  }

  struct Rows {
    const uint8_t *row[rows], *later[rows];
    Scales scales[rows];
    float number[rows];
  };

  // `one_run`: these rows and later ones lie one after the other, and are asked for in that order.
  template <bool one_run>
  void add_chunks(Rows& at, int32_t* total, int32_t* factors) const {
    const uint8_t* next = at.later[0] + 8192;
    int32_t whole[rows / 2][groups];  // a pair of 16-bit factors each
    int64_t e = 0;
    for (; e + chunk <= E; e += chunk) {
      prepare<one_run>(at, e, chunk, whole, factors);
#pragma GCC unroll 8
      for (int64_t begin = 0; begin < chunk; begin += pair_columns) {
        const int64_t place = (e + begin) / 2;
        const uint8_t* codes[rows];
        for (int r = 0; r < rows; r++) {
          codes[r] = at.row[r] + place;
          if (one_run)
            __builtin_prefetch(next + (rows * place / 64 + r) * 72, 0, 2);
          else if (place % 64 == 0)
            __builtin_prefetch(at.later[r] + place);
        }
        add_pairs<rows / 2, groups>(total + e + begin, codes, &whole[0][begin / group_size]);
      }
    }
    if (e == E) return;
    prepare<one_run>(at, e, E - e, whole, factors);
    for (int64_t k = e; k < E; k++)
      for (int r = 0; r < rows; r++) {
        const uint8_t byte = at.row[r][k / group_size * 16 + k % 16];
        const int code = k % group_size < 16 ? byte & 15 : byte >> 4;
        const int32_t pair = whole[r / 2][k / group_size % groups];
        total[place(k)] += code * static_cast<int16_t>(pair >> (r % 2 ? 16 : 0));
      }
  }

  // Whole factors of the groups of a chunk, and their sums.
  template <bool one_run>
  DEJAVU_INLINE void prepare(Rows& at, int64_t e, int64_t count, int32_t (*whole)[groups],
               int32_t* factors) const {
    for (int r = 0; r < rows; r++) {
      if (count < chunk) memset(at.scales[r].value, 0, sizeof at.scales[r].value);
      at.scales[r].prepare(e, e + count);
      if (!one_run) __builtin_prefetch(at.later[r] + code_bytes(type, E) + e / 16);
    }
    for (int r = 0; r < rows; r += 2)
      pair_factors(at.scales[r].value, at.number[r], at.scales[r + 1].value, at.number[r + 1],
                   whole[r / 2], factors + e / group_size);
  }
};

}  // namespace dejavu::DEJAVU_ISA
