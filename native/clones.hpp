// For functions that are compiled for several instruction sets, of which the loader picks one: the same operations in the
// same order, so the same bits. (Under the sanitizers there is one only: they come up after the loader's choice.)
#pragma once
#if defined(__x86_64__) && defined(__linux__) && !defined(INK_NO_CLONES)
#define INK_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define INK_CLONES
#endif
