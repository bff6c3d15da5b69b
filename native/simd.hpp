// A vector of sixteen 32-bit lanes on any instruction set: one AVX-512 register, two AVX2 registers, or four registers
// of 16 bytes, which every x86-64 and ARM CPU has. INK_NEON is defined for the instruction sets that use ARM's
// intrinsics. The ISA-specific code is written once, in terms of these operations.
//
// This header is compiled once per instruction set, in a namespace of its own. It must not use function templates or
// inline functions from outside this namespace: the linker keeps a single copy of each, which might contain
// instructions that the CPU does not support.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(INK_NEON)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

#include "model.hpp"

#define INK_INLINE [[gnu::always_inline]] static inline

namespace ink::INK_ISA {

#if defined(__AVX512F__)
constexpr int REGISTERS = 1;
#elif defined(__AVX2__)
constexpr int REGISTERS = 2;
#else
constexpr int REGISTERS = 4;
#endif
constexpr int REGISTER_LANES = LANES / REGISTERS;

typedef float f32_register __attribute__((vector_size(4 * REGISTER_LANES)));
typedef int32_t i32_register __attribute__((vector_size(4 * REGISTER_LANES)));
typedef uint32_t u32_register __attribute__((vector_size(4 * REGISTER_LANES)));
typedef uint16_t u16_pairs __attribute__((vector_size(4 * REGISTER_LANES)));  // two per lane
typedef int16_t i16_register __attribute__((vector_size(2 * REGISTER_LANES)));
typedef uint16_t u16_register __attribute__((vector_size(2 * REGISTER_LANES)));
typedef int8_t i8_register __attribute__((vector_size(REGISTER_LANES)));

struct f32x16 {
  f32_register reg[REGISTERS];
};
struct i32x16 {
  i32_register reg[REGISTERS];
};

#define FOR_EACH_REGISTER(i) _Pragma("GCC unroll 4") for (int i = 0; i < REGISTERS; i++)

// Each register is copied on its own: for a struct of several registers GCC copies 16 bytes at a time through the
// stack, and every load from there waits for the narrower stores.
INK_INLINE f32x16 load(const float *from) {
  f32x16 r;
  FOR_EACH_REGISTER(i) __builtin_memcpy(&r.reg[i], from + i * REGISTER_LANES, sizeof r.reg[i]);
  return r;
}
INK_INLINE i32x16 load(const int32_t *from) {
  i32x16 r;
  FOR_EACH_REGISTER(i) __builtin_memcpy(&r.reg[i], from + i * REGISTER_LANES, sizeof r.reg[i]);
  return r;
}
INK_INLINE void store(float *to, f32x16 a) {
  FOR_EACH_REGISTER(i) __builtin_memcpy(to + i * REGISTER_LANES, &a.reg[i], sizeof a.reg[i]);
}
INK_INLINE f32x16 broadcast(float x) {
  f32x16 r;
  FOR_EACH_REGISTER(i) r.reg[i] = x - f32_register{};
  return r;
}
INK_INLINE i32x16 broadcast(int32_t x) {
  i32x16 r;
  FOR_EACH_REGISTER(i) r.reg[i] = x - i32_register{};
  return r;
}
INK_INLINE i32x16 iota() {
  static const int32_t values[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(values);
}

INK_INLINE f32x16 operator+(f32x16 a, f32x16 b) {
  FOR_EACH_REGISTER(i) a.reg[i] += b.reg[i];
  return a;
}
INK_INLINE f32x16 operator-(f32x16 a, f32x16 b) {
  FOR_EACH_REGISTER(i) a.reg[i] -= b.reg[i];
  return a;
}
INK_INLINE f32x16 operator*(f32x16 a, f32x16 b) {
  FOR_EACH_REGISTER(i) a.reg[i] *= b.reg[i];
  return a;
}
INK_INLINE f32x16 operator/(f32x16 a, f32x16 b) {
  FOR_EACH_REGISTER(i) a.reg[i] /= b.reg[i];
  return a;
}
INK_INLINE i32x16 operator+(i32x16 a, i32x16 b) {
  FOR_EACH_REGISTER(i) a.reg[i] += b.reg[i];
  return a;
}
INK_INLINE i32x16 operator-(i32x16 a, i32x16 b) {
  FOR_EACH_REGISTER(i) a.reg[i] -= b.reg[i];
  return a;
}
INK_INLINE f32x16 max(f32x16 a, f32x16 b) {
  FOR_EACH_REGISTER(i) a.reg[i] = a.reg[i] > b.reg[i] ? a.reg[i] : b.reg[i];
  return a;
}
INK_INLINE f32x16 min(f32x16 a, f32x16 b) {
  FOR_EACH_REGISTER(i) a.reg[i] = a.reg[i] < b.reg[i] ? a.reg[i] : b.reg[i];
  return a;
}
INK_INLINE f32x16 abs(f32x16 a) {
  FOR_EACH_REGISTER(i) a.reg[i] = (f32_register)((i32_register)a.reg[i] & 0x7fffffff);
  return a;
}
// The first `count` lanes of a, and the other lanes of b.
INK_INLINE f32x16 select_lanes(int32_t count, f32x16 a, f32x16 b) {
  const i32x16 lane = iota();
  FOR_EACH_REGISTER(i) a.reg[i] = lane.reg[i] < count ? a.reg[i] : b.reg[i];
  return a;
}

// a * b + c, rounded once if the instruction set has FMA, else twice.
INK_INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
#if defined(__AVX512F__)
  c.reg[0] = _mm512_fmadd_ps(a.reg[0], b.reg[0], c.reg[0]);
#elif defined(__AVX2__)
  FOR_EACH_REGISTER(i) c.reg[i] = _mm256_fmadd_ps(a.reg[i], b.reg[i], c.reg[i]);
#elif defined(INK_NEON)
  FOR_EACH_REGISTER(i)
    c.reg[i] = (f32_register)vfmaq_f32((float32x4_t)c.reg[i], (float32x4_t)a.reg[i], (float32x4_t)b.reg[i]);
#else
  FOR_EACH_REGISTER(i) c.reg[i] = a.reg[i] * b.reg[i] + c.reg[i];
#endif
  return c;
}

INK_INLINE f32x16 to_f32(i32x16 a) {
  f32x16 r;
  FOR_EACH_REGISTER(i) r.reg[i] = __builtin_convertvector(a.reg[i], f32_register);
  return r;
}
// The nearest integer, ties to even, for |a| < 2^22. Adding 1.5 * 2^23 rounds off the fraction.
INK_INLINE f32x16 round(f32x16 a) { return (a + broadcast(12582912.0f)) - broadcast(12582912.0f); }
INK_INLINE i32x16 to_i32(f32x16 a) {
  i32x16 r;
  FOR_EACH_REGISTER(i) r.reg[i] = __builtin_convertvector(a.reg[i], i32_register);
  return r;
}
INK_INLINE void store_i8(int8_t *to, i32x16 a) {
  FOR_EACH_REGISTER(i) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm512_cvtepi32_epi8((__m512i)a.reg[i]);
#else
    const i8_register bytes = __builtin_convertvector(a.reg[i], i8_register);
#endif
    __builtin_memcpy(to + i * REGISTER_LANES, &bytes, sizeof bytes);
  }
}

