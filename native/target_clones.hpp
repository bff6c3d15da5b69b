// INK_TARGET_CLONES compiles a function for several instruction sets; the dynamic linker picks one at load time. All
// clones execute the same operations in the same order, so their results are identical bit for bit. The linker needs
// indirect functions (ifunc), which glibc has, but musl, macOS and Windows do not: there only the baseline is compiled.
// In libraries that Zig compiles the baseline always runs, because Zig's runtime does not detect the CPU.
// Sanitizer builds compile only the baseline, too, because the linker resolves the clones before the sanitizer runtime
// is initialized.
#pragma once
#include <cstddef>  // defines __GLIBC__

#if defined(__x86_64__) && defined(__GLIBC__) && __has_attribute(target_clones) && !defined(INK_NO_CLONES)
#define INK_TARGET_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define INK_TARGET_CLONES
#endif
