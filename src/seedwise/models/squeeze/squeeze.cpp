// What squeeze-and-excitation sums up backwards, over maps [n, pixels, c] in fp32 with channels side by side (PyTorch's
// channels_last): the products of two of them, over each image's pixels. PyTorch would write the products out.
//
// It is bound by memory. Rows are read in their order, several at once; the last image, which may still be in the cache,
// comes first. An image belongs to one thread, so the bits don't depend on how many there are.

#include <cstdint>

#include "../simd.hpp"

namespace {

constexpr int ROWS = 4;                   // that a sum takes at once
constexpr int64_t AHEAD = 512;            // numbers to fetch ahead: the processor's own prefetching ends with a page
constexpr int64_t LINE = 16;              // numbers of a cache line
constexpr int64_t PARALLEL = 128 * 1024;  // numbers; below, waking a thread costs more than it saves

// sums[c] = the sums over R rows, plus what they hold if `add`.
template <int R>
inline void add_rows(const float* x, const float* y, int64_t c, bool add, float* sums) {
    int64_t j = 0;
    for (; j + LANES <= c; j += LANES) {
        vec sum = add ? load(sums + j) : vec{};
        UNROLL for (int64_t row = 0; row < R; ++row) {
            const int64_t at = row * c + j;
            if (at % LINE == 0) {
                __builtin_prefetch(x + at + AHEAD);
                __builtin_prefetch(y + at + AHEAD);
            }
            sum += load(x + at) * load(y + at);
        }
        store(sums + j, sum);
    }
    for (; j < c; ++j) {
        float sum = add ? sums[j] : 0.0f;
        for (int64_t row = 0; row < R; ++row) sum += x[row * c + j] * y[row * c + j];
        sums[j] = sum;
    }
}

void sum_image(const float* x, const float* y, int64_t pixels, int64_t c, float* sums) {
    int64_t pixel = 0;
    for (; pixel + ROWS <= pixels; pixel += ROWS) add_rows<ROWS>(x + pixel * c, y + pixel * c, c, pixel > 0, sums);
    for (; pixel < pixels; ++pixel) add_rows<1>(x + pixel * c, y + pixel * c, c, pixel > 0, sums);
}

}  // namespace

// sums[n, c] of x * y.
extern "C" void squeeze_dots(const float* x, const float* y, int64_t n, int64_t pixels, int64_t c, float* sums,
                             int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && n * pixels * c >= PARALLEL)
    for (int64_t i = 0; i < n; ++i) {
        const int64_t image = n - 1 - i, at = image * pixels * c;
        sum_image(x + at, y + at, pixels, c, sums + image * c);
    }
}
