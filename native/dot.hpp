// Dot products of blocked weights with the inputs of one row: 16 outputs times two bfloat16 inputs, or times four int8
// inputs. Each instruction set defines in which form the weights are multiplied and in which form the inputs are
// stored.
#pragma once
#include "simd.hpp"

namespace ink::INK_ISA {

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__) || defined(INK_NEON)
#define INK_HAS_DOT4 1  // instructions that multiply four bytes by four signed bytes and add the products
#endif
#if defined(__AVX512BF16__) || (defined(INK_NEON) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC))
#define INK_HAS_DOT2 1  // an instruction that multiplies two bfloat16 by two bfloat16 and adds the products
#endif

// Bytes of one input of a matrix product, see store_inputs below.
INK_INLINE constexpr size_t input_bytes(int32_t precision) {
#if !defined(INK_HAS_DOT2)
  if (precision == INK_BF16) return 4;
#endif
#if !defined(INK_HAS_DOT4)
  if (precision == INK_INT8) return 2;
#if !defined(__AVX2__)
  if (precision == INK_INT4) return 2;
#endif
#endif
  return precision == INK_FP32 ? 4 : precision == INK_BF16 ? 2 : 1;
}

// ---- bfloat16 ----

// Two bfloat16 inputs for sixteen outputs.
#if defined(INK_HAS_DOT2)
struct bf16x32 {
  u32_register pairs[REGISTERS];
};
INK_INLINE bf16x32 load_pairs(const uint16_t *from) {
  bf16x32 r;
  FOR_EACH_REGISTER(i) __builtin_memcpy(&r.pairs[i], from + 2 * i * REGISTER_LANES, sizeof r.pairs[i]);
  return r;
}
INK_INLINE bf16x32 broadcast_pair(uint32_t pair) {
  bf16x32 r;
  FOR_EACH_REGISTER(i) r.pairs[i] = pair - u32_register{};
  return r;
}
INK_INLINE bf16x32 broadcast_inputs(const uint16_t *from) {
  uint32_t pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return broadcast_pair(pair);
}
// acc + w[0] * x[0] + w[1] * x[1] in every lane.
INK_INLINE f32x16 dot2(f32x16 acc, bf16x32 w, bf16x32 x) {
#if defined(INK_NEON)
  FOR_EACH_REGISTER(i)
    acc.reg[i] = (f32_register)vbfdotq_f32((float32x4_t)acc.reg[i], (bfloat16x8_t)w.pairs[i], (bfloat16x8_t)x.pairs[i]);
#else
  acc.reg[0] = (f32_register)_mm512_dpbf16_ps((__m512)acc.reg[0], (__m512bh)w.pairs[0], (__m512bh)x.pairs[0]);
#endif
  return acc;
}
using Bf16Input = uint16_t;
INK_INLINE void store_inputs_bf16(uint8_t *to, f32x16 a) { store_bf16((uint16_t *)to, a); }
#else
struct bf16x32 {
  f32x16 first, second;
};
INK_INLINE bf16x32 load_pairs(const uint16_t *from) {
  bf16x32 r;
  FOR_EACH_REGISTER(i) {
    i32_register pairs;
    __builtin_memcpy(&pairs, from + 2 * i * REGISTER_LANES, sizeof pairs);
    r.first.reg[i] = (f32_register)(pairs << 16);
    r.second.reg[i] = (f32_register)(pairs & (int32_t)0xffff0000u);
  }
  return r;
}
INK_INLINE bf16x32 broadcast_pair(uint32_t pair) {
  const uint32_t first = pair << 16, second = pair & 0xffff0000u;
  float x0, x1;
  __builtin_memcpy(&x0, &first, 4);
  __builtin_memcpy(&x1, &second, 4);
  return {broadcast(x0), broadcast(x1)};
}
INK_INLINE bf16x32 broadcast_inputs(const float *from) { return {broadcast(from[0]), broadcast(from[1])}; }
INK_INLINE f32x16 dot2(f32x16 acc, bf16x32 w, bf16x32 x) { return fma(w.second, x.second, fma(w.first, x.first, acc)); }
// Rounded to bfloat16, but stored as floats: one instruction loads and broadcasts a float.
using Bf16Input = float;
INK_INLINE void store_inputs_bf16(uint8_t *to, f32x16 a) {
  uint16_t rounded[LANES];
  store_bf16(rounded, a);
  store((float *)to, load_bf16(rounded));
}
#endif

// ---- int8 and int4 ----

