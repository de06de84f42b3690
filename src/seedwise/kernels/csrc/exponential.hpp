// Vectors of N floats, and e to the power of one.
#pragma once

#include <cstdint>

#include "fused.hpp"

namespace {

template <int N>
struct Lanes {
    typedef float F __attribute__((vector_size(4 * N)));
    typedef std::int32_t I __attribute__((vector_size(4 * N)));
    typedef std::uint32_t U __attribute__((vector_size(4 * N)));
    typedef std::uint16_t H __attribute__((vector_size(2 * N)));
};
template <int N>
using F = typename Lanes<N>::F;

template <int N>
INLINE F<N> smaller(F<N> a, F<N> b) {  // b when one is NaN
#if defined(__AVX2__)
    if constexpr (N == 8) return _mm256_min_ps(a, b);
#endif
#if defined(__AVX512F__)
    if constexpr (N == 16) return _mm512_min_ps(a, b);
#endif
    return a < b ? a : b;
}
template <int N>
INLINE F<N> larger(F<N> a, F<N> b) {  // b when one is NaN
#if defined(__AVX2__)
    if constexpr (N == 8) return _mm256_max_ps(a, b);
#endif
#if defined(__AVX512F__)
    if constexpr (N == 16) return _mm512_max_ps(a, b);
#endif
    return a > b ? a : b;
}

// e^v for v in [-87, 88] (others are clamped; NaN stays), 1 ulp: Cephes' expf. 2^n is put together from its bits.
template <int N>
INLINE F<N> exponential(F<N> v) {
    using V = F<N>;
    using I = typename Lanes<N>::I;
    const V low = V{} - 87.0f, high = V{} + 88.0f,
            rounder = V{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to integer
    v = smaller<N>(high, larger<N>(low, v));
    const V shifted = fused(1.44269504088896341f, v, rounder);
    const V n = shifted - rounder;
    const V r = fused(2.12194440e-4f, n, fused(-0.693359375f, n, v));
    V p = fused(1.9875691500e-4f, r, V{} + 1.3981999507e-3f);
    p = fused(p, r, V{} + 8.3334519073e-3f);
    p = fused(p, r, V{} + 4.1665795894e-2f);
    p = fused(p, r, V{} + 1.6666665459e-1f);
    p = fused(p, r, V{} + 5.0000001201e-1f);
    p = fused(p, r * r, r) + 1.0f;
    return p * (V)(((I)shifted - (I)rounder + 127) << 23);
}

}  // namespace
