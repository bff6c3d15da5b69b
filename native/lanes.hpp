// Sixteen numbers at a time, on whatever the instruction path has: one register of AVX-512, two of AVX2, or four of
// the 16 bytes that every x86-64 and every ARM has. The rest of the kernel is written once, on these.
//
// This file is compiled once for each path, in a namespace of the path's own, and uses no function template of the
// standard library: the linker would keep a single copy of it, perhaps the one that this machine cannot run.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#define INK_INLINE [[gnu::always_inline]] static inline

namespace ink::INK_PATH {

constexpr int LANES = 16;

#if defined(__AVX512F__)
constexpr int PARTS = 1;
#elif defined(__AVX2__)
constexpr int PARTS = 2;
#else
constexpr int PARTS = 4;
#endif
constexpr int WIDTH = LANES / PARTS;  // lanes in a register

typedef float FloatPart __attribute__((vector_size(4 * WIDTH)));
typedef int32_t IntPart __attribute__((vector_size(4 * WIDTH)));
typedef uint16_t HalfPart __attribute__((vector_size(2 * WIDTH)));
typedef int8_t BytePart __attribute__((vector_size(WIDTH)));

struct Floats {
  FloatPart part[PARTS];
};
struct Ints {
  IntPart part[PARTS];
};

// For every part of a vector; the compiler unrolls it.
#define EACH_PART _Pragma("GCC unroll 4") for (int p = 0; p < PARTS; p++)

INK_INLINE Floats load(const float *from) {
  Floats r;
  __builtin_memcpy(&r, from, sizeof r);
  return r;
}
INK_INLINE Ints load(const int32_t *from) {
  Ints r;
  __builtin_memcpy(&r, from, sizeof r);
  return r;
}
INK_INLINE void store(float *to, Floats a) { __builtin_memcpy(to, &a, sizeof a); }
INK_INLINE Floats all(float x) {
  Floats r;
  EACH_PART r.part[p] = x - FloatPart{};
  return r;
}
INK_INLINE Ints all(int32_t x) {
  Ints r;
  EACH_PART r.part[p] = x - IntPart{};
  return r;
}
INK_INLINE Ints lane_numbers() {
  static const int32_t numbers[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(numbers);
}

INK_INLINE Floats operator+(Floats a, Floats b) {
  EACH_PART a.part[p] += b.part[p];
  return a;
}
INK_INLINE Floats operator-(Floats a, Floats b) {
  EACH_PART a.part[p] -= b.part[p];
  return a;
}
INK_INLINE Floats operator*(Floats a, Floats b) {
  EACH_PART a.part[p] *= b.part[p];
  return a;
}
INK_INLINE Floats operator/(Floats a, Floats b) {
  EACH_PART a.part[p] /= b.part[p];
  return a;
}
INK_INLINE Ints operator-(Ints a, Ints b) {
  EACH_PART a.part[p] -= b.part[p];
  return a;
}
INK_INLINE Floats maximum(Floats a, Floats b) {
  EACH_PART a.part[p] = a.part[p] > b.part[p] ? a.part[p] : b.part[p];
  return a;
}
INK_INLINE Floats minimum(Floats a, Floats b) {
  EACH_PART a.part[p] = a.part[p] < b.part[p] ? a.part[p] : b.part[p];
  return a;
}
INK_INLINE Floats absolute(Floats a) {
  EACH_PART a.part[p] = (FloatPart)((IntPart)a.part[p] & 0x7fffffff);
  return a;
}
// a where the lane's number is below `count`, else `other`
INK_INLINE Floats first(int32_t count, Floats a, Floats other) {
  const Ints numbers = lane_numbers();
  EACH_PART a.part[p] = numbers.part[p] < count ? a.part[p] : other.part[p];
  return a;
}

// a * b + c: one rounding where the path has the instruction, two where not
INK_INLINE Floats fma(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  c.part[0] = _mm512_fmadd_ps(a.part[0], b.part[0], c.part[0]);
#elif defined(__AVX2__)
  EACH_PART c.part[p] = _mm256_fmadd_ps(a.part[p], b.part[p], c.part[p]);
#else
  EACH_PART c.part[p] = a.part[p] * b.part[p] + c.part[p];
#endif
  return c;
}

INK_INLINE Floats to_floats(Ints a) {
  Floats r;
  EACH_PART r.part[p] = __builtin_convertvector(a.part[p], FloatPart);
  return r;
}
// The nearest whole number, ties to even, for |a| below 2^22.
INK_INLINE Floats nearest(Floats a) { return (a + all(12582912.0f)) - all(12582912.0f); }
INK_INLINE Ints to_ints(Floats whole) {
  Ints r;
  EACH_PART r.part[p] = __builtin_convertvector(whole.part[p], IntPart);
  return r;
}
INK_INLINE void store_bytes(int8_t *to, Ints a) {
  EACH_PART {
#if defined(__AVX512F__)
    const __m128i bytes = _mm512_cvtepi32_epi8((__m512i)a.part[p]);
#else
    const BytePart bytes = __builtin_convertvector(a.part[p], BytePart);
#endif
    __builtin_memcpy(to + p * WIDTH, &bytes, sizeof bytes);
  }
}

// bfloat16: the upper half of a float, rounded to nearest even.
INK_INLINE Floats load_bf16(const uint16_t *from) {
  Floats r;
#if defined(__AVX512F__)
  __m256i half;
  __builtin_memcpy(&half, from, sizeof half);
  r.part[0] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
#else
  EACH_PART {
    HalfPart half;
    __builtin_memcpy(&half, from + p * WIDTH, sizeof half);
    r.part[p] = (FloatPart)(__builtin_convertvector(half, IntPart) << 16);
  }
#endif
  return r;
}
INK_INLINE void store_bf16(uint16_t *to, Floats a) {
  EACH_PART {
    const IntPart bits = (IntPart)a.part[p];
    const IntPart rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
#if defined(__AVX512F__)
    const __m256i half = _mm512_cvtepi32_epi16((__m512i)rounded);
#else
    const HalfPart half = __builtin_convertvector(rounded & 0xffff, HalfPart);
#endif
    __builtin_memcpy(to + p * WIDTH, &half, sizeof half);
  }
}

// Sums and maxima over the lanes, always in the same order.
INK_INLINE float sum(Floats a) {
  float lane[LANES];
  store(lane, a);
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0];
}
INK_INLINE int32_t sum(Ints a) {
  int32_t lane[LANES], total = 0;
  __builtin_memcpy(lane, &a, sizeof a);
  for (int i = 0; i < LANES; i++) total += lane[i];
  return total;
}
INK_INLINE float largest(Floats a) {
  float lane[LANES];
  store(lane, a);
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
  return lane[0];
}

// Lane by lane, acc + w[0] x[0] + w[1] x[1], bfloat16 pairs; x is the same pair for all.
INK_INLINE Floats dot2(Floats acc, const uint16_t *w, uint32_t x) {
#if defined(__AVX512BF16__)
  __m512i pairs = _mm512_loadu_si512(w), same = _mm512_set1_epi32((int32_t)x);
  acc.part[0] = _mm512_dpbf16_ps(acc.part[0], (__m512bh)pairs, (__m512bh)same);
  return acc;
#else
  Ints pairs;
  __builtin_memcpy(&pairs, w, sizeof pairs);
  const uint32_t low = x << 16, high = x & 0xffff0000u;
  float x0, x1;
  __builtin_memcpy(&x0, &low, 4);
  __builtin_memcpy(&x1, &high, 4);
  Floats w0, w1;
  EACH_PART {
    w0.part[p] = (FloatPart)(pairs.part[p] << 16);
    w1.part[p] = (FloatPart)(pairs.part[p] & (int32_t)0xffff0000u);
  }
  return fma(w1, all(x1), fma(w0, all(x0), acc));
#endif
}

// Sixteen times four weights, as bytes.
struct Bytes {
#if defined(__AVX512F__)
  __m512i part[PARTS];
#elif defined(__AVX2__)
  __m256i part[PARTS];
#else
  uint8_t byte[64];
#endif
};
INK_INLINE Bytes load_weights(const uint8_t *from) {
  Bytes r;
  __builtin_memcpy(&r, from, sizeof r);
  return r;
}

// The lower and the upper halves of the bytes.
INK_INLINE Bytes low_nibbles(Bytes a) {
#if defined(__AVX512F__)
  a.part[0] = _mm512_and_si512(a.part[0], _mm512_set1_epi8(15));
#elif defined(__AVX2__)
  EACH_PART a.part[p] = _mm256_and_si256(a.part[p], _mm256_set1_epi8(15));
#else
  for (int i = 0; i < 64; i++) a.byte[i] &= 15;
#endif
  return a;
}
INK_INLINE Bytes high_nibbles(Bytes a) {
#if defined(__AVX512F__)
  a.part[0] = _mm512_and_si512(_mm512_srli_epi16(a.part[0], 4), _mm512_set1_epi8(15));
#elif defined(__AVX2__)
  EACH_PART a.part[p] = _mm256_and_si256(_mm256_srli_epi16(a.part[p], 4), _mm256_set1_epi8(15));
#else
  for (int i = 0; i < 64; i++) a.byte[i] = (uint8_t)(a.byte[i] >> 4);
#endif
  return a;
}

// What dot4 takes int8 weights to be off by: AVX-512 has a product of unsigned with signed bytes only, so the weights
// are kept with 128 added, and 128 times the sum of x is taken away in the end. Elsewhere the sign is restored at once.
#if defined(__AVX512VNNI__)
constexpr int32_t BIAS = 128;
#else
constexpr int32_t BIAS = 0;
#endif

// Lane by lane, acc + the four products of bytes; x is the same four signed bytes for all. Whole numbers: exact.
// BITS 8: weights with 128 added; BITS 4: unsigned and below 16.
template <int BITS>
INK_INLINE Ints dot4(Ints acc, Bytes w, int32_t x) {
#if defined(__AVX512VNNI__)
  acc.part[0] = (IntPart)_mm512_dpbusd_epi32((__m512i)acc.part[0], w.part[0], _mm512_set1_epi32(x));
#elif defined(__AVX2__)
  const __m256i same = _mm256_set1_epi32(x), ones = _mm256_set1_epi16(1);
  EACH_PART {
    __m256i pairs;
    if (BITS == 4) {
      pairs = _mm256_maddubs_epi16(w.part[p], same);
    } else {  // |w| x sign(w): both within 127, so that two products fit into 16 bits
      const __m256i sign = _mm256_xor_si256(w.part[p], _mm256_set1_epi8((char)0x80));
      pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(sign), _mm256_sign_epi8(same, sign));
    }
    acc.part[p] += (IntPart)_mm256_madd_epi16(pairs, ones);
  }
#else
  int8_t bytes[4];
  __builtin_memcpy(bytes, &x, 4);
  int32_t lane[LANES];
  for (int i = 0; i < LANES; i++) {
    int32_t total = 0;
    for (int j = 0; j < 4; j++) total += ((int32_t)w.byte[4 * i + j] - (BITS == 8 ? 128 : 0)) * bytes[j];
    lane[i] = total;
  }
  Ints add = load(lane);
  EACH_PART acc.part[p] += add.part[p];
#endif
  return acc;
}

// e^x to 2e-7 of its size; below -87 it stays at 1e-38. Range reduction by ln 2 and a polynomial (Cephes, expf).
INK_INLINE Floats exponential(Floats x) {
  x = minimum(maximum(x, all(-87.0f)), all(88.0f));
  const Floats n = nearest(x * all(1.44269504f));
  Floats r = fma(n, all(-0.693359375f), x);
  r = fma(n, all(2.12194440e-4f), r);
  Floats y = all(1.9875691500e-4f);
  y = fma(y, r, all(1.3981999507e-3f));
  y = fma(y, r, all(8.3334519073e-3f));
  y = fma(y, r, all(4.1665795894e-2f));
  y = fma(y, r, all(1.6666665459e-1f));
  y = fma(y, r, all(5.0000001201e-1f));
  y = fma(y, r * r, r + all(1.0f));
  const Ints power = to_ints(n);
  EACH_PART y.part[p] *= (FloatPart)((power.part[p] + 127) << 23);
  return y;
}

// What memory will be asked for soon.
INK_INLINE void prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

}  // namespace ink::INK_PATH
