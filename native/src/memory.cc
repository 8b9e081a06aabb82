#include "memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dejavu {

namespace {
constexpr size_t alignment = 64;
constexpr size_t huge_page = size_t{2} << 20;
constexpr size_t map_above = size_t{256} << 10;

size_t whole(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }
}  // namespace

std::shared_ptr<Memory> Memory::allocate(size_t bytes) {
  std::shared_ptr<Memory> memory(new Memory());
  memory->bytes_ = bytes;
  if (bytes < map_above) {
    const size_t size = whole(bytes ? bytes : 1, alignment);
    memory->data_ = static_cast<uint8_t*>(aligned_alloc(alignment, size));
    if (!memory->data_) return nullptr;
    memset(memory->data_, 0, size);
    return memory;
  }
  const size_t align = bytes >= huge_page ? huge_page : alignment;
  const size_t size = whole(bytes, alignment) + (align == huge_page ? huge_page : 0);
  void* mapping = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  memory->mapping_ = mapping;
  memory->mapped_ = size;
  memory->data_ = reinterpret_cast<uint8_t*>(whole(reinterpret_cast<size_t>(mapping), align));
#ifdef MADV_HUGEPAGE
  // Only pages that are filled: the rest would be taken for nothing.
  if (align == huge_page) madvise(memory->data_, bytes / huge_page * huge_page, MADV_HUGEPAGE);
#endif
  return memory;
}

std::shared_ptr<Memory> Memory::map(const char* path, size_t offset, size_t bytes) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return nullptr;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t before = offset % page;
  struct stat found;
  void* mapping = MAP_FAILED;
  if (fstat(file, &found) == 0 && offset + bytes <= static_cast<size_t>(found.st_size))
    mapping = mmap(nullptr, before + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file,
                   static_cast<off_t>(offset - before));
  close(file);
  if (mapping == MAP_FAILED) return nullptr;
  std::shared_ptr<Memory> memory(new Memory());
  memory->bytes_ = bytes;
  memory->mapping_ = mapping;
  memory->mapped_ = before + bytes;
  memory->data_ = static_cast<uint8_t*>(mapping) + before;
  madvise(mapping, before + bytes, MADV_WILLNEED);
  return memory;
}

Memory::~Memory() {
  if (mapping_)
    munmap(mapping_, mapped_);
  else
    free(data_);
}

}  // namespace dejavu
