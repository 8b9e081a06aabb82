// Tensors and commands as kernels see them.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace dejavu {

// Names of an enumeration in its order, as JavaScript learns them: "x, w, bias". Numbers on a tape are places
// in such a list; src/backends/native looks them up by name, and refuses an addon that lacks one.
struct Names {
  const char* list = "";
  int count = 0;

  constexpr Names() = default;
  constexpr explicit Names(const char* names) : list(names), count(1) {
    for (; *names; names++) count += *names == ',';
  }
};
#define DEJAVU_TEXT(...) #__VA_ARGS__
#define DEJAVU_NAMES(...) dejavu::Names(DEJAVU_TEXT(__VA_ARGS__))

// An op's operands, or its parameters, in the order of its definition in src/ops: places, and their names.
#define DEJAVU_OPERANDS(...) \
  enum { __VA_ARGS__ };      \
  static constexpr Names operands = DEJAVU_NAMES(__VA_ARGS__)
#define DEJAVU_PARAMS(...) \
  enum { __VA_ARGS__ };    \
  static constexpr Names params = DEJAVU_NAMES(__VA_ARGS__)

// Element types, named as in src/tensor.ts.
#define DEJAVU_DTYPES                                                                         \
  f32, f16, bf16, int8, int4, int4g64, int4g128, int4z, int4g64z, int4g128z, int2g128, u8, i32, \
      u32
enum class DType : uint8_t { DEJAVU_DTYPES };
constexpr Names dtypes = DEJAVU_NAMES(DEJAVU_DTYPES);

constexpr int max_rank = 4;
constexpr int max_operands = 12;
constexpr int max_params = 8;

// Elements of a quantized row whose codes lie together; groups are whole numbers of them.
constexpr int64_t group_size = 32;

// How a quantized row is written (src/tensor.ts); `bits` of 0: the type is none of these.
struct Format {
  int bits;
  int64_t group;  // elements that share a scale
  bool minima;    // and a minimum
};

constexpr Format format_of(DType type) {
  switch (type) {
    case DType::int8:
      return {8, 32, false};
    case DType::int4:
      return {4, 32, false};
    case DType::int4g64:
      return {4, 64, false};
    case DType::int4g128:
      return {4, 128, false};
    case DType::int4z:
      return {4, 32, true};
    case DType::int4g64z:
      return {4, 64, true};
    case DType::int4g128z:
      return {4, 128, true};
    case DType::int2g128:
      return {2, 128, false};
    default:
      return {0, 0, false};
  }
}

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Elements of a row, and how many share a scale where it is quantized: kernels are compiled for int4 and
// int4z, and take each group as it comes.
struct Columns {
  int64_t count, group;
  int64_t scale_bytes;  // after which minima lie
  constexpr Columns(int64_t n, int64_t of = group_size)
      : count(n), group(of), scale_bytes(round_up((n + of - 1) / of * 2, 4)) {}
  constexpr operator int64_t() const { return count; }
};

// Bytes of the codes of a quantized row, after which its scales lie.
constexpr int64_t code_bytes(DType type, int64_t columns) {
  const int bits = format_of(type).bits;
  return bits == 8 ? round_up(columns, 4) : round_up(columns, group_size) * bits / 8;
}

// `type` is the row's, or that of the same bits and minima with another group.
constexpr int64_t row_bytes(DType type, Columns columns) {
  const Format format = format_of(type);
  if (format.bits)
    return code_bytes(type, columns) + columns.scale_bytes * (format.minima ? 2 : 1);
  switch (type) {
    case DType::u8:
      return columns;
    case DType::f16:
    case DType::bf16:
      return 2 * columns;
    default:
      return 4 * columns;
  }
}

// So many elements of a row of `type`.
constexpr Columns columns_of(DType type, int64_t count) {
  const Format format = format_of(type);
  return {count, format.bits ? format.group : group_size};
}

constexpr int64_t row_bytes(DType type, int64_t columns) {
  return row_bytes(type, columns_of(type, columns));
}

struct Matrix {
  int64_t rows;
  Columns columns;
};

struct Operand {
  uint8_t* data = nullptr;  // null: the operand is absent
  DType type = DType::f32;
  int rank = 0;
  int64_t dim[max_rank] = {1, 1, 1, 1};

  float* f32() const { return reinterpret_cast<float*>(data); }
  int32_t* i32() const { return reinterpret_cast<int32_t*>(data); }
  uint32_t* u32() const { return reinterpret_cast<uint32_t*>(data); }

  // The last axis of a matrix.
  Columns columns() const { return columns_of(type, dim[1]); }
  // The first two axes.
  Matrix matrix() const { return {dim[0], columns()}; }

  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= dim[i];
    return n;
  }
  int64_t bytes() const {
    int64_t rows = 1;
    for (int i = 0; i + 1 < rank; i++) rows *= dim[i];
    return rows * row_bytes(type, rank ? dim[rank - 1] : 1);
  }
};

// Bytes that lie together.
struct Span {
  const uint8_t* data = nullptr;
  int64_t bytes = 0;
};

struct Kernel;

// One op on its operands, both in the order of the op's definition.
struct Command {
  const Kernel* kernel = nullptr;
  Operand operand[max_operands];
  double param[max_params] = {};
  int tasks = 1;
  int64_t chosen_in = -1;  // the stage that makes its selection; -1: known from the start
  uint8_t* shared = nullptr;
};

// What one instruction set offers for one op. Tasks of a command, and of all commands of its stage,
// run in any order and side by side; none may depend on their number for its results.
struct Kernel {
  const char* op;
  Names operands;
  Names params;
  uint32_t optional;  // bit i: operand i may be absent
  // How many tasks to split into; null: one.
  int (*tasks)(const Command&, int threads);
  // Bytes of private memory `run` needs; null: none.
  size_t (*workspace)(const Command&);
  void (*run)(const Command&, int task, float* workspace);
  // Bytes that all tasks of a command share, zeroed once; null or 0: none.
  size_t (*shared)(const Command&) = nullptr;
  // Piece i of the weights or cache that a task will read, in the order of reading; empty behind the last.
  // Called once the command's selection is made, maybe long before its other operands are written. A thread
  // that was held up may call it so late that the selection's memory is used for something else: what it returns
  // need not be right then. Null: nothing worth asking memory for beforehand.
  Span (*reads)(const Command&, int task, int64_t piece) = nullptr;
};

struct KernelTable {
  const char* isa;
  bool fast_f16;
  Names activations;
  const Kernel* kernels;
  int count;
};

}  // namespace dejavu
