#include "isa.h"

#ifdef DEJAVU_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace dejavu {

#ifdef DEJAVU_AMX
namespace {
// Whether the processor multiplies tiles of bf16 and of whole numbers, and Linux lends this process the
// registers.
bool has_amx() {
  constexpr long request_feature = 0x1023, tile_data = 18;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool tiles = (d >> 22 & 1) && (d >> 24 & 1) && (d >> 25 & 1);
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
  const bool avx512_bf16 = a >> 5 & 1;
  return tiles && avx512_bf16 && syscall(SYS_arch_prctl, request_feature, tile_data) == 0;
}
}  // namespace
#endif

std::vector<const KernelTable*> available_isas() {
  std::vector<const KernelTable*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
#ifdef DEJAVU_AMX
    if (has_amx()) found.push_back(&amx::table);
#endif
    found.push_back(&avx512::table);
  }
  // Every processor with AVX2 but one of VIA has F16C, which older compilers cannot ask for.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2::table);
#elif defined(__aarch64__)
  found.push_back(&neon::table);
#endif
  found.push_back(&scalar::table);
  return found;
}

}  // namespace dejavu
