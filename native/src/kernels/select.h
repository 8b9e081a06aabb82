// selectAbove, selectTop, noise, tally. A row of scores is one task's: it is read once, from cache.
#pragma once

namespace dejavu::DEJAVU_ISA::select_above {

enum { scores, within, select };
enum { threshold, magnitude };

static int tasks(const Command& c, int threads) {
  return split(c.operand[select].dim[0], c.operand[scores].size(), threads);
}

// The f32 that an f32 exceeds exactly when it exceeds `x`.
static float bound(double x) {
  const float near = static_cast<float>(x);
  return static_cast<double>(near) > x ? nextafterf(near, -__builtin_inff()) : near;
}

static bool exceeds(const float* score, int64_t rows, int64_t N, float cut, bool sizes) {
  for (int64_t r = 0; r < rows; r++)
    if ((sizes ? fabsf(score[r * N]) : score[r * N]) > cut) return true;
  return false;
}

// Indices whose score exceeds `cut` in any of `rows` rows.
static int64_t keep(const float* score, int64_t rows, int64_t N, float cut, bool sizes,
                    uint32_t* out) {
  int64_t count = 0, n = 0;
  const auto at = [&](int64_t i) { return sizes ? abs(load(score + i)) : load(score + i); };
  for (; n + W <= N; n += W) {
    V v = at(n);
    for (int64_t r = 1; r < rows; r++) v = max(v, at(r * N + n));
    count += keep_above(out + count, v, set(cut), static_cast<uint32_t>(n));
  }
  for (; n < N; n++)
    if (exceeds(score + n, rows, N, cut, sizes)) out[count++] = static_cast<uint32_t>(n);
  return count;
}

static void run(const Command& c, int task, float*) {
  const auto [R, N] = c.operand[scores].matrix();
  const int64_t choices = c.operand[select].dim[0];
  const int64_t each = choices == R ? 1 : R;  // rows of one choice
  const float cut = bound(c.param[threshold]);
  const bool sizes = c.param[magnitude] != 0;
  const Range mine = share(choices, task, c.tasks);
  for (int64_t r = mine.begin; r < mine.end; r++) {
    const float* score = c.operand[scores].f32() + r * N;
    uint32_t* out = c.operand[select].u32() + r * (1 + N);
    const Chosen from = chosen(c.operand[within], r, N);
    int64_t count = 0;
    if (!from.index)
      count = keep(score, each, N, cut, sizes, out + 1);
    else
      for (int64_t i = 0; i < from.count; i++) {
        const uint32_t n = from.index[i];
        if (exceeds(score + n, each, N, cut, sizes)) out[1 + count++] = n;
      }
    out[0] = static_cast<uint32_t>(count);
  }
}

static constexpr Kernel kernel{"selectAbove", 3, 2, 1u << within, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::select_above

namespace dejavu::DEJAVU_ISA::select_top {

enum { scores, select };
enum { k };

static int tasks(const Command& c, int threads) {
  return split(c.operand[scores].dim[0], 4 * c.operand[scores].size(), threads);
}

// Orders as the float does; zeros of both signs are equal.
static uint32_t order(float x) {
  uint32_t bits;
  x += 0.0f;
  memcpy(&bits, &x, 4);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The k-th largest order of a row, k ≥ 1, found digit by digit; `ties`: how many equal ones to take.
static uint32_t kth(const float* score, int64_t N, int64_t k, int64_t* ties) {
  constexpr int digits[] = {11, 11, 10};
  uint32_t found = 0, known = 0;
  int shift = 32;
  for (const int width : digits) {
    uint32_t counts[1 << 11] = {};
    shift -= width;
    const uint32_t mask = (1u << width) - 1;
    for (int64_t n = 0; n < N; n++) {
      const uint32_t key = order(score[n]);
      if ((key & known) == found) counts[key >> shift & mask]++;
    }
    uint32_t digit = mask;
    for (; counts[digit] < k; digit--) k -= counts[digit];
    found |= digit << shift;
    known |= mask << shift;
  }
  *ties = k;
  return found;
}

static void run(const Command& c, int task, float*) {
  const auto [R, N] = c.operand[scores].matrix();
  const int64_t wanted = static_cast<int64_t>(c.param[k]);
  const Range rows = share(R, task, c.tasks);
  for (int64_t r = rows.begin; r < rows.end; r++) {
    const float* score = c.operand[scores].f32() + r * N;
    uint32_t* out = c.operand[select].u32() + r * (1 + N);
    int64_t ties = 0, count = 0;
    const uint32_t last = wanted ? kth(score, N, wanted, &ties) : 0;
    for (int64_t n = 0; n < N && count < wanted; n++) {
      const uint32_t key = order(score[n]);
      if (key > last || (key == last && ties-- > 0)) out[1 + count++] = static_cast<uint32_t>(n);
    }
    out[0] = static_cast<uint32_t>(wanted);
  }
}

static constexpr Kernel kernel{"selectTop", 2, 1, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::select_top

namespace dejavu::DEJAVU_ISA::noise {

enum { sequences, positions, y };
enum { seed };

static uint32_t hash(uint32_t x) {
  x = (x ^ x >> 16) * 0x85ebca6bu;
  x = (x ^ x >> 13) * 0xc2b2ae35u;
  return (x ^ x >> 16) >> 8 << 8;
}

static void run(const Command& c, int, float*) {
  const auto [T, N] = c.operand[y].matrix();
  const uint32_t first = static_cast<uint32_t>(c.param[seed]);
  for (int64_t t = 0; t < T; t++) {
    const uint32_t text = hash(first + static_cast<uint32_t>(c.operand[sequences].i32()[t]));
    const uint32_t row = hash(text + static_cast<uint32_t>(c.operand[positions].i32()[t]));
    for (int64_t n = 0; n < N; n++)
      c.operand[y].f32()[t * N + n] =
          static_cast<float>(hash(row + static_cast<uint32_t>(n))) * 0x1p-32f;
  }
}

static constexpr Kernel kernel{"noise", 3, 1, 0, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::noise

namespace dejavu::DEJAVU_ISA::tally {

enum { select, counts };
enum { at, group };

static void run(const Command& c, int, float*) {
  const auto [R, stride] = c.operand[select].matrix();
  const uint32_t unit = static_cast<uint32_t>(c.param[group]);
  uint32_t total = 0;
  for (int64_t r = 0; r < R; r++) {
    const uint32_t* row = c.operand[select].u32() + r * stride;
    int64_t last = -1;
    for (uint32_t i = 0; i < row[0]; i++) {
      const int64_t found = row[1 + i] / unit;
      total += found != last;
      last = found;
    }
  }
  c.operand[counts].u32()[static_cast<int64_t>(c.param[at])] = total;
}

static constexpr Kernel kernel{"tally", 2, 2, 0, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::tally
