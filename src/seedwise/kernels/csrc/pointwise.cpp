// The three products of a 1x1 convolution, each split among threads, every part by BLAS on one of them. BLAS's own
// threads pack the factors together and wait for each other on the way, which takes long where products are small.
//
// Matrices are fp32, rows after rows: images [m, in], weight [out, in], result [m, out].

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "code.hpp"
#include "epilogue.hpp"

namespace {

typedef void (*Sgemm)(const char* turn_a, const char* turn_b, const int* m, const int* n, const int* k,
                      const float* alpha, const float* a, const int* row_a, const float* b, const int* row_b,
                      const float* beta, float* c, const int* row_c);

constexpr int64_t CACHED = 1 << 18;  // numbers of a result that stay in a core's own cache
constexpr int64_t MIN_ROWS = 96;     // to a product: for fewer, packing the weight takes too large a part

struct Factor {
    const float* at;
    int64_t row;
    bool transposed;
    Factor rows_from(int64_t i) const { return {transposed ? at + i : at + i * row, row, transposed}; }
    Factor columns_from(int64_t i) const { return {transposed ? at + i * row : at + i, row, transposed}; }
};

// to[m, n] = a [m, k] times b [k, n]. BLAS goes down columns: what it takes for these matrices is their transposes.
void multiply(Sgemm sgemm, int m, int n, int k, Factor a, Factor b, float* to, int row) {
    const float one = 1, zero = 0;
    const int row_a = int(a.row), row_b = int(b.row);
    if (m > 0 && n > 0)
        sgemm(b.transposed ? "T" : "N", a.transposed ? "T" : "N", &n, &m, &k, &one, b.at, &row_b, a.at, &row_a, &zero,
              to, &row);
}

// Each thread its part of the result's longer side: it packs that part of one factor, and the whole of the other.
void split(Sgemm sgemm, int m, int n, int k, Factor a, Factor b, float* to, int threads) {
#pragma omp parallel num_threads(threads)
    {
        const int64_t me = omp_get_thread_num(), team = omp_get_num_threads(), length = std::max(m, n);
        const int64_t begin = length * me / team, part = length * (me + 1) / team - begin;
        if (m >= n)
            multiply(sgemm, int(part), n, k, a.rows_from(begin), b, to + begin * n, n);
        else
            multiply(sgemm, m, int(part), k, a, b.columns_from(begin), to + begin, n);
    }
}

template <Epilogue E>
void add_epilogue(float* rows, int64_t count, int64_t n, const float* bias) {
    for (float* row = rows; row != rows + count * n; row += n)
        for (int64_t j = 0; j < n; j += LANES)
            store_part(row + j, with_epilogue<E>(load_part(row + j, n - j), load_part(bias + j, n - j)), n - j);
}

// The same by rows, some at a time, which get the epilogue while they are in the cache.
template <Epilogue E>
void by_rows(Sgemm sgemm, int m, int n, int k, Factor a, Factor b, const float* bias, float* to, int threads) {
    const int64_t most = std::max<int64_t>(MIN_ROWS, CACHED / n);
#pragma omp parallel num_threads(threads)
    {
        const int64_t me = omp_get_thread_num(), team = omp_get_num_threads(), end = m * (me + 1) / team;
        for (int64_t first = m * me / team, rows; first < end; first += rows) {
            rows = std::min(most, end - first);
            multiply(sgemm, int(rows), n, k, a.rows_from(first), b, to + first * n, n);
            add_epilogue<E>(to + first * n, rows, n, bias);
        }
    }
}

}  // namespace

// `bias`: [out] or null; `silu`: whether it follows a bias.
extern "C" Code split_forward(const float* images, const float* weight, const float* bias, float* result, void* sgemm,
                              int m, int in, int out, int silu, int threads) {
    const Factor a{images, in, false}, b{weight, in, true};
    switch (epilogue_of(bias, silu)) {
        case Epilogue::none: split(Sgemm(sgemm), m, out, in, a, b, result, threads); break;
        case Epilogue::bias: by_rows<Epilogue::bias>(Sgemm(sgemm), m, out, in, a, b, bias, result, threads); break;
        case Epilogue::silu: by_rows<Epilogue::silu>(Sgemm(sgemm), m, out, in, a, b, bias, result, threads); break;
    }
    return DONE;
}

extern "C" Code split_images_gradient(const float* grad, const float* weight, float* result, void* sgemm, int m, int in,
                                      int out, int threads) {
    split(Sgemm(sgemm), m, in, out, {grad, out, false}, {weight, in, false}, result, threads);
    return DONE;
}

extern "C" Code split_weight_gradient(const float* grad, const float* images, float* result, void* sgemm, int m, int in,
                                      int out, int threads) {
    split(Sgemm(sgemm), out, in, m, {grad, out, true}, {images, in, false}, result, threads);
    return DONE;
}
