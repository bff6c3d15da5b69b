#include "platform.hpp"

#include <algorithm>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace ink {

int available_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return (int)std::max(1u, std::thread::hardware_concurrency());
}

#if defined(__aarch64__) && defined(__linux__)
ArmFeatures arm_features() {
  constexpr unsigned long ASIMDDP = 1ul << 20, I8MM = 1ul << 13, BF16 = 1ul << 14;  // from the kernel's asm/hwcap.h
  const unsigned long hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
  return {(hwcap & ASIMDDP) != 0, (hwcap2 & I8MM) != 0, (hwcap2 & BF16) != 0};
}
#elif defined(__aarch64__) && defined(__APPLE__)
ArmFeatures arm_features() {
  const auto has = [](const char *name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  return {has("hw.optional.arm.FEAT_DotProd"), has("hw.optional.arm.FEAT_I8MM"), has("hw.optional.arm.FEAT_BF16")};
}
#else
ArmFeatures arm_features() { return {}; }
#endif

bool request_amx() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
  return false;
#endif
}

}  // namespace ink
