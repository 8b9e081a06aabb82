// Zeroed memory, 64-byte aligned; large pieces lie on huge pages, of their own or beside others, and take no
// room until touched.
// Or a part of a file, read page by page when it is touched.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <memory>

namespace dejavu {

struct Region;

class Memory {
 public:
  // Null when there is not enough.
  static std::shared_ptr<Memory> allocate(size_t bytes);
  // Writes stay private. Null when the file cannot be mapped or does not reach that far.
  static std::shared_ptr<Memory> map(const char* path, size_t offset, size_t bytes);
  ~Memory();

  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  void* mapping_ = nullptr;  // null: data_ came from the heap
  size_t mapped_ = 0;
  std::shared_ptr<Region> region_;  // that data_ is a part of, if it is
};

}  // namespace dejavu
