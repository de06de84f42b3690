// Sums of a product, whose bits are the same wherever the compiler puts them.
//
// Compilers may round a * b + c once or twice, and choose anew for each place a function is inlined at and each width
// it is instantiated for: a result's bits would depend on the tile it falls into, hence on threads and on the other
// images of a batch. So kernels are built with -ffp-contract=off (kernels/launch.py), and say themselves what is fused.

#pragma once

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

#define INLINE __attribute__((always_inline)) inline

// a * b + c of vectors of float: rounded once where the target has an instruction for it, else twice.
template <class V>
INLINE V fused(V a, V b, V c) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#endif
#if defined(__FMA__)
    if constexpr (sizeof(V) == 32) return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
    if constexpr (sizeof(V) == 4) return V{__builtin_fmaf(a[0], b[0], c[0])};
#elif defined(__aarch64__)
    if constexpr (sizeof(V) == 4) return V{__builtin_fmaf(a[0], b[0], c[0])};
    if constexpr (sizeof(V) == 16) return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
    if constexpr (sizeof(V) == 32) {
        float32x4_t x[2], y[2], z[2];
        __builtin_memcpy(x, &a, 32), __builtin_memcpy(y, &b, 32), __builtin_memcpy(z, &c, 32);
        for (int i = 0; i < 2; ++i) z[i] = vfmaq_f32(z[i], x[i], y[i]);
        __builtin_memcpy(&c, z, 32);
        return c;
    }
#endif
    return a * b + c;
}

template <class V>
INLINE V fused(float a, V b, V c) {
    return fused(a - V{}, b, c);  // in all lanes; V{} + a would lose the sign of a zero
}

}  // namespace