// Four bytes per lane.
struct u8x64 {
#if defined(__AVX512F__)
  using Register = __m512i;
#elif defined(__AVX2__)
  using Register = __m256i;
#else
  using Register = u32_register;
#endif
  Register reg[REGISTERS];
};
INK_INLINE u8x64 load_u8(const uint8_t *from) {
  u8x64 r;
  FOR_EACH_REGISTER(i) __builtin_memcpy(&r.reg[i], from + i * sizeof r.reg[i], sizeof r.reg[i]);
  return r;
}
INK_INLINE u8x64 low_nibbles(u8x64 a) {
#if defined(__AVX512F__)
  a.reg[0] = _mm512_and_si512(a.reg[0], _mm512_set1_epi8(15));
#elif defined(__AVX2__)
  FOR_EACH_REGISTER(i) a.reg[i] = _mm256_and_si256(a.reg[i], _mm256_set1_epi8(15));
#else
  FOR_EACH_REGISTER(i) a.reg[i] &= 0x0f0f0f0fu;
#endif
  return a;
}
INK_INLINE u8x64 high_nibbles(u8x64 a) {
#if defined(__AVX512F__)
  a.reg[0] = _mm512_and_si512(_mm512_srli_epi16(a.reg[0], 4), _mm512_set1_epi8(15));
#elif defined(__AVX2__)
  FOR_EACH_REGISTER(i) a.reg[i] = _mm256_and_si256(_mm256_srli_epi16(a.reg[i], 4), _mm256_set1_epi8(15));
#else
  FOR_EACH_REGISTER(i) a.reg[i] = (a.reg[i] >> 4) & 0x0f0f0f0fu;
#endif
  return a;
}

// Packed int8 weights have 128 added and int4 weights 8, so that they are unsigned. Every sum is therefore too large by
// the bias times the sum of the inputs, which the caller subtracts. All sums are exact. ARM CPUs without i8mm multiply
// signed bytes, so split_bytes subtracts the bias of int8 weights there.
#if defined(INK_NEON) && !defined(__ARM_FEATURE_MATMUL_INT8)
constexpr int32_t INT8_BIAS = 0;
#else
constexpr int32_t INT8_BIAS = 128;
#endif
constexpr int32_t INT4_BIAS = 8;

// A load of 64 bytes holds four int8 or eight int4 weights for each of sixteen outputs. It is multiplied in parts, each
// with the next four bytes of the inputs.
INK_INLINE i32_register broadcast_part(const uint8_t *x, int p) {
  int32_t part;
  __builtin_memcpy(&part, x + 4 * p, sizeof part);
  return part - i32_register{};
}

#if defined(INK_HAS_DOT4)

// Weights and inputs are bytes; the parts of int4 weights are the low and the high nibbles.
INK_INLINE constexpr int parts(int bits) { return bits == 8 ? 1 : 2; }
template <int BITS>
INK_INLINE u8x64 part(u8x64 w, int p) {
  if constexpr (BITS == 4) return p == 0 ? low_nibbles(w) : high_nibbles(w);
#if defined(INK_NEON) && !defined(__ARM_FEATURE_MATMUL_INT8)
  FOR_EACH_REGISTER(i) w.reg[i] ^= 0x80808080u;
#endif
  return w;
}
INK_INLINE i32x16 multiply_add(i32x16 acc, u8x64 w, i32_register x) {
#if defined(__AVX512VNNI__)
  acc.reg[0] = (i32_register)_mm512_dpbusd_epi32((__m512i)acc.reg[0], w.reg[0], (__m512i)x);
#elif defined(INK_NEON) && defined(__ARM_FEATURE_MATMUL_INT8)
  FOR_EACH_REGISTER(i)
    acc.reg[i] = (i32_register)vusdotq_s32((int32x4_t)acc.reg[i], (uint8x16_t)w.reg[i], (int8x16_t)x);
#elif defined(INK_NEON) && defined(__ARM_FEATURE_DOTPROD)
  FOR_EACH_REGISTER(i) acc.reg[i] = (i32_register)vdotq_s32((int32x4_t)acc.reg[i], (int8x16_t)w.reg[i], (int8x16_t)x);
#elif defined(INK_NEON)
  // All factors are from -127 to 127, so that a sum of two products fits into 16 bits.
  FOR_EACH_REGISTER(i) {
    const int8x16_t weights = (int8x16_t)w.reg[i], inputs = (int8x16_t)x;
    const int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(inputs));
    const int16x8_t high = vmull_high_s8(weights, inputs);
    acc.reg[i] = (i32_register)vpadalq_s16((int32x4_t)acc.reg[i], vpaddq_s16(low, high));
  }
#else
  FOR_EACH_REGISTER(i) acc.reg[i] = (i32_register)_mm256_dpbusd_avx_epi32((__m256i)acc.reg[i], w.reg[i], (__m256i)x);
