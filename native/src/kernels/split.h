// How work is shared among tasks, and what a selection chooses.
#pragma once

// Of kernels' inner loops, which compilers leave as calls once there are many of them.
#define DEJAVU_INLINE inline __attribute__((always_inline))

namespace dejavu::DEJAVU_ISA {

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Tasks for `units` shares of work that take `steps` multiplications in all: one for each thread where that is
// worth one, up to four where each is long beside what a task costs.
static inline int split(int64_t units, int64_t steps, int threads) {
  constexpr int64_t worth_a_task = 1 << 15, long_task = 1 << 18;
  if (threads == 1) return 1;
  const int64_t few = least(threads, steps / worth_a_task);
  const int64_t many = least(threads * 4, steps / long_task);
  return static_cast<int>(most(1, least(units, most(few, many))));
}

struct Range {
  int64_t begin, end;
};

// The share of `units` that `task` of `tasks` has, in steps of `step`. Shares become smaller, so that
// threads that take them in order end at about the same time.
static inline Range share(int64_t units, int task, int tasks, int64_t step = 1) {
  const int64_t steps = (units + step - 1) / step;
  const auto bound = [&](int64_t left) {
    return least(units, (steps - steps * left * left / (int64_t{tasks} * tasks)) * step);
  };
  return {bound(tasks - task), bound(tasks - task - 1)};
}

// Indices chosen for one row: `count` of a selection, or all of 0 … count-1; each stands for `block`.
struct Chosen {
  const uint32_t* index;
  int64_t count;
  int64_t block;

  int64_t size() const { return count * block; }
  int64_t operator[](int64_t i) const {
    if (!index) return i;
    return block == 1 ? index[i] : index[i / block] * block + i % block;
  }

  // Places first … first+count-1 of those before `end`, which is repeated: without a division for each.
  void list(int64_t first, int64_t count, int64_t end, int64_t* to) const {
    const int64_t known = least(count, most(0, end - first));
    if (!index || block == 1) {
      for (int64_t i = 0; i < known; i++) to[i] = index ? index[first + i] : first + i;
    } else {
      int64_t at = first / block, within = first % block;
      for (int64_t i = 0; i < known; i++) {
        to[i] = index[at] * block + within;
        if (++within == block) at++, within = 0;
      }
    }
    for (int64_t i = known; i < count; i++) to[i] = known ? to[known - 1] : (*this)[end - 1];
  }
};

// Piece i of those rows of a matrix: all of them where they are one run of memory, else one each.
static inline Span piece_of(const Operand& matrix, const Chosen& rows, Range range, int64_t i) {
  const int64_t stride = row_bytes(matrix.type, matrix.dim[1]);
  const int64_t pieces = rows.index ? range.end - range.begin : 1;
  if (i >= pieces) return {};
  return {matrix.data + rows[range.begin + i] * stride, (range.end - range.begin) / pieces * stride};
}

static inline bool per_row(const Operand& select) { return select.data && select.dim[0] > 1; }

static inline Chosen chosen(const Operand& select, int64_t row, int64_t n, int64_t block = 1) {
  if (!select.data) return {nullptr, n / block, block};
  const uint32_t* start = select.u32() + (select.dim[0] > 1 ? row : 0) * select.dim[1];
  // No more than there is room for: a thread that looks ahead may come so late that other numbers lie there.
  return {start + 1, least(start[0], select.dim[1] - 1), block};
}

}  // namespace dejavu::DEJAVU_ISA
