// attention and store: a cache of keys and values [B, G, S, D], f32.
#pragma once

namespace dejavu::DEJAVU_ISA::attention {

enum { q, keys, values, sequences, slots, select, slopes, y };
enum { scale, window };

// Neighbouring rows of one sequence share the reading of keys and values.
constexpr int64_t shared_rows = dot_cols;

static int tasks(const Command& c, int threads) {
  const int64_t T = c.operand[q].dim[0], H = c.operand[q].dim[1];
  if (threads == 1) return 1;
  return static_cast<int>((T + shared_rows - 1) / shared_rows * H);
}

static size_t workspace(const Command& c) {
  return sizeof(float) * static_cast<size_t>(shared_rows * c.operand[keys].dim[2]);
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

// weights[s] = scale * weights[s] + slope * (how far s is from the last of the n, which is negative).
static void lean(float* weights, int64_t n, float scale, float slope) {
  float lanes[W];
  for (int i = 0; i < W; i++) lanes[i] = static_cast<float>(i);
  const V steps = load(lanes);
  for (int64_t s = 0; s < n; s += W) {
    const V away = dejavu::DEJAVU_ISA::add(steps, set(static_cast<float>(s + 1 - n)));
    const V bias = mul(set(slope), away);
    if (s + W <= n)
      store(weights + s, fma(set(scale), load(weights + s), bias));
    else
      store(weights + s, fma(set(scale), load(weights + s, n - s), bias), n - s);
  }
}

// Slots that a row sees which lies in this one.
static Range seen(const Command& c, int64_t slot) {
  const int64_t last = static_cast<int64_t>(c.param[window]);
  return {last ? most(0, slot + 1 - last) : 0, slot + 1};
}

// Head h of rows t … t+rows-1, which are of one sequence. Each row adds values by ascending slot: those
// before what all rows see, those that all see, those after.
static void attend(const Command& c, int64_t t, int64_t rows, int64_t h, float* weights) {
  const int64_t H = c.operand[q].dim[1], D = c.operand[q].dim[2];
  const int64_t G = c.operand[keys].dim[1], S = c.operand[keys].dim[2];
  const int64_t place = (c.operand[sequences].i32()[t] * G + h / (H / G)) * S * D;
  const float* key = c.operand[keys].f32() + place;
  const float* value = c.operand[values].f32() + place;
  const int32_t* slot = c.operand[slots].i32() + t;
  float* out = c.operand[y].f32() + (t * H + h) * D;

  Range sees[shared_rows], any = {S, 0}, all = {0, S};
  for (int64_t i = 0; i < rows; i++) {
    sees[i] = seen(c, slot[i]);
    any = {least(any.begin, sees[i].begin), most(any.end, sees[i].end)};
    all = {most(all.begin, sees[i].begin), least(all.end, sees[i].end)};
  }
  if (all.begin > all.end) all = {any.begin, any.begin};
  constexpr int64_t batch = 4 * dot_rows;
  for (int64_t s = any.begin; s < any.end; s += batch) {
    const uint8_t* at[batch];
    const int64_t count = least(batch, any.end - s);
    for (int64_t i = 0; i < count; i++)
      at[i] = reinterpret_cast<const uint8_t*>(key + (s + i) * D);
    dots<F32>(at, nullptr, count, c.operand[q].f32() + (t * H + h) * D, H * D, rows, D, weights + s,
              S);
  }
  float total[shared_rows];
  const float by = static_cast<float>(c.param[scale]);
  for (int64_t i = 0; i < rows; i++) {
    float* row = weights + i * S + sees[i].begin;
    const int64_t n = sees[i].end - sees[i].begin;
    const float* slope = c.operand[slopes].f32();
    if (slope) lean(row, n, by, slope[h]);
    total[i] = soften(row, n, slope ? 1 : by);
  }
  const auto add_values = [&](int64_t row, int64_t count, int64_t begin, int64_t end, bool fresh) {
    outer(count, D, end - begin, {weights + row * S + begin, S, 1}, value + begin * D, D,
          out + row * H * D, H * D, fresh);
  };
  const bool before = any.begin < all.begin;
  for (int64_t i = 0; before && i < rows; i++) add_values(i, 1, sees[i].begin, all.begin, true);
  add_values(0, rows, all.begin, all.end, !before);
  for (int64_t i = 0; i < rows; i++) {
    add_values(i, 1, most(all.end, sees[i].begin), sees[i].end, false);
    float* row = out + i * H * D;
    for (int64_t d = 0; d < D; d++) row[d] /= total[i];
  }
}

// Task: the i-th share of heads of a few rows.
static void run(const Command& c, int task, float* weights) {
  const int64_t T = c.operand[q].dim[0], H = c.operand[q].dim[1];
  const int64_t groups = (T + shared_rows - 1) / shared_rows;
  const int shares = static_cast<int>(most(1, c.tasks / groups));
  const int32_t* sequence = c.operand[sequences].i32();
  const Range range = share(groups, task / shares, static_cast<int>(most(1, c.tasks / shares)));
  for (int64_t g = range.begin; g < range.end; g++) {
    const int64_t first = g * shared_rows;
    const int64_t end = least(first + shared_rows, T);
    for (int64_t t = first, n; t < end; t += n) {
      for (n = 1; t + n < end && !per_row(c.operand[select]) && sequence[t + n] == sequence[t];) n++;
      const Chosen heads = chosen(c.operand[select], t, H);
      const Range mine = share(heads.size(), task % shares, shares);
      for (int64_t i = mine.begin; i < mine.end; i++) attend(c, t, n, heads[i], weights);
    }
  }
}

static constexpr Kernel kernel{"attention", 8, 2, 1u << select | 1u << slopes, tasks, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::attention

namespace dejavu::DEJAVU_ISA::cache_store {

enum { x, sequences, slots, cache };

static void run(const Command& c, int, float*) {
  const int64_t T = c.operand[x].dim[0], G = c.operand[x].dim[1], D = c.operand[x].dim[2];
  const int64_t S = c.operand[cache].dim[2];
  for (int64_t t = 0; t < T; t++)
    for (int64_t g = 0; g < G; g++) {
      const int64_t row = c.operand[sequences].i32()[t] * G + g;
      memcpy(c.operand[cache].f32() + (row * S + c.operand[slots].i32()[t]) * D,
             c.operand[x].f32() + (t * G + g) * D, static_cast<size_t>(D) * sizeof(float));
    }
}

static constexpr Kernel kernel{"store", 4, 0, 0, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::cache_store
