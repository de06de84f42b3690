// Vectors of float over channels: loads and stores of float and bfloat16, activations with their derivatives, and the
// loops that walk a matrix [rows, c]. Included by norm_act.cpp alone.
#pragma once

#include <cstdint>
#include <cstring>

#include "exponential.hpp"

namespace {

using std::int64_t;

constexpr int kWide = 8;  // of 32 bits: one AVX register
#if defined(__AVX512F__)
constexpr int kWidest = 16;  // half as many instructions: SiLU's exponential is bound by them, not by memory
#else
constexpr int kWidest = kWide;
#endif
#define LAMBDA_INLINE __attribute__((always_inline))

template <int N>
struct Int {
    static constexpr int value = N;
};
struct Bf16 {
    std::uint16_t bits;
};

template <int N>
INLINE F<N> load(const float* from) {
    F<N> v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
template <int N>
INLINE F<N> load(const Bf16* from) {
    typename Lanes<N>::H half;
    std::memcpy(&half, from, sizeof half);
#if defined(__AVX2__)  // GCC would take four times as many instructions
    if constexpr (N == 8) return (F<N>)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)half), 16);
#endif
#if defined(__AVX512F__)
    if constexpr (N == 16) return (F<N>)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#endif
    return (F<N>)(__builtin_convertvector(half, typename Lanes<N>::U) << 16);
}

template <int N>
INLINE F<N> pack(F<N> v, float) {
    return v;
}
// To nearest, ties to even; a NaN stays one (adding to its bits could make it infinite).
template <int N>
INLINE typename Lanes<N>::H pack(F<N> v, Bf16) {
    using U = typename Lanes<N>::U;
    U bits = (U)v;
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    bits = v != v ? U{} + 0x7fc0u : bits;
#if defined(__AVX2__)
    if constexpr (N == 8) {
        const __m256i wide = (__m256i)bits;
        return (typename Lanes<N>::H)_mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    }
#endif
#if defined(__AVX512F__)
    if constexpr (N == 16) return (typename Lanes<N>::H)_mm512_cvtepi32_epi16((__m512i)bits);
#endif
    return __builtin_convertvector(bits, typename Lanes<N>::H);
}

// `stream`: past the cache; `to` must then be aligned to kWide numbers.
template <int N, class T>
INLINE void store(T* to, F<N> v, bool stream = false) {
    const auto packed = pack<N>(v, T{});
#if defined(__AVX2__)
    if constexpr (N == 8)
        if (stream) {
            if constexpr (sizeof(T) == 4)
                return _mm256_stream_ps(reinterpret_cast<float*>(to), packed);
            else
                return _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)packed);
        }
#endif
#if defined(__AVX512F__)
    if constexpr (N == 2 * kWide)
        if (stream) {
            F<kWide> halves[2];
            std::memcpy(halves, &v, sizeof v);
            store<kWide>(to, halves[0], true);
            return store<kWide>(to + kWide, halves[1], true);
        }
#endif
    std::memcpy(to, &packed, sizeof packed);
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
        z = z * smaller<N>(six, larger<N>(zero, z + 3.0f)) * (1.0f / 6.0f);
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
