// What a BatchNorm with its activation does to one chunk of rows, and what is merged between. See batch_norm.cpp.
#pragma once

#include "batch_norm_rows.hpp"
#include "moments.hpp"

namespace {

struct Forward {
    const void *x, *plus;  // what is added to the result, laid out like it; or null
    void* y;               // null: only the statistics are wanted
    int64_t m, c;
    NormStep step;
};

// Mean and sum of squared deviations of a chunk's rows. Sums are of differences to the mean k of its first eight rows:
// (k - mean)^2 is at most an eighth of the sum of squares, so little cancels however far from 0 the values are.
// `rows(first, count)` points at what a tile holds.
template <class T, class Source>
INLINE void moments(Source rows, const Job& job, int64_t chunk) {
    const int64_t c = job.c, size = job.chunks.size(chunk), probe = std::min<int64_t>(8, size);
    float* k = job.scratch;
    const T* first = rows(chunk * job.chunks.rows, probe);
    over_channels(c, [&](auto n, int64_t j)
  LAMBDA_INLINE {
        constexpr int N = decltype(n)::value;
        F<N> sum{};
        for (int64_t i = 0; i < probe; ++i) sum += load<N>(first + i * c + j);
        store<N>(k + j, sum / (F<N>{} + static_cast<float>(probe)));
    });
    double *mean = job.part(chunk), *squares = mean + c;
    sum_chunk<8, T>(job, chunk, rows, nullptr, k + c, mean, [=](auto n, const T* x, int64_t, int64_t j) LAMBDA_INLINE {
        constexpr int N = decltype(n)::value;
        const F<N> d = load<N>(x) - load<N>(k + j);
        return Term<N>{d, d};
    });
    for (int64_t j = 0; j < c; ++j) {
        const double left = squares[j] - mean[j] * mean[j] / size;
        squares[j] = left < 0.0 ? 0.0 : left;
        mean[j] = k[j] + mean[j] / size;
    }
}

// From the chunks' moments to what the norm keeps; threads share the channels, and wait for each other.
void merge_moments(const Forward& f, const Job& job) {
    const int64_t c = job.c, tasks = (c + MERGED - 1) / MERGED, team = omp_get_num_threads();
    for (int64_t task = tasks * job.me / team; task < tasks * (job.me + 1) / team; ++task) {
        const int64_t first = task * MERGED, last = std::min(c, first + MERGED);
        merge_channels(
            f.step, c, first, last, static_cast<int>(job.chunks.count), static_cast<double>(job.m),
            [&](int chunk) { return job.part(chunk) + first; }, [&](int chunk) { return job.part(chunk) + c + first; },
            [&](int chunk) { return static_cast<double>(job.chunks.size(chunk)); });
    }
#pragma omp barrier
}

template <class T, int A>
void output(const T* x, const T* plus, T* y, const float* saved, const Job& job, int64_t chunk, bool stream) {
    const int64_t c = job.c, begin = chunk * job.chunks.rows * c, end = begin + job.chunks.size(chunk) * c;
    const float *mean = saved, *scale = saved + 2 * c, *shift = saved + 3 * c;
    for (int64_t row = begin; row < end; row += c)
        over_channels(c, [&](auto n, int64_t j) LAMBDA_INLINE {
            constexpr int N = decltype(n)::value;
            if (job.far) prefetch_rows<1>(x + row + j, c, j);
            const F<N> d = load<N>(x + row + j) - load<N>(mean + j);
            F<N> value = activate<A, N>(fused(d, load<N>(scale + j), load<N>(shift + j)));
            if (plus != nullptr) value += load<N>(plus + row + j);
            store<N>(y + row + j, value, stream);
        });
}

struct Backward {
    const void *grad, *x;
    void* grad_x;  // null: not wanted
    int64_t m, c;
    const float* saved;  // as Forward's
    float *grad_weight, *grad_bias;
    float* affine;  // [2, c]: where slope and offset are kept (null: they aren't), see merge_gradients
};

// Sums of the pre-activation's gradient g, and of g * (x - mean). SiLU's exp is dear: it keeps g where grad_x will be.
template <class T, int A>
void gradient_sums(const T* grad, const T* x, T* grad_x, const float* saved, const Job& job, int64_t chunk) {
    const float *mean = saved, *scale = saved + 2 * job.c, *shift = saved + 3 * job.c;
    double* out = job.part(chunk);
    const auto rows = [&](int64_t row, int64_t) { return x + row * job.c; };
    sum_chunk<1, T>(
        job, chunk, rows, grad, job.scratch, out, [=](auto n, const T* at, int64_t element, int64_t j) LAMBDA_INLINE {
            constexpr int N = decltype(n)::value;
            const F<N> d = load<N>(at) - load<N>(mean + j);
            const F<N> g =
                activate_backward<A, N>(fused(d, load<N>(scale + j), load<N>(shift + j)), load<N>(grad + element));
            if (A == kSilu && grad_x != nullptr) store<N>(grad_x + element, g);
            return Term<N>{g, d};
        });
}

// From the chunks' sums to the parameters' gradients, and to grad_x = scale * g + slope * (x - mean) + offset.
void merge_gradients(const Backward& b, const Job& job) {
    const int64_t c = job.c;
    double *sum = job.totals, *dot = sum + c;
    const double m = static_cast<double>(job.m);
    std::fill(sum, sum + 2 * c, 0.0);
    for (int64_t chunk = 0; chunk < job.chunks.count; ++chunk) {
        const double* part = job.part(chunk);
        for (int64_t j = 0; j < 2 * c; ++j) sum[j] += part[j];
    }
    for (int64_t j = 0; j < c; ++j) {
        const double inverse = b.saved[c + j], scale = b.saved[2 * c + j];
        job.scratch[j] = static_cast<float>(-scale * inverse * inverse * dot[j] / m);
        job.scratch[c + j] = static_cast<float>(-scale * sum[j] / m);
        if (job.me == 0) {
            b.grad_weight[j] = static_cast<float>(dot[j] * inverse);
            b.grad_bias[j] = static_cast<float>(sum[j]);
        }
    }
    if (job.me == 0 && b.affine != nullptr) std::copy(job.scratch, job.scratch + 2 * c, b.affine);
}

// `rows` rows of x's gradient, and whether they are far from this core's cache. `grad` is the output's gradient or, for
// kIdentity, the pre-activation's; then it may be grad_x.
template <class T, int A>
INLINE void gradient(const T* grad, const T* x, T* grad_x, int64_t rows, int64_t c, const float* saved,
                     const float* affine, bool far, bool stream) {
    const float *mean = saved, *scale = saved + 2 * c, *shift = saved + 3 * c, *slope = affine, *offset = slope + c;
    for (int64_t row = 0; row < rows * c; row += c)
        over_channels(c, [&](auto n, int64_t j) LAMBDA_INLINE {
            constexpr int N = decltype(n)::value;
            if (far) {
                prefetch_rows<1>(x + row + j, c, j);
                prefetch_rows<1>(grad + row + j, c, j);
            }
            const F<N> d = load<N>(x + row + j) - load<N>(mean + j), a = load<N>(scale + j);
            const F<N> g = activate_backward<A, N>(fused(d, a, load<N>(shift + j)), load<N>(grad + row + j));
            store<N>(grad_x + row + j, fused(g, a, fused(d, load<N>(slope + j), load<N>(offset + j))), stream);
        });
}

}  // namespace
