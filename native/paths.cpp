// Which instruction path this machine gets, and the small functions of the border.
#include <atomic>
#include <cstring>
#include <string>

#include "session.hpp"

#if defined(INK_HAS_AVX512)
namespace ink::avx512 {
void forward(ink_session &session, int id);
}
#endif
#if defined(INK_HAS_AVX2)
namespace ink::avx2 {
void forward(ink_session &session, int id);
}
#endif
namespace ink::plain {
void forward(ink_session &session, int id);
}

namespace ink {

const char *last_message();

namespace {

struct Path {
  const char *name;
  Forward forward;
  bool (*runs_here)();
};

const Path paths[] = {
#if defined(INK_HAS_AVX512)
    {"avx512", avx512::forward,
     [] {
       return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
              __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("fma");
     }},
#endif
#if defined(INK_HAS_AVX2)
    {"avx2", avx2::forward, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {"plain", plain::forward, [] { return true; }},
};

const Path *best() {
  for (const Path &path : paths)
    if (path.runs_here()) return &path;
  return nullptr;
}

std::atomic<const Path *> chosen{nullptr};

const Path *path() {
  const Path *found = chosen.load();
  if (found == nullptr) chosen = found = best();
  return found;
}

}  // namespace

Forward chosen_path() { return path()->forward; }

}  // namespace ink

extern "C" {

int32_t ink_abi(void) { return INK_ABI; }

const char *ink_message(void) { return ink::last_message(); }

const char *ink_path(void) { return ink::path()->name; }

const char *ink_paths(void) {
  static const std::string names = [] {
    std::string all;
    for (const ink::Path &path : ink::paths)
      if (path.runs_here()) all += (all.empty() ? "" : " ") + std::string(path.name);
    return all;
  }();
  return names.c_str();
}

int ink_choose_path(const char *name) {
  if (name == nullptr) {
    ink::chosen = ink::best();
    return INK_OK;
  }
  for (const ink::Path &path : ink::paths)
    if (std::strcmp(path.name, name) == 0 && path.runs_here()) {
      ink::chosen = &path;
      return INK_OK;
    }
  return ink::fail(INK_BAD_ARGUMENT, "this machine has no instruction path %.40s, only: %s", name, ink_paths());
}

int32_t ink_sample(const float *logits, int32_t vocab_size, const ink_sampling *sampling, double u) {
  if (logits == nullptr || sampling == nullptr || vocab_size < 1) return -1;
  ink::Scratch scratch;
  scratch.reserve(vocab_size);
  return ink::sample(logits, vocab_size, *sampling, u, scratch);
}

double ink_uniform(uint64_t seed, uint64_t choice, int64_t place) { return ink::uniform(seed, choice, place); }
}
