#include "dispatch.hpp"

#include <atomic>
#include <cstring>
#include <string>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "error.hpp"
#include "inkhorn.h"
#include "platform.hpp"

// Those that the compiler or the architecture does not support are declared but not defined.
#define INK_DECLARE_ISA(name)                 \
  namespace ink::name {                       \
  void forward(ink_session &session, int id); \
  }
INK_DECLARE_ISA(amx)
INK_DECLARE_ISA(avx512)
INK_DECLARE_ISA(avxvnni)
INK_DECLARE_ISA(avx2)
INK_DECLARE_ISA(neon_i8mm)
INK_DECLARE_ISA(neon_dotprod)
INK_DECLARE_ISA(neon)
INK_DECLARE_ISA(portable)

namespace ink {

namespace {

#if defined(__x86_64__)
// Read with cpuid, because __builtin_cpu_supports of GCC 12 does not know all of these, and that of Zig none.
struct X86Features {
  bool avx2 = false;  // with FMA and F16C
  bool avx512 = false, avx_vnni = false, amx_int8 = false;
};

X86Features detect_x86_features() {
  struct Registers {
    unsigned a = 0, b = 0, c = 0, d = 0;
  } leaf1, leaf7, leaf7_1;
  const auto has = [](unsigned value, int bit) { return (value >> bit & 1) != 0; };
  __get_cpuid_count(1, 0, &leaf1.a, &leaf1.b, &leaf1.c, &leaf1.d);
  if (!has(leaf1.c, 27)) return {};  // OSXSAVE: the operating system has enabled xgetbv
  unsigned enabled, high;            // the registers that the operating system saves
  asm("xgetbv" : "=a"(enabled), "=d"(high) : "c"(0));
  const auto saves = [&](unsigned mask) { return (enabled & mask) == mask; };
  constexpr unsigned YMM = 0x6, ZMM = 0xe6, TILES = 0x60000;
  __get_cpuid_count(7, 0, &leaf7.a, &leaf7.b, &leaf7.c, &leaf7.d);
  __get_cpuid_count(7, 1, &leaf7_1.a, &leaf7_1.b, &leaf7_1.c, &leaf7_1.d);
  X86Features x;
  x.avx2 = saves(YMM) && has(leaf7.b, 5) && has(leaf1.c, 12) && has(leaf1.c, 29);
  x.avx_vnni = x.avx2 && has(leaf7_1.a, 4);
  // F, DQ, BW, VL, VNNI, BF16
  x.avx512 = x.avx2 && saves(ZMM) && has(leaf7.b, 16) && has(leaf7.b, 17) && has(leaf7.b, 30) && has(leaf7.b, 31) &&
             has(leaf7.c, 11) && has(leaf7_1.a, 5);
  x.amx_int8 = x.avx512 && saves(TILES) && has(leaf7.d, 24) && has(leaf7.d, 25);
  return x;
}

const X86Features &x86_features() {
  static const X86Features features = detect_x86_features();
  return features;
}
#endif

struct Isa {
  const char *name;
  ForwardFunction forward;
  bool (*is_supported)();
};

const Isa isas[] = {
#if defined(INK_HAS_AMX)
    {"amx", amx::forward, [] { return x86_features().amx_int8 && request_amx(); }},
#endif
#if defined(INK_HAS_AVX512)
    {"avx512", avx512::forward, [] { return x86_features().avx512; }},
#endif
#if defined(INK_HAS_AVXVNNI)
    {"avxvnni", avxvnni::forward, [] { return x86_features().avx_vnni; }},
#endif
#if defined(INK_HAS_AVX2)
    {"avx2", avx2::forward, [] { return x86_features().avx2; }},
#endif
#if defined(INK_HAS_NEON_I8MM)
    {"neon_i8mm", neon_i8mm::forward,
     [] {
       const ArmFeatures features = arm_features();
       return features.dotprod && features.i8mm && features.bf16;
     }},
#endif
#if defined(INK_HAS_NEON_DOTPROD)
    {"neon_dotprod", neon_dotprod::forward, [] { return arm_features().dotprod; }},
#endif
#if defined(INK_HAS_NEON)
    {"neon", neon::forward, [] { return true; }},
#endif
    {"portable", portable::forward, [] { return true; }},
};

const Isa *best_isa() {
  for (const Isa &isa : isas)
    if (isa.is_supported()) return &isa;
  return nullptr;
}

std::atomic<const Isa *> selected{nullptr};

const Isa *selected_isa() {
  const Isa *isa = selected.load();
  if (isa == nullptr) selected = isa = best_isa();
  return isa;
}

}  // namespace

ForwardFunction forward_function() { return selected_isa()->forward; }

const char *isa_name() { return selected_isa()->name; }

const char *supported_isas() {
  static const std::string names = [] {
    std::string list;
    for (const Isa &isa : isas)
      if (isa.is_supported()) list.append(list.empty() ? "" : " ").append(isa.name);
    return list;
  }();
  return names.c_str();
}

int select_isa(const char *name) {
  if (name == nullptr) {
    selected = best_isa();
    return INK_OK;
  }
  for (const Isa &isa : isas)
    if (std::strcmp(isa.name, name) == 0 && isa.is_supported()) {
      selected = &isa;
      return INK_OK;
    }
  return fail(INK_INVALID_ARGUMENT, "instruction set %.40s is not supported on this CPU; supported: %s", name,
              supported_isas());
}

}  // namespace ink
