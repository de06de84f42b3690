// Vectors of float, as wide as the processor's: for kernels that don't care which width that is.

#pragma once

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
