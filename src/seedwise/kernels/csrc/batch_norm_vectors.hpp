// Activations with their derivatives, over channels of float or bfloat16, and the loops that walk a matrix [rows, c].
// Included by batch_norm.cpp alone.

#pragma once

#include "exponential.hpp"

namespace {

constexpr int kWide = 8;  // of 32 bits: one AVX register
#if defined(__AVX512F__)
constexpr int kWidest = 16;  // half as many instructions: SiLU's exponential is bound by them, not by memory
#else
constexpr int kWidest = kWide;
#endif

// `streamed`: past the cache; `to` must then be aligned to kWide numbers.
template <int N, class T>
INLINE void store(T* to, F<N> v, bool streamed) {
    if (!streamed) return store<N>(to, v);
    if constexpr (N == 2 * kWide) {
        F<kWide> halves[2];
        std::memcpy(halves, &v, sizeof v);
        stream<kWide>(to, halves[0]);
        stream<kWide>(to + kWide, halves[1]);
    } else {
        stream<N>(to, v);
    }
}

enum { kIdentity, kRelu, kRelu6, kSilu, kHardswish };

// Comparisons are written so that NaN passes, as it does in PyTorch.
template <int A, int N>
INLINE F<N> activate(F<N> z) {
    using V = F<N>;
    const V zero = V{}, six = V{} + 6.0f;
    if constexpr (A == kRelu || A == kRelu6) z = larger<N>(zero, z);
    if constexpr (A == kRelu6) z = smaller<N>(six, z);
    if constexpr (A == kSilu) z = z / (1.0f + exponential<N>(-z));
    if constexpr (A == kHardswish) {
        z = z * clamp<N>(z + 3.0f, zero, six) * (1.0f / 6.0f);
    }
    return z;
}

// The gradient of the pre-activation z, from that of the activation.
template <int A, int N>
INLINE F<N> activate_backward(F<N> z, F<N> grad) {
    using V = F<N>;
    const V zero = V{}, six = V{} + 6.0f, three = V{} + 3.0f;
    if constexpr (A == kRelu) grad = z <= zero ? zero : grad;
    if constexpr (A == kRelu6) grad = ((z <= zero) | (z >= six)) ? zero : grad;
    if constexpr (A == kSilu) {
        const V e = exponential<N>(-z), s = 1.0f / (1.0f + e);
        grad = grad * (s * fused(z, e * s, V{} + 1.0f));  // e * s is 1 - s without the cancellation
    }
    if constexpr (A == kHardswish) {
        const V inner = grad * fused(1.0f / 3.0f, z, V{} + 0.5f);
        grad = z >= three ? grad : inner;
        grad = z <= -three ? zero : grad;
    }
    return grad;
}

// body(Int<N>, j): channels j .. j + N - 1.
template <class Body>
INLINE void over_channels(int64_t c, Body body) {
    int64_t j = 0;
    for (; j + kWidest <= c; j += kWidest) body(Int<kWidest>{}, j);
    if constexpr (kWidest > kWide)
        for (; j + kWide <= c; j += kWide) body(Int<kWide>{}, j);
    for (; j < c; ++j) body(Int<1>{}, j);
}

// body(Int<N>, Int<R>, i, j): channels j .. j + N - 1 of rows i .. i + R - 1, R rows to each load of a parameter.
template <int R, class Body>
INLINE void over_block(int64_t rows, int64_t c, Body body) {
    int64_t i = 0;
    for (; i + R <= rows; i += R) over_channels(c, [&](auto n, int64_t j) LAMBDA_INLINE { body(n, Int<R>{}, i, j); });
    for (; i < rows; ++i) over_channels(c, [&](auto n, int64_t j) LAMBDA_INLINE { body(n, Int<1>{}, i, j); });
}

}  // namespace
