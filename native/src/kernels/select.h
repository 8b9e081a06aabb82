// selectAbove, selectTop, noise, tally. A row of scores is one task's: it is read once, from cache.
#pragma once

namespace dejavu::DEJAVU_ISA::select_above {

DEJAVU_OPERANDS(scores, within, select);
DEJAVU_PARAMS(threshold, magnitude);

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

static constexpr Kernel kernel{"selectAbove", operands, params, 1u << within, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::select_above

namespace dejavu::DEJAVU_ISA::select_top {

DEJAVU_OPERANDS(scores, select);
DEJAVU_PARAMS(k);

static int tasks(const Command& c, int threads) {
  return split(c.operand[scores].dim[0], 4 * c.operand[scores].size(), threads);
}

static size_t workspace(const Command& c) {
  return sizeof(float) * static_cast<size_t>(c.operand[scores].dim[1]);
}

// Whole numbers in the order of floats, one step from each to the next; zeros of both signs are equal.
static int64_t order(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits >> 31 ? -static_cast<int64_t>(bits & 0x7fffffffu) : bits;
}
static float at_order(int64_t order) {
  const uint32_t bits = static_cast<uint32_t>(order < 0 ? -order : order);
  float x;
  memcpy(&x, &bits, 4);
  return order < 0 ? -x : x;
}

static int64_t above(const float* score, int64_t n, float cut) {
  V counts[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
    for (int k = 0; k < 4; k++)
      counts[k] = count_above(counts[k], load(score + i + k * W), set(cut));
  auto count =
      static_cast<int64_t>(sum(add(add(counts[0], counts[1]), add(counts[2], counts[3]))));
  for (; i < n; i++) count += score[i] > cut;
  return count;
}

// Bounds, as orders, of what separates the k best from the others: at least k scores exceed `low`, `count`
// of them; fewer than k exceed `high`, or just k where both are equal.
struct Bounds {
  int64_t low, high, count;

  bool closed() const { return high - low <= 1; }

  // Looks how many of n scores exceed what lies at `order`, or the nearest within the bounds.
  void look(const float* score, int64_t n, int64_t k, int64_t order) {
    order = most(low + 1, least(high - 1, order));
    const int64_t found = above(score, n, at_order(order));
    if (found >= k) low = order, count = found;
    if (found <= k) high = order;
  }
};

// Halves the span of values until few are left that may be chosen, and lists them; then, among these, the
// span of orders, which no distribution of scores makes long.
static int64_t best(const float* score, int64_t n, int64_t k, uint32_t* out, float* listed) {
  constexpr int most_looks = 12;
  const int64_t few = n / 32;
  V tops = zero(), bottoms = zero();  // that 0 is within the bounds makes them no worse
  for (int64_t i = 0; i < n; i += W) {
    const V some = i + W <= n ? load(score + i) : load(score + i, n - i);
    tops = max(tops, some);
    bottoms = min(bottoms, some);
  }
  Bounds in{-order(peak(sub(zero(), bottoms))) - 1, order(peak(tops)), n};
  for (int i = 0; i < most_looks && !in.closed() && in.count - k > few; i++)
    in.look(score, n, k, order(0.5f * at_order(in.low) + 0.5f * at_order(in.high)));
  if (in.count == n)  // nothing may be below `low`
    for (int64_t i = 0; i < n; i++) out[i] = static_cast<uint32_t>(i);
  else
    in.count = select_above::keep(score, 1, n, at_order(in.low), false, out);
  const int64_t candidates = in.count;
  for (int64_t i = 0; i < candidates; i++) listed[i] = score[out[i]];
  while (!in.closed()) in.look(listed, candidates, k, in.low + (in.high - in.low) / 2);
  const float cut = at_order(in.high);
  int64_t ties = k - above(listed, candidates, cut), count = 0;
  for (int64_t i = 0; i < candidates; i++) {
    const bool tie = listed[i] == cut;
    out[count] = out[i];
    count += listed[i] > cut || (tie && ties > 0);
    ties -= tie;
  }
  return count;
}

static void run(const Command& c, int task, float* listed) {
  const auto [R, N] = c.operand[scores].matrix();
  const int64_t wanted = static_cast<int64_t>(c.param[k]);
  const Range rows = share(R, task, c.tasks);
  for (int64_t r = rows.begin; r < rows.end; r++) {
    uint32_t* out = c.operand[select].u32() + r * (1 + N);
    const float* score = c.operand[scores].f32() + r * N;
    out[0] = static_cast<uint32_t>(wanted ? best(score, N, wanted, out + 1, listed) : 0);
  }
}

static constexpr Kernel kernel{"selectTop", operands, params, 0, tasks, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::select_top

namespace dejavu::DEJAVU_ISA::noise {

DEJAVU_OPERANDS(sequences, positions, y);
DEJAVU_PARAMS(seed);

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

static constexpr Kernel kernel{"noise", operands, params, 0, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::noise

namespace dejavu::DEJAVU_ISA::tally {

DEJAVU_OPERANDS(select, counts);
DEJAVU_PARAMS(at, group);

static void run(const Command& c, int, float*) {
  const auto [R, stride] = c.operand[select].matrix();
  const uint32_t unit = static_cast<uint32_t>(c.param[group]);
  uint32_t total = 0;
  for (int64_t r = 0; r < R; r++) {
    const uint32_t* row = c.operand[select].u32() + r * stride;
    if (unit == 1) {
      total += row[0];
      continue;
    }
    int64_t last = -1;
    for (uint32_t i = 0; i < row[0]; i++) {
      const int64_t found = row[1 + i] / unit;
      total += found != last;
      last = found;
    }
  }
  c.operand[counts].u32()[static_cast<int64_t>(c.param[at])] = total;
}

static constexpr Kernel kernel{"tally", operands, params, 0, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::tally
