#include "isa.h"

namespace dejavu {

std::vector<const KernelTable*> available_isas() {
  std::vector<const KernelTable*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni"))
    found.push_back(&avx512::table);
  // Every processor with AVX2 but one of VIA has F16C, which older compilers cannot ask for.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2::table);
#elif defined(__aarch64__)
  found.push_back(&neon::table);
#endif
  found.push_back(&scalar::table);
  return found;
}

}  // namespace dejavu
