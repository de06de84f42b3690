// Sums over the rows of a matrix [m, c] and a pass over them afterwards, in parallel. See batch_norm.cpp.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "batch_norm_vectors.hpp"
#include "code.hpp"

namespace {

constexpr int64_t kTile = 128;                // rows whose sums are kept in float
constexpr int64_t kMaxChunks = 64;            // what threads share
constexpr int64_t kMinChunkRows = 64;         // fewer would make merging as dear as summing
constexpr int64_t kMinParallel = 128 * 1024;  // elements; below, waking a thread costs more than it saves
constexpr int64_t kStream = 16 << 20;         // bytes of a tensor too large to stay in the cache until it is read
constexpr int64_t kFar = 4 << 20;             // bytes of a tensor that is not in a core's own cache
constexpr int64_t kAhead = 2048;              // bytes to prefetch ahead

template <class T>
bool should_stream(const T* to, int64_t m, int64_t c) {
    return is_streamed<kWide>(to, c, m * c, kStream / int64_t(sizeof(T)));
}

struct Chunks {
    int64_t m, rows, count;
    explicit Chunks(int64_t m) : m(m) {
        rows = std::max(kMinChunkRows, (m + kMaxChunks - 1) / kMaxChunks);
        rows = (rows + 7) / 8 * 8;
        count = (m + rows - 1) / rows;
    }
    int64_t size(int64_t chunk) const { return std::min(m, (chunk + 1) * rows) - chunk * rows; }
};

struct Job {
    int64_t m, c;
    Chunks chunks;
    int threads, me = 0;
    bool far;
    double *parts = nullptr, *totals = nullptr;  // [chunks, 2, c] and this thread's [2, c]
    float* scratch = nullptr;                    // this thread's [3, c]
    Job(int64_t m, int64_t c, int64_t bytes, int threads) : m(m), c(c), chunks(m), far(m * c * bytes >= kFar) {
        this->threads = m * c < kMinParallel ? 1 : std::min<int64_t>(std::max(threads, 1), chunks.count);
    }
    double* part(int64_t chunk) const { return parts + chunk * 2 * c; }
};

// sums(job, chunk) for all, then, when every thread is done, merge(job) and write(job, chunk) for all.
template <class Sums, class Merge, class Write>
INLINE Code run(const Job& plan, Sums sums, Merge merge, Write write) {
    const int64_t c = plan.c, count = plan.chunks.count;
    const std::unique_ptr<double[]> doubles(new (std::nothrow) double[(count + plan.threads) * 2 * c]);
    const std::unique_ptr<float[]> floats(new (std::nothrow) float[plan.threads * 3 * c]);
    if (!doubles || !floats) return NO_MEMORY;
#pragma omp parallel num_threads(plan.threads) if (plan.threads > 1)
    {
        Job job = plan;
        job.me = omp_get_thread_num();
        job.parts = doubles.get();
        job.totals = job.part(count + job.me);
        job.scratch = &floats[job.me * 3 * c];
        const int64_t team = omp_get_num_threads(), first = count * job.me / team, end = count * (job.me + 1) / team;
        for (int64_t chunk = first; chunk < end; ++chunk) sums(job, chunk);
#pragma omp barrier
        merge(job);
        for (int64_t chunk = end - 1; chunk >= first; --chunk) write(job, chunk);
        end_stream();
    }
    return DONE;
}

// R rows of c channels: what lies kAhead bytes further, where j begins a cache line.
template <int R, class T>
INLINE void prefetch_rows(const T* from, int64_t c, int64_t j) {
    if (j % static_cast<int64_t>(64 / sizeof(T)) != 0) return;
#pragma GCC unroll 8
    for (int row = 0; row < R; ++row) prefetch(from + row * c + kAhead / int64_t(sizeof(T)), 1);
}

template <int N>
struct Term {
    F<N> value, factor;
};

// Adds up, over a chunk's rows, terms: out[0 .. c - 1] their values, then their values times their factors.
// They read one(row, rows), which points at a tile's first element, and `two` at the same place (null: only one).
// It takes so many `Rows` at once: terms(Int<N>, pointer into one, element, channel).
template <int Rows, class T, class Source, class Terms>
INLINE void sum_chunk(const Job& job, int64_t chunk, Source one, const T* two, float* s, double* out, Terms terms) {
    const int64_t c = job.c, size = job.chunks.size(chunk);
    std::fill(out, out + 2 * c, 0.0);
    for (int64_t at = 0; at < size; at += kTile) {
        const int64_t start = (chunk * job.chunks.rows + at) * c, rows = std::min(kTile, size - at);
        const T* tile = one(chunk * job.chunks.rows + at, rows);
        std::fill(s, s + 2 * c, 0.0f);
        over_block<Rows>(rows, c, [&](auto n, auto r, int64_t i, int64_t j)
    LAMBDA_INLINE {
            constexpr int N = decltype(n)::value, R = decltype(r)::value;
            const int64_t element = start + i * c + j;
            const T* from = tile + i * c + j;
            if (job.far) {
                prefetch_rows<R>(from, c, j);
                if (two != nullptr) prefetch_rows<R>(two + element, c, j);
            }
            F<N> sum{}, products{};
#pragma GCC unroll 8
            for (int row = 0; row < R; ++row) {
                const Term<N> term = terms(n, from + row * c, element + row * c, j);
                sum += term.value;
                products = fused(term.value, term.factor, products);
            }
            store<N>(s + j, load<N>(s + j) + sum);
            store<N>(s + c + j, load<N>(s + c + j) + products);
        });
        for (int64_t j = 0; j < 2 * c; ++j) out[j] += s[j];
    }
}

}  // namespace
