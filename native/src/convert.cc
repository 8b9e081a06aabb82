#include "convert.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "blocks.h"
#include "weight_rows.h"

namespace dejavu {
namespace {

// What one thread reads or converts at a time: it stays in a core's cache.
constexpr int64_t piece_bytes = 1 << 18;
// Columns of the file that are turned together, where no block says how many.
constexpr int64_t band_columns = 32;
// Rows that are turned together: what one column has of them fills a cache line.
constexpr int64_t turned_rows = 16;

struct File {
  int fd;
  explicit File(const std::string& path) : fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd >= 0) close(fd);
  }
  bool read(int64_t offset, int64_t bytes, uint8_t* into) const {
    while (bytes > 0) {
      const ssize_t got = pread(fd, into, static_cast<size_t>(bytes), offset);
      if (got <= 0) return false;
      offset += got;
      into += got;
      bytes -= got;
    }
    return true;
  }
};

// Calls `make()` on each thread for a function of a piece, until there are no more or one returns false.
template <class Make>
bool in_pieces(int64_t count, int threads, Make make) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> good{true};
  auto work = [&] {
    try {
      auto piece = make();
      for (int64_t i; good && (i = next++) < count;)
        if (!piece(i)) good = false;
    } catch (...) {
      good = false;
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads && i < count; i++) others.emplace_back(work);
  work();
  for (auto& thread : others) thread.join();
  return good;
}

int64_t pieces_of(int64_t count, int64_t each) { return (count + each - 1) / each; }

struct Converter {
  Conversion& job;
  const File& file;
  const int threads;
  const int64_t rows = static_cast<int64_t>(job.places.size());
  const int64_t columns = job.turned ? job.file_rows : job.file_columns;
  const int64_t stride = row_bytes(job.to, columns);
  const int64_t file_row = job.file_columns / job.from->block * job.from->bytes;

  bool fits() const {
    const int64_t places = job.turned ? job.file_columns : job.file_rows;
    for (const int32_t place : job.places)
      if (place < 0 || place >= places) return false;
    return job.file_columns % job.from->block == 0 && rows * stride <= job.bytes;
  }

  // A row of ours whose values are known, or one that is written already: null.
  bool finish(int64_t row, const float* values) {
    uint8_t* into = job.into + row * stride;
    if (values && !write_row(job.to, values, columns, into)) return false;
    if (job.squares_wanted)
      job.squares[static_cast<size_t>(row)] = row_squares(job.to, into, columns);
    return true;
  }

  void take_row(Bytes from, uint8_t* row) const {
    const FileType& type = *job.from;
    const int64_t codes = code_bytes(job.to, columns), scales = columns_of(job.to, columns).scale_bytes;
    const int64_t per_block = type.block / group_size;
    auto* numbers = reinterpret_cast<uint16_t*>(row + codes);
    for (int64_t b = 0; b * type.block < columns; b++, from += type.bytes)
      type.take(from, {row + codes * (b * type.block) / columns, numbers + b * per_block,
                       numbers + scales / 2 + b * per_block});
  }

  // Rows of ours that are rows of the file's.
  bool straight() {
    const bool same = file_row == stride && ((job.to == DType::f32 && job.from == file_type("F32")) ||
                                             (job.to == DType::f16 && job.from == file_type("F16")));
    const bool taken = job.from->take && job.from->taken_as == job.to;
    const int64_t each = std::max<int64_t>(1, piece_bytes / file_row);
    return in_pieces(pieces_of(rows, each), threads, [&] {
      return [&, read = std::vector<uint8_t>(), values = std::vector<float>()](int64_t piece) mutable {
        const int64_t first = piece * each, last = std::min(first + each, rows);
        const int32_t* place = job.places.data();
        const auto [low, high] = std::minmax_element(place + first, place + last);
        // Rows that lie close together, in whatever order, are read at once.
        const int64_t span = *high - *low + 1;
        const bool together = span <= 2 * (last - first);
        read.resize(static_cast<size_t>((together ? span : 1) * file_row));
        values.resize(static_cast<size_t>(columns));
        if (together && !file.read(job.offset + *low * file_row, span * file_row, read.data()))
          return false;
        for (int64_t row = first; row < last; row++) {
          Bytes from = read.data() + (together ? (place[row] - *low) * file_row : 0);
          if (!together && !file.read(job.offset + place[row] * file_row, file_row, read.data()))
            return false;
          if (same)
            memcpy(job.into + row * stride, from, static_cast<size_t>(stride));
          else if (taken)
            take_row(from, job.into + row * stride);
          else
            job.from->decode(from, columns / job.from->block, values.data());
          if (!finish(row, same || taken ? nullptr : values.data())) return false;
        }
        return true;
      };
    });
  }

  // Rows of ours that are columns of the file's, which is in memory whole meanwhile.
  bool turn() {
    const int64_t bytes = job.file_rows * file_row;
    const std::unique_ptr<uint8_t[]> whole(new uint8_t[static_cast<size_t>(bytes)]);
    const bool read = in_pieces(pieces_of(bytes, piece_bytes), threads, [&] {
      return [&](int64_t piece) {
        const int64_t at = piece * piece_bytes;
        return file.read(job.offset + at, std::min(piece_bytes, bytes - at), whole.get() + at);
      };
    });
    if (!read) return false;
    std::vector<int32_t> row_of(static_cast<size_t>(job.file_columns), -1);
    for (int64_t row = 0; row < rows; row++)
      row_of[static_cast<size_t>(job.places[static_cast<size_t>(row)])] = static_cast<int32_t>(row);
    const int64_t width = std::max(band_columns, job.from->block);
    return in_pieces(pieces_of(job.file_columns, width), threads, [&] {
      return [&, band = std::vector<float>(static_cast<size_t>(width * columns)),
              tile = std::vector<float>(static_cast<size_t>(turned_rows * width))](int64_t piece) mutable {
        const int64_t first = piece * width, count = std::min(width, job.file_columns - first);
        const int64_t blocks = count / job.from->block;
        Bytes from = whole.get() + first / job.from->block * job.from->bytes;
        for (int64_t start = 0; start < columns; start += turned_rows) {
          const int64_t high = std::min(turned_rows, columns - start);
          for (int64_t r = 0; r < high; r++)
            job.from->decode(from + (start + r) * file_row, blocks, &tile[static_cast<size_t>(r * width)]);
          for (int64_t c = 0; c < count; c++)
            for (int64_t r = 0; r < high; r++)
              band[static_cast<size_t>(c * columns + start + r)] = tile[static_cast<size_t>(r * width + c)];
        }
        for (int64_t c = 0; c < count; c++) {
          const int32_t row = row_of[static_cast<size_t>(first + c)];
          if (row >= 0 && !finish(row, &band[static_cast<size_t>(c * columns)])) return false;
        }
        return true;
      };
    });
  }
};

}  // namespace

const FileType* file_type(const std::string& name) {
  for (const FileType& type : file_types)
    if (name == type.name) return &type;
  return nullptr;
}

bool convert(Conversion& job, int threads) {
  const File file(job.path);
  if (file.fd < 0) return false;
  if (job.squares_wanted) job.squares.resize(job.places.size());
  Converter converter{job, file, threads};
  if (!converter.fits()) return false;
  return job.turned ? converter.turn() : converter.straight();
}

}  // namespace dejavu
