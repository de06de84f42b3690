// Vectors of float, as wide as the processor's: for kernels that don't care which width that is.

#pragma once

#include <cstdint>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_TWICE _Pragma("GCC unroll 2")
#endif

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float loose_vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

inline vec load(const float* from) { return *reinterpret_cast<const loose_vec*>(from); }

inline void store(float* to, vec value) { *reinterpret_cast<loose_vec*>(to) = value; }

#if defined(__AVX__) && !defined(__AVX512F__)
inline __m256i first_lanes(int64_t count) {  // 0 to 8
    alignas(32) static constexpr int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ones + LANES - count));
}
#endif

// The first `count` of a vector, or all: zeros behind them; nothing behind them is touched. It may be negative.
inline vec load_part(const float* from, int64_t count) {
    if (count >= LANES) return load(from);
    if (count <= 0) return vec{};
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#elif defined(__AVX__)
    return (vec)_mm256_maskload_ps(from, first_lanes(count));
#else
    vec value{};
    for (int i = 0; i < count; ++i) value[i] = from[i];
    return value;
#endif
}

inline void store_part(float* to, vec value, int64_t count) {
    if (count >= LANES) return store(to, value);
    if (count <= 0) return;
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)value);
#elif defined(__AVX__)
    _mm256_maskstore_ps(to, first_lanes(count), (__m256)value);
#else
    for (int i = 0; i < count; ++i) to[i] = value[i];
#endif
}

// A store that doesn't first read the cache line it writes: a result larger than the cache is a third less traffic.
// `to` is aligned to a vector.
inline void stream(float* to, vec value) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)value);
#elif defined(__AVX__)
    _mm256_stream_ps(to, (__m256)value);
#else
    store(to, value);
#endif
}

inline void finish_stream() {
#if defined(__AVX__)
    _mm_sfence();
#endif
}

}  // namespace