// bfloat16 is the upper half of a float; stores round to the nearest, ties to even.
INK_INLINE f32x16 load_bf16(const uint16_t *from) {
  f32x16 r;
#if defined(__AVX512F__)
  __m256i half;
  __builtin_memcpy(&half, from, sizeof half);
  r.reg[0] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
#else
  FOR_EACH_REGISTER(i) {
    u16_register half;
    __builtin_memcpy(&half, from + i * REGISTER_LANES, sizeof half);
    r.reg[i] = (f32_register)(__builtin_convertvector(half, i32_register) << 16);
  }
#endif
  return r;
}
INK_INLINE void store_bf16(uint16_t *to, f32x16 a) {
  FOR_EACH_REGISTER(i) {
    const i32_register bits = (i32_register)a.reg[i];
    const i32_register rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
#if defined(__AVX512F__)
    const __m256i half = _mm512_cvtepi32_epi16((__m512i)rounded);
#else
    const u16_register half = __builtin_convertvector(rounded & 0xffff, u16_register);
#endif
    __builtin_memcpy(to + i * REGISTER_LANES, &half, sizeof half);
  }
}

// Reductions over the lanes, in the same order on every instruction set.
INK_INLINE float reduce_sum(f32x16 a) {
  float lane[LANES];
  store(lane, a);
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0];
}
INK_INLINE int32_t reduce_sum(i32x16 a) {
  int32_t lane[LANES], total = 0;
  FOR_EACH_REGISTER(i) __builtin_memcpy(lane + i * REGISTER_LANES, &a.reg[i], sizeof a.reg[i]);
  for (int i = 0; i < LANES; i++) total += lane[i];
  return total;
}
INK_INLINE float reduce_max(f32x16 a) {
  float lane[LANES];
  store(lane, a);
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
  return lane[0];
}

INK_INLINE void prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

}  // namespace ink::INK_ISA
