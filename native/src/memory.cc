#include "memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>

namespace dejavu {

namespace {
constexpr size_t alignment = 64;
constexpr size_t huge_page = size_t{2} << 20;
constexpr size_t map_above = size_t{256} << 10;

constexpr size_t share_below = size_t{8} << 20;
constexpr size_t region_bytes = size_t{32} << 20;

size_t whole(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }
uint8_t* whole(void* p, size_t to) {
  return reinterpret_cast<uint8_t*>(whole(reinterpret_cast<size_t>(p), to));
}

// Asks for huge pages; where there are none this changes nothing.
void in_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
}

void* map_zeros(size_t bytes) {
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
}  // namespace

// Huge pages that pieces share which would fill none, or a last one in part: small pages cost reading
// by rows a third of its speed. No place is used twice, so all are zero; the region goes with its last piece.
struct Region {
  void* mapping;
  uint8_t* data;
  size_t used = 0;

  explicit Region(void* pages) : mapping(pages), data(whole(pages, huge_page)) {
    in_huge_pages(data, region_bytes);
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region() { munmap(mapping, region_bytes + huge_page); }

  // One with room for so many bytes; null when there is not enough memory.
  static std::shared_ptr<Region> with_room(size_t bytes) {
    static std::weak_ptr<Region> latest;
    std::shared_ptr<Region> region = latest.lock();
    if (region && region->used + bytes <= region_bytes) return region;
    void* pages = map_zeros(region_bytes + huge_page);
    if (pages == MAP_FAILED) return nullptr;
    region = std::make_shared<Region>(pages);
    latest = region;
    return region;
  }
};

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
  if (bytes < share_below) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> lock(one_at_a_time);
    memory->region_ = Region::with_room(whole(bytes, alignment));
    if (!memory->region_) return nullptr;
    memory->data_ = memory->region_->data + memory->region_->used;
    memory->region_->used += whole(bytes, alignment);
    return memory;
  }
  const size_t size = whole(bytes, alignment) + huge_page;
  void* mapping = map_zeros(size);
  if (mapping == MAP_FAILED) return nullptr;
  memory->mapping_ = mapping;
  memory->mapped_ = size;
  memory->data_ = whole(mapping, huge_page);
  // Only pages that are filled: the rest would be taken for nothing.
  in_huge_pages(memory->data_, bytes / huge_page * huge_page);
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
  if (region_) {  // what it filled alone is free at once
    uint8_t* first = whole(data_, huge_page);
    uint8_t* end = data_ + bytes_;
    if (first + huge_page <= end)
      madvise(first, static_cast<size_t>(end - first) / huge_page * huge_page, MADV_DONTNEED);
  } else if (mapping_) {
    munmap(mapping_, mapped_);
  } else {
    free(data_);
  }
}

}  // namespace dejavu
