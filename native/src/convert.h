// A matrix of a file becomes rows of weights: read and converted in one pass by several threads, bit for bit as
// streamMatrix does it (src/loaders/stream.ts).
#pragma once

#include <stdint.h>

#include <string>
#include <vector>

#include "tensor.h"

namespace dejavu {

struct FileType;

// The file type of a name; null where it is not known.
const FileType* file_type(const std::string& name);

struct Conversion {
  std::string path;
  int64_t offset;               // of the matrix in the file
  const FileType* from;
  int64_t file_rows, file_columns;
  bool turned;                  // a row of ours is a column of the file's
  std::vector<int32_t> places;  // the file's row, or column, for each row of ours
  DType to;
  uint8_t* into;                // all of our rows, zeroed
  int64_t bytes;                // there
  bool squares_wanted;
  std::vector<double> squares;  // sums of squares of our rows as they decode
};

// False where the file ends early, cannot be read, or holds what f16 cannot, and where sizes or places do not
// fit: rows are then unfinished.
bool convert(Conversion& job, int threads);

}  // namespace dejavu
