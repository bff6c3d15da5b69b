// Dot products of blocked weights: 16 outputs times two bfloat16 inputs, or times four int8 inputs.
#pragma once
#include "simd.hpp"

namespace ink::INK_ISA {

// acc + w[0] * x[0] + w[1] * x[1] in every lane; w holds a pair of bfloat16 per lane, x one pair for all lanes.
INK_INLINE f32x16 dot2(f32x16 acc, const uint16_t *w, uint32_t x) {
#if defined(__AVX512BF16__)
  __m512i pairs = _mm512_loadu_si512(w), x_lanes = _mm512_set1_epi32((int32_t)x);
  acc.reg[0] = _mm512_dpbf16_ps(acc.reg[0], (__m512bh)pairs, (__m512bh)x_lanes);
  return acc;
#else
  i32x16 pairs;
  __builtin_memcpy(&pairs, w, sizeof pairs);
  const uint32_t low = x << 16, high = x & 0xffff0000u;
  float x0, x1;
  __builtin_memcpy(&x0, &low, 4);
  __builtin_memcpy(&x1, &high, 4);
  f32x16 w0, w1;
  FOR_EACH_REGISTER(i) {
    w0.reg[i] = (f32_register)(pairs.reg[i] << 16);
    w1.reg[i] = (f32_register)(pairs.reg[i] & (int32_t)0xffff0000u);
  }
  return fma(w1, broadcast(x1), fma(w0, broadcast(x0), acc));
#endif
}

// Four bytes per lane.
struct u8x64 {
#if defined(__AVX512F__)
  __m512i reg[REGISTERS];
#elif defined(__AVX2__)
  __m256i reg[REGISTERS];
#else
  uint8_t byte[4 * LANES];
#endif
};
INK_INLINE u8x64 load_u8(const uint8_t *from) {
  u8x64 r;
  __builtin_memcpy(&r, from, sizeof r);
  return r;
}

INK_INLINE u8x64 low_nibbles(u8x64 a) {
#if defined(__AVX512F__)
  a.reg[0] = _mm512_and_si512(a.reg[0], _mm512_set1_epi8(15));
#elif defined(__AVX2__)
  FOR_EACH_REGISTER(i) a.reg[i] = _mm256_and_si256(a.reg[i], _mm256_set1_epi8(15));
#else
  for (int i = 0; i < 4 * LANES; i++) a.byte[i] &= 15;
#endif
  return a;
}
INK_INLINE u8x64 high_nibbles(u8x64 a) {
#if defined(__AVX512F__)
  a.reg[0] = _mm512_and_si512(_mm512_srli_epi16(a.reg[0], 4), _mm512_set1_epi8(15));
#elif defined(__AVX2__)
  FOR_EACH_REGISTER(i) a.reg[i] = _mm256_and_si256(_mm256_srli_epi16(a.reg[i], 4), _mm256_set1_epi8(15));
#else
  for (int i = 0; i < 4 * LANES; i++) a.byte[i] = (uint8_t)(a.byte[i] >> 4);
#endif
  return a;
}

// Packed int8 weights have 128 added, because AVX-512 VNNI only multiplies unsigned by signed bytes. dot4<8> computes
// with weights that are too large by INT8_BIAS; the caller subtracts INT8_BIAS * sum(x). Without VNNI, dot4<8> restores
// the sign itself.
#if defined(__AVX512VNNI__)
constexpr int32_t INT8_BIAS = 128;
#else
constexpr int32_t INT8_BIAS = 0;
#endif

// acc + w[0] * x[0] + ... + w[3] * x[3] in every lane; x is four signed bytes for all lanes. The result is exact.
// BITS = 8: int8 weights with 128 added; BITS = 4: unsigned weights below 16.
template <int BITS>
INK_INLINE i32x16 dot4(i32x16 acc, u8x64 w, int32_t x) {
#if defined(__AVX512VNNI__)
  acc.reg[0] = (i32_register)_mm512_dpbusd_epi32((__m512i)acc.reg[0], w.reg[0], _mm512_set1_epi32(x));
#elif defined(__AVX2__)
  const __m256i x_lanes = _mm256_set1_epi32(x), ones = _mm256_set1_epi16(1);
  FOR_EACH_REGISTER(i) {
    __m256i pairs;
    if (BITS == 4) {
      pairs = _mm256_maddubs_epi16(w.reg[i], x_lanes);
    } else {  // |w| and x * sign(w) are at most 127, so the sum of two products fits into 16 bits
      const __m256i sign = _mm256_xor_si256(w.reg[i], _mm256_set1_epi8((char)0x80));
      pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(sign), _mm256_sign_epi8(x_lanes, sign));
    }
    acc.reg[i] += (i32_register)_mm256_madd_epi16(pairs, ones);
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
  i32x16 add = load(lane);
  FOR_EACH_REGISTER(i) acc.reg[i] += add.reg[i];
#endif
  return acc;
}

}  // namespace ink::INK_ISA