#endif
  return acc;
}
template <int BITS>
INK_INLINE void store_inputs_int(uint8_t *to, i32x16 a) {
  store_i8((int8_t *)to, a);
}

#else

// Without such an instruction, products of 16-bit integers are added in pairs. The parts of int8 weights are bytes 0
// and 2 of each lane, then bytes 1 and 3. The inputs are stored as 16-bit integers in this order.
INK_INLINE u8x64 part_of_bytes(u8x64 w, int p) {
  FOR_EACH_REGISTER(i) {
    const auto even = (i32_register)w.reg[i] & 0x00ff00ff, odd = (i32_register)((u16_pairs)w.reg[i] >> 8);
    w.reg[i] = (u8x64::Register)(p == 0 ? even : odd);
  }
  return w;
}
// Multiply pairs of 16-bit integers and add the two products.
INK_INLINE i32_register multiply_pairs(i32_register a, i32_register b) {
#if defined(__AVX2__)
  return (i32_register)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (i32_register)_mm_madd_epi16((__m128i)a, (__m128i)b);
#elif defined(__wasm_simd128__)
  return (i32_register)wasm_i32x4_dot_i16x8((v128_t)a, (v128_t)b);
#else
  return (a & 0xffff) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);  // the weights, a, are below 256
#endif
}
// Keeps the compiler from adding two products before it adds them to a sum, which needs one more register.
template <class Register>
INK_INLINE void add_now(Register &sum) {
#if defined(__SSE2__)
  __asm__("" : "+x"(sum));
#else
  (void)sum;
#endif
}
INK_INLINE i32x16 multiply_add(i32x16 acc, u8x64 w, i32_register x) {
  FOR_EACH_REGISTER(i) {
    acc.reg[i] += multiply_pairs((i32_register)w.reg[i], x);
    add_now(acc.reg[i]);
  }
  return acc;
}
template <int BITS>
INK_INLINE void store_inputs_int(uint8_t *to, i32x16 a) {
#if defined(__AVX2__)
  if constexpr (BITS == 4) return store_i8((int8_t *)to, a);
#endif
  FOR_EACH_REGISTER(i) {
    i16_register words = __builtin_convertvector(a.reg[i], i16_register);
#if defined(__AVX2__)
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    words = (i16_register)_mm_shuffle_epi8((__m128i)words, order);
#else
    const int16_t first_odd = words[1];
    words[1] = words[2];
    words[2] = first_odd;
#endif
    __builtin_memcpy(to + i * sizeof words, &words, sizeof words);
  }
}

#if defined(__AVX2__)
// The parts of int4 weights are the low and the high nibbles.
INK_INLINE constexpr int parts(int) { return 2; }
template <int BITS>
INK_INLINE u8x64 part(u8x64 w, int p) {
  if constexpr (BITS == 8) return part_of_bytes(w, p);
  return p == 0 ? low_nibbles(w) : high_nibbles(w);
}
#else
// The parts of int4 weights are those of the low nibbles, then those of the high ones.
INK_INLINE constexpr int parts(int bits) { return bits == 8 ? 2 : 4; }
template <int BITS>
INK_INLINE u8x64 part(u8x64 w, int p) {
  if constexpr (BITS == 8) return part_of_bytes(w, p);
  return part_of_bytes(p < 2 ? low_nibbles(w) : high_nibbles(w), p % 2);
}
#endif

#endif

// Sums of products of int4 weights with the inputs of one row, NIBBLE_INPUTS of them at most.
#if defined(__AVX2__) && !defined(INK_HAS_DOT4)
// They are added in 16 bits: eight parts give at most 16 * 15 * 127. Then they are widened.
constexpr int32_t NIBBLE_INPUTS = 32;
struct NibbleSums {
  __m256i reg[REGISTERS];
};
INK_INLINE NibbleSums zero_nibble_sums() { return {}; }
INK_INLINE NibbleSums multiply_add(NibbleSums acc, u8x64 w, i32_register x) {
  FOR_EACH_REGISTER(i) {
    acc.reg[i] = _mm256_add_epi16(acc.reg[i], _mm256_maddubs_epi16(w.reg[i], (__m256i)x));
    add_now(acc.reg[i]);
  }
  return acc;
}
INK_INLINE i32x16 operator+(i32x16 acc, NibbleSums sums) {
  FOR_EACH_REGISTER(i) acc.reg[i] += (i32_register)_mm256_madd_epi16(sums.reg[i], _mm256_set1_epi16(1));
  return acc;
}
#else
constexpr int32_t NIBBLE_INPUTS = 1 << 24;
using NibbleSums = i32x16;
INK_INLINE NibbleSums zero_nibble_sums() { return broadcast((int32_t)0); }
#endif

}  // namespace ink::INK_ISA
