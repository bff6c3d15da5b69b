// INK_TARGET_CLONES compiles a function for several instruction sets; the dynamic linker picks one at load time. All
// clones execute the same operations in the same order, so their results are identical bit for bit. Sanitizer builds
// compile one version only, because the linker resolves the clones before the sanitizer runtime is initialized.
#pragma once
#if defined(__x86_64__) && defined(__linux__) && !defined(INK_NO_CLONES)
#define INK_TARGET_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define INK_TARGET_CLONES
#endif
