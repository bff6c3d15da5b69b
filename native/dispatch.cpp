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

#if defined(INK_HAS_AMX)
namespace ink::amx {
void forward(ink_session &session, int id);
}
#endif
#if defined(INK_HAS_AVX512)
namespace ink::avx512 {
void forward(ink_session &session, int id);
}
#endif
#if defined(INK_HAS_AVXVNNI)
namespace ink::avxvnni {
void forward(ink_session &session, int id);
}
#endif
#if defined(INK_HAS_AVX2)
namespace ink::avx2 {
void forward(ink_session &session, int id);
}
#endif
namespace ink::portable {
void forward(ink_session &session, int id);
}

namespace ink {

namespace {

#if defined(__x86_64__)
// Features that GCC 12 cannot ask __builtin_cpu_supports for.
bool has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
}
bool has_amx_int8() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & (1u << 24)) != 0 && (d & (1u << 25)) != 0;
}
bool has_avx512() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("fma");
}
#endif

struct Isa {
  const char *name;
  ForwardFunction forward;
  bool (*is_supported)();
};

const Isa isas[] = {
#if defined(INK_HAS_AMX)
    {"amx", amx::forward, [] { return has_avx512() && has_amx_int8() && request_amx(); }},
#endif
#if defined(INK_HAS_AVX512)
    {"avx512", avx512::forward, has_avx512},
#endif
#if defined(INK_HAS_AVXVNNI)
    {"avxvnni", avxvnni::forward,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_avx_vnni(); }},
#endif
#if defined(INK_HAS_AVX2)
    {"avx2", avx2::forward, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
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
      if (isa.is_supported()) list += (list.empty() ? "" : " ") + std::string(isa.name);
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
