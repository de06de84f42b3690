// Small products of matrices, from what is in the cache: the right factor's columns are vectors.

#pragma once

#include <cstdint>
#include <type_traits>

#include "vectors.hpp"

namespace {

// Rows of a tile with U vectors: R * U sums hide the latency of a multiply-add and leave registers for the operands.
template <int U>
constexpr int TILE_ROWS = LANES == 16 ? (U == 1 ? 12 : 8) : (U == 1 ? 8 : 6);

struct Left {  // element [row, k]
    const float* at;
    int64_t row, k;
    Left from(int64_t r) const { return {at + r * row, row, k}; }
};

struct Right {  // row k begins at at[k * row]
    const vec* at;
    int64_t row;
};

// Calls run(size, i) for `count` things from the first on, LARGEST at a time and the rest in smaller steps.
template <int LARGEST, class Run>
inline void in_steps(int64_t count, Run run, int64_t i = 0) {
    for (; i + LARGEST <= count; i += LARGEST) run(std::integral_constant<int, LARGEST>(), i);
    if constexpr (LARGEST > 1) in_steps<LARGEST / 2>(count, run, i);
}

// Adds R rows of a, multiplied with U vectors of each row of b.
template <int R, int U>
inline void add_products(Left a, Right b, int64_t depth, vec (&sum)[R][U]) {
    UNROLL_TWICE for (int64_t k = 0; k < depth; ++k, a.at += a.k, b.at += b.row) {
        vec of[U];
        UNROLL for (int u = 0; u < U; ++u) of[u] = b.at[u];
        UNROLL for (int r = 0; r < R; ++r) {
            const float factor = a.at[r * a.row];
            UNROLL for (int u = 0; u < U; ++u) sum[r][u] = fused(factor, of[u], sum[r][u]);
        }
    }
}

// U vectors of the product of `rows` rows: begin(row, u) is what a sum starts with, end(row, u, sum) takes it.
template <int U, class Begin, class End>
inline void product_panel(Left a, Right b, int64_t rows, int64_t depth, Begin begin, End end) {
    in_steps<TILE_ROWS<U>>(rows, [&](auto size, int64_t row) {
        constexpr int R = size.value;
        vec sum[R][U];
        UNROLL for (int r = 0; r < R; ++r) UNROLL for (int u = 0; u < U; ++u) sum[r][u] = begin(row + r, u);
        add_products<R, U>(a.from(row), b, depth, sum);
        UNROLL for (int r = 0; r < R; ++r) UNROLL for (int u = 0; u < U; ++u) end(row + r, u, sum[r][u]);
    });
}

// a [rows, depth] times b [depth, vecs vectors]; begin(row, vector) and end(row, vector, sum) as above.
template <class Begin, class End>
inline void product(Left a, Right b, int64_t rows, int64_t depth, int64_t vecs, Begin begin, End end) {
    int64_t v = 0;
    for (; v + 2 <= vecs; v += 2)
        product_panel<2>(
            a, {b.at + v, b.row}, rows, depth, [&](int64_t row, int u) { return begin(row, v + u); },
            [&](int64_t row, int u, vec sum) { end(row, v + u, sum); });
    if (v < vecs)
        product_panel<1>(
            a, {b.at + v, b.row}, rows, depth, [&](int64_t row, int) { return begin(row, v); },
            [&](int64_t row, int, vec sum) { end(row, v, sum); });
}

}  // namespace
