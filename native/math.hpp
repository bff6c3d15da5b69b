// exp and the activation functions.
#pragma once
#include "simd.hpp"

namespace ink::INK_ISA {

// e^x with a relative error of 2e-7, by range reduction with ln 2 and the polynomial of expf in Cephes. x is clamped to
// [-87, 88].
INK_INLINE f32x16 exp(f32x16 x) {
  x = min(max(x, broadcast(-87.0f)), broadcast(88.0f));
  const f32x16 n = round(x * broadcast(1.44269504f));
  f32x16 r = fma(n, broadcast(-0.693359375f), x);
  r = fma(n, broadcast(2.12194440e-4f), r);
  f32x16 y = broadcast(1.9875691500e-4f);
  y = fma(y, r, broadcast(1.3981999507e-3f));
  y = fma(y, r, broadcast(8.3334519073e-3f));
  y = fma(y, r, broadcast(4.1665795894e-2f));
  y = fma(y, r, broadcast(1.6666665459e-1f));
  y = fma(y, r, broadcast(5.0000001201e-1f));
  y = fma(y, r * r, r + broadcast(1.0f));
  const i32x16 power = to_i32(n);
  FOR_EACH_REGISTER(i) y.reg[i] *= (f32_register)((power.reg[i] + 127) << 23);
  return y;
}

// GELU with the tanh approximation, as x * sigmoid(2 * tanh argument).
INK_INLINE f32x16 gelu_new(f32x16 x) {
  const f32x16 inner = x * fma(x * x, broadcast(0.035677408f), broadcast(0.79788456f));
  return x / (broadcast(1.0f) + exp(broadcast(-2.0f) * inner));
}

// Exact GELU, with an approximation of erf to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
INK_INLINE f32x16 gelu(f32x16 x) {
  const f32x16 z = abs(x) * broadcast(0.70710678f);
  const f32x16 t = broadcast(1.0f) / fma(broadcast(0.3275911f), z, broadcast(1.0f));
  f32x16 poly = fma(t, broadcast(1.061405429f), broadcast(-1.453152027f));
  poly = fma(t, poly, broadcast(1.421413741f));
  poly = fma(t, poly, broadcast(-0.284496736f));
  poly = t * fma(t, poly, broadcast(0.254829592f));
  const f32x16 erfc = poly * exp(broadcast(0.0f) - z * z);
  // 0.5 * x * (1 + erf(x / sqrt(2))), rearranged to hold for both signs of x
  const f32x16 half = broadcast(0.5f) * x, magnitude = abs(half);
  return half + magnitude - magnitude * erfc;
}

INK_INLINE f32x16 relu(f32x16 x) { return max(x, broadcast(0.0f)); }

}  // namespace ink::INK_ISA
