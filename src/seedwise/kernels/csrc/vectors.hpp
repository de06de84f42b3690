// Vectors of float: loads and stores of float and bfloat16, whole, in part and past the cache, and products with sums.
//
// Compilers may round a * b + c once or twice, and choose anew for each place a function is inlined at and each width
// it is instantiated for: a result's bits would depend on the tile it falls into, hence on threads and on the other
// images of a batch. So kernels are built with -ffp-contract=off (kernels/build.py), and say themselves what is fused.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

using std::int64_t;

#define INLINE __attribute__((always_inline)) inline
#define NOINLINE __attribute__((noinline))
#define LAMBDA_INLINE __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_TWICE _Pragma("GCC unroll 2")
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;  // of the processor's vectors
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int64_t LINE = 16;  // floats of a cache line

template <int N>
struct Int {
    static constexpr int value = N;
};

template <int N>
struct Lanes {
    typedef float F __attribute__((vector_size(4 * N)));
    typedef std::int32_t I __attribute__((vector_size(4 * N)));
    typedef std::uint32_t U __attribute__((vector_size(4 * N)));
    typedef std::uint16_t H __attribute__((vector_size(2 * N)));
};
template <int N>
using F = typename Lanes<N>::F;
using vec = F<LANES>;

struct bf16 {
    std::uint16_t bits;
};

// a * b + c: rounded once where the target has an instruction for it, else twice.
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

template <int N = LANES>
INLINE F<N> smaller(F<N> a, F<N> b) {  // b when one is NaN
#if defined(__AVX2__)
    if constexpr (N == 8) return _mm256_min_ps(a, b);
#endif
#if defined(__AVX512F__)
    if constexpr (N == 16) return _mm512_min_ps(a, b);
#endif
    return a < b ? a : b;
}

template <int N = LANES>
INLINE F<N> larger(F<N> a, F<N> b) {  // b when one is NaN
#if defined(__AVX2__)
    if constexpr (N == 8) return _mm256_max_ps(a, b);
#endif
#if defined(__AVX512F__)
    if constexpr (N == 16) return _mm512_max_ps(a, b);
#endif
    return a > b ? a : b;
}

template <int N = LANES>
INLINE F<N> clamp(F<N> value, F<N> low, F<N> high) {  // NaN stays NaN
    return smaller<N>(high, larger<N>(low, value));
}

template <int N = LANES>
INLINE F<N> load(const float* from) {
    F<N> v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <int N = LANES>
INLINE F<N> load(const bf16* from) {
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

// As bfloat16: to nearest, ties to even; a NaN stays one (adding to its bits could make it infinite).
template <int N = LANES>
INLINE typename Lanes<N>::H pack(F<N> v) {
    using U = typename Lanes<N>::U;
    U bits = (U)v;
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    bits = v != v ? U{} + 0x7fc0u : bits;
#if defined(__AVX2__)
    if constexpr (N == 8) {
        const __m256i whole = (__m256i)bits;
        return (typename Lanes<N>::H)_mm_packus_epi32(_mm256_castsi256_si128(whole),
                                                      _mm256_extracti128_si256(whole, 1));
    }
#endif
#if defined(__AVX512F__)
    if constexpr (N == 16) return (typename Lanes<N>::H)_mm512_cvtepi32_epi16((__m512i)bits);
#endif
    return __builtin_convertvector(bits, typename Lanes<N>::H);
}

template <int N = LANES>
INLINE void store(float* to, F<N> v) {
    std::memcpy(to, &v, sizeof v);
}

template <int N = LANES>
INLINE void store(bf16* to, F<N> v) {
    const auto packed = pack<N>(v);
    std::memcpy(to, &packed, sizeof packed);
}

#if defined(__AVX2__) && !defined(__AVX512F__)
inline __m256i first_lanes(int64_t count) {  // 0 to 8
    alignas(32) static constexpr int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ones + LANES - count));
}
#endif

// The first `count` of a vector, or all: zeros after them; nothing after them is touched. It may be negative.
inline vec load_part(const float* from, int64_t count) {
    if (count >= LANES) return load(from);
    if (count <= 0) return vec{};
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#elif defined(__AVX2__)
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
#elif defined(__AVX2__)
    _mm256_maskstore_ps(to, first_lanes(count), (__m256)value);
#else
    for (int i = 0; i < count; ++i) to[i] = value[i];
#endif
}

// A store that doesn't first read the cache line it writes: a result larger than the cache is a third less traffic.
// `to` is aligned to N numbers. Other threads see it after `end_stream`.
template <int N = LANES>
INLINE void stream(float* to, F<N> v) {
#if defined(__AVX2__)
    if constexpr (N == 8) return _mm256_stream_ps(to, v);
#endif
#if defined(__AVX512F__)
    if constexpr (N == 16) return _mm512_stream_ps(to, v);
#endif
    store<N>(to, v);
}

template <int N = LANES>
INLINE void stream(bf16* to, F<N> v) {
#if defined(__AVX2__)
    if constexpr (N == 8) return _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)pack<N>(v));
#endif
    store<N>(to, v);
}

inline void end_stream() {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

// Whether a result of `count` numbers, in rows of `row`, is streamed by vectors of N: where it has at least `least`,
// and all of them are aligned.
template <int N, class T>
bool is_streamed(const T* to, int64_t row, int64_t count, int64_t least) {
    return count >= least && row % N == 0 && reinterpret_cast<std::uintptr_t>(to) % (N * sizeof(T)) == 0;
}

// Fetches the cache lines that hold `count` numbers. Inline, as GCC removes calls of functions that only prefetch.
template <class T>
INLINE void prefetch(const T* from, int count) {
    UNROLL for (int i = 0; i < int(count * sizeof(T)); i += 64)
        __builtin_prefetch(reinterpret_cast<const char*>(from) + i);
}

}  // namespace
