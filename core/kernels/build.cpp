// Which build of the inner loops runs.
#include "core/kernels/cpu/build.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace vernier::kernels {
namespace {

#if defined(__x86_64__)
// The registers of tiles are lent on request, to all threads of the process.
bool may_use_tiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
         ::syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#endif

Build choose_build() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
    if (may_use_tiles()) return {kTableAvx512, kGemmAvx512, pairs_amx, "avx512+amx", true};
    if (!__builtin_cpu_supports("avx512bf16"))
      return {kTableAvx512, kGemmAvx512, pairs_avx512, "avx512", false};
    // Twice the sums of fp32 on AMD's processors, half of them on the Intel one that was measured.
    const bool fast = __builtin_cpu_is("amd");
    return {kTableAvx512, kGemmAvx512, pairs_avx512bf16, "avx512+bf16", fast};
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {kTableAvx2, kGemmAvx2, pairs_avx2, "avx2", false};
#endif
  return {kTableBase, kGemmBase, pairs_base, "x86-64", false};
}

}  // namespace

const Build& build() {
  static const Build chosen = choose_build();
  return chosen;
}

const char* instruction_set() { return build().name; }

WeightFormat bf16_format() {
  return build().prefers_pairs ? WeightFormat::bf16_pairs : WeightFormat::bf16;
}

}  // namespace vernier::kernels
