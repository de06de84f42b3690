// e to the power of a vector.

#pragma once

#include "vectors.hpp"

namespace {

// e^v for v in [-87, 88] (others are clamped; NaN stays), 1 ulp: Cephes' expf. 2^n is put together from its bits.
template <int N>
INLINE F<N> exponential(F<N> v) {
    using V = F<N>;
    using I = typename Lanes<N>::I;
    const V rounder = V{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to integer
    v = clamp<N>(v, V{} - 87.0f, V{} + 88.0f);
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
