// Small products of matrices, from what is in the cache: the right factor's columns are vectors.

#pragma once

#include "tiles.hpp"

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

// U vectors of the product of `rows` rows: begin(row, u) is what a sum starts with, end(row, u, sum) takes it.
template <int R, int U, class Begin, class End>
inline void product_rows(Left a, Right b, int64_t depth, int64_t row, Begin begin, End end) {
    vec sum[R][U];
    UNROLL for (int r = 0; r < R; ++r) UNROLL for (int u = 0; u < U; ++u) sum[r][u] = begin(row + r, u);
    const float* from = a.from(row).at;
    const vec* column = b.at;
    UNROLL_TWICE for (int64_t k = 0; k < depth; ++k, from += a.k, column += b.row) {
        vec of[U];
        UNROLL for (int u = 0; u < U; ++u) of[u] = column[u];
        UNROLL for (int r = 0; r < R; ++r) {
            const float factor = from[r * a.row];
            UNROLL for (int u = 0; u < U; ++u) sum[r][u] += factor * of[u];
        }
    }
    UNROLL for (int r = 0; r < R; ++r) UNROLL for (int u = 0; u < U; ++u) end(row + r, u, sum[r][u]);
}

template <int U, class Begin, class End>
inline void product_panel(Left a, Right b, int64_t rows, int64_t depth, Begin begin, End end) {
    constexpr int R = TILE_ROWS<U>;
    int64_t row = 0;
    for (; row + R <= rows; row += R) product_rows<R, U>(a, b, depth, row, begin, end);
    for (; row + 4 <= rows; row += 4) product_rows<4, U>(a, b, depth, row, begin, end);
    for (; row < rows; ++row) product_rows<1, U>(a, b, depth, row, begin, end);
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
