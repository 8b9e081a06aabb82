#include "isa.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace dejavu {
namespace {

// Whether the processor multiplies tiles of bf16 and of whole numbers, and Linux lends this process the
// registers.
bool has_amx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long request_feature = 0x1023, tile_data = 18;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool tiles = (d >> 22 & 1) && (d >> 24 & 1) && (d >> 25 & 1);
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
  const bool avx512_bf16 = a >> 5 & 1;
  return tiles && avx512_bf16 && syscall(SYS_arch_prctl, request_feature, tile_data) == 0;
#else
  return false;
#endif
}

// The kernels of an instruction set; null where they were not compiled. scripts/install.mjs defines
// DEJAVU_COMPILED(X) as X(name) for each set that was.
const KernelTable* compiled(const char* isa) {
#ifdef DEJAVU_COMPILED
#define DEJAVU_TABLE(name) \
  if (strcmp(isa, #name) == 0) return &name::table;
  DEJAVU_COMPILED(DEJAVU_TABLE)
#undef DEJAVU_TABLE
#endif
  static_cast<void>(isa);
  return nullptr;
}

}  // namespace

std::vector<const char*> isas_of_processor() {
  std::vector<const char*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    if (has_amx()) found.push_back("amx");
    found.push_back("avx512");
  }
  // Every processor with AVX2 but one of VIA has F16C, which older compilers cannot ask for.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back("avx2");
#elif defined(__aarch64__)
  found.push_back("neon");
#endif
  found.push_back("scalar");
  return found;
}

std::vector<const KernelTable*> available_isas() {
  std::vector<const KernelTable*> found;
  for (const char* isa : isas_of_processor())
    if (const KernelTable* table = compiled(isa)) found.push_back(table);
  return found;
}

}  // namespace dejavu
