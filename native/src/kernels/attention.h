// attention and store: a cache of keys and values [B, G, S, D], f32.
#pragma once

namespace dejavu::DEJAVU_ISA::attention {

enum { q, keys, values, sequences, slots, select, y };
enum { scale };

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

// Head h of rows t … t+rows-1, which are of one sequence.
static void attend(const Command& c, int64_t t, int64_t rows, int64_t h, float* weights) {
  const int64_t H = c.operand[q].dim[1], D = c.operand[q].dim[2];
  const int64_t G = c.operand[keys].dim[1], S = c.operand[keys].dim[2];
  const int64_t place = (c.operand[sequences].i32()[t] * G + h / (H / G)) * S * D;
  const float* key = c.operand[keys].f32() + place;
  const float* value = c.operand[values].f32() + place;
  const int32_t* slot = c.operand[slots].i32() + t;
  float* out = c.operand[y].f32() + (t * H + h) * D;

  int64_t longest = 0, common = S;
  for (int64_t i = 0; i < rows; i++) {
    longest = most(longest, slot[i] + 1);
    common = least(common, slot[i] + 1);
  }
  constexpr int64_t batch = 4 * dot_rows;
  for (int64_t s = 0; s < longest; s += batch) {
    const uint8_t* at[batch];
    const int64_t count = least(batch, longest - s);
    for (int64_t i = 0; i < count; i++)
      at[i] = reinterpret_cast<const uint8_t*>(key + (s + i) * D);
    dots<F32>(at, nullptr, count, c.operand[q].f32() + (t * H + h) * D, H * D, rows, D, weights + s,
              S);
  }
  float total[shared_rows];
  for (int64_t i = 0; i < rows; i++)
    total[i] = soften(weights + i * S, slot[i] + 1, static_cast<float>(c.param[scale]));
  outer(rows, D, common, {weights, S, 1}, value, D, out, H * D, true);
  for (int64_t i = 0; i < rows; i++) {
    float* row = out + i * H * D;
    outer(1, D, slot[i] + 1 - common, {weights + i * S + common, S, 1}, value + common * D, D, row,
          D, false);
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

static constexpr Kernel kernel{"attention", 7, 1, 1u << select, tasks, workspace, run};

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
