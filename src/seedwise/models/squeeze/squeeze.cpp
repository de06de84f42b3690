// The passes of squeeze-and-excitation over its maps, [n, pixels, c] in fp32 with channels side by side (PyTorch's
// channels_last): means and sums over an image's pixels, and products with one number for each image and channel.
//
// All are bound by memory. Rows are read in their order, several at once where a sum is taken; a pass that follows
// another over the same maps begins at the last image, which is still in the cache. An image belongs to one thread, so
// the bits don't depend on how many there are.

#include <algorithm>
#include <cstdint>

#include "../simd.hpp"

namespace {

#define INLINE __attribute__((always_inline)) inline
#define LAMBDA_INLINE __attribute__((always_inline))

constexpr int ROWS = 4;                         // that a sum takes at once
constexpr int64_t AHEAD = 512;                  // numbers to fetch ahead: the processor's own prefetching ends with a page
constexpr int64_t LINE = 16;                    // numbers of a cache line
constexpr int64_t PARALLEL = 128 * 1024;        // numbers; below, waking a thread costs more than it saves
constexpr int64_t STREAMED = 4 * 1024 * 1024;   // numbers of maps too large to stay in the cache until they are read

struct Maps {
    int64_t n, pixels, c;
    // body(image) for all; a thread's begin with the last.
    template <class Body>
    void each(int threads, Body body) const {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && n * pixels * c >= PARALLEL)
        for (int64_t i = 0; i < n; ++i) body(n - 1 - i);
    }
};

INLINE void fetch(const float* from, int64_t j) {
    if (j % LINE == 0) __builtin_prefetch(from + AHEAD);
}

// sums[j] = the sum over R rows of term(row, j, Vector{}), plus what it holds if `add`.
template <int R, class Term>
INLINE void add_rows(int64_t c, bool add, float* sums, Term term) {
    int64_t j = 0;
    for (; j + LANES <= c; j += LANES) {
        vec sum = add ? load(sums + j) : vec{};
        UNROLL for (int row = 0; row < R; ++row) sum += term(row, j, vec{});
        store(sums + j, sum);
    }
    for (; j < c; ++j) {
        float sum = add ? sums[j] : 0.0f;
        for (int row = 0; row < R; ++row) sum += term(row, j, float{});
        sums[j] = sum;
    }
}

INLINE vec get(const float* from, vec) { return load(from); }
INLINE float get(const float* from, float) { return *from; }

// sums[c]: over an image's pixels, of term(offset of an element, j, Vector{}).
template <class Term>
INLINE void sum_image(const Maps& maps, float* sums, Term term) {
    int64_t pixel = 0;
    for (; pixel + ROWS <= maps.pixels; pixel += ROWS)
        add_rows<ROWS>(maps.c, pixel > 0, sums, [&](int row, int64_t j, auto kind) LAMBDA_INLINE {
            return term((pixel + row) * maps.c + j, kind);
        });
    for (; pixel < maps.pixels; ++pixel)
        add_rows<1>(maps.c, pixel > 0, sums, [&](int, int64_t j, auto kind) LAMBDA_INLINE {
            return term(pixel * maps.c + j, kind);
        });
}

// to = from * factors + more (null: nothing), rows of c numbers.
template <bool STREAM, bool MORE>
INLINE void scale_image(const Maps& maps, const float* from, const float* factors, const float* more, float* to) {
    for (int64_t pixel = 0; pixel < maps.pixels; ++pixel, from += maps.c, to += maps.c) {
        int64_t j = 0;
        for (; j + LANES <= maps.c; j += LANES) {
            fetch(from + j, j);
            vec value = load(from + j) * load(factors + j);
            if constexpr (MORE) value += load(more + j);
            if constexpr (STREAM)
                stream(to + j, value);
            else
                store(to + j, value);
        }
        for (; j < maps.c; ++j) to[j] = from[j] * factors[j] + (MORE ? more[j] : 0.0f);
    }
}

template <bool MORE>
void scale(const Maps& maps, const float* from, const float* factors, const float* more, float* to, int threads) {
    const int64_t image = maps.pixels * maps.c;
    const bool streamed = maps.n * image >= STREAMED && maps.c % LANES == 0 && reinterpret_cast<uintptr_t>(to) % 64 == 0;
    maps.each(threads, [&](int64_t i) {
        const int64_t at = i * image, row = i * maps.c;
        if (streamed) {
            scale_image<true, MORE>(maps, from + at, factors + row, more + row, to + at);
            finish_stream();
        } else {
            scale_image<false, MORE>(maps, from + at, factors + row, more + row, to + at);
        }
    });
}

}  // namespace

// means[n, c] of x.
extern "C" void squeeze_means(const float* x, int64_t n, int64_t pixels, int64_t c, float* means, int threads) {
    const Maps maps{n, pixels, c};
    maps.each(threads, [&](int64_t i) {
        const float* const from = x + i * pixels * c;
        float* const to = means + i * c;
        sum_image(maps, to, [&](int64_t at, auto kind) LAMBDA_INLINE {
            fetch(from + at, at);
            return get(from + at, kind);
        });
        const float share = 1.0f / static_cast<float>(pixels);
        for (int64_t j = 0; j < c; ++j) to[j] *= share;
    });
}

// sums[n, c] of x * y.
extern "C" void squeeze_dots(const float* x, const float* y, int64_t n, int64_t pixels, int64_t c, float* sums,
                             int threads) {
    const Maps maps{n, pixels, c};
    maps.each(threads, [&](int64_t i) {
        const float *const one = x + i * pixels * c, *const two = y + i * pixels * c;
        sum_image(maps, sums + i * c, [&](int64_t at, auto kind) LAMBDA_INLINE {
            fetch(one + at, at);
            fetch(two + at, at);
            return get(one + at, kind) * get(two + at, kind);
        });
    });
}

// y = x * factors[n, c] + more[n, c] (null: nothing).
extern "C" void squeeze_scale(const float* x, const float* factors, const float* more, int64_t n, int64_t pixels,
                              int64_t c, float* y, int threads) {
    const Maps maps{n, pixels, c};
    if (more != nullptr)
        scale<true>(maps, x, factors, more, y, threads);
    else
        scale<false>(maps, x, factors, factors, y, threads);
}
