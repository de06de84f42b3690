// The five small transforms of F(4x4, 3x3), and the product of matrices between them. See conv3x3.cpp.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "gemm_tile.hpp"

namespace {

constexpr int TILE = 4, KERNEL = 3, SIDE = TILE + KERNEL - 1, POSITIONS = SIDE * SIDE;
#if defined(__AVX512F__)
constexpr int ROWS = 12, VECS = 2;  // of a product's block: 24 sums, 2 + 1 operands, in 32 registers
#else
constexpr int ROWS = 6, VECS = 2;  // of a product's block: 12 sums, 2 + 1 operands, in 16 registers
#endif
constexpr int PANEL = VECS * LANES;  // columns of a block

// Interpolation is at 0, ±A, ±B and infinity. The usual ±1 and ±2 make the largest error three to four times as large
// (as do ±1 and ±1/2): powers of these are nearer to 1. All their powers up to the fourth are exact in binary.
constexpr float A = 0.625f, B = 1.5f, A2 = A * A, B2 = B * B, A3 = A2 * A, B3 = B2 * B;
constexpr float AT_ZERO = 1 / (A2 * B2), AT_A = 1 / (2 * A2 * (A2 - B2)), AT_B = 1 / (2 * B2 * (B2 - A2));

struct OfImage {  // B^T, for an image's tile
    static constexpr int from = SIDE, to = SIDE;
    INLINE static void line(const vec* d, vec* v) {
        const vec even_a = fused(-B2, d[2], d[4]), odd_a = fused(-B2, d[1], d[3]);
        const vec even_b = fused(-A2, d[2], d[4]), odd_b = fused(-A2, d[1], d[3]);
        v[0] = fused(A2 * B2, d[0], fused(-(A2 + B2), d[2], d[4]));
        v[1] = fused(A, odd_a, even_a);
        v[2] = fused(-A, odd_a, even_a);
        v[3] = fused(B, odd_b, even_b);
        v[4] = fused(-B, odd_b, even_b);
        v[5] = fused(A2 * B2, d[1], fused(-(A2 + B2), d[3], d[5]));
    }
};

struct OfWeight {  // G
    static constexpr int from = KERNEL, to = SIDE;
    INLINE static void line(const vec* g, vec* u) {
        const vec even_a = AT_A * fused(A2, g[2], g[0]), even_b = AT_B * fused(B2, g[2], g[0]);
        u[0] = AT_ZERO * g[0];
        u[1] = fused(AT_A * A, g[1], even_a);
        u[2] = fused(-AT_A * A, g[1], even_a);
        u[3] = fused(AT_B * B, g[1], even_b);
        u[4] = fused(-AT_B * B, g[1], even_b);
        u[5] = g[2];
    }
};

struct ToWeight {  // G^T
    static constexpr int from = SIDE, to = KERNEL;
    INLINE static void line(const vec* u, vec* g) {
        const vec even_a = AT_A * (u[1] + u[2]), odd_a = (AT_A * A) * (u[1] - u[2]);
        const vec even_b = AT_B * (u[3] + u[4]), odd_b = (AT_B * B) * (u[3] - u[4]);
        g[0] = fused(AT_ZERO, u[0], even_a + even_b);
        g[1] = odd_a + odd_b;
        g[2] = fused(A2, even_a, fused(B2, even_b, u[5]));
    }
};

struct ToResult {  // A^T
    static constexpr int from = SIDE, to = TILE;
    INLINE static void line(const vec* m, vec* y) {
        const vec even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
        y[0] = m[0] + (even_a + even_b);
        y[1] = fused(A, odd_a, B * odd_b);
        y[2] = fused(A2, even_a, B2 * even_b);
        y[3] = fused(A3, odd_a, fused(B3, odd_b, m[5]));
    }
};

struct OfGradient {  // A, for a tile of the result's gradient
    static constexpr int from = TILE, to = SIDE;
    INLINE static void line(const vec* y, vec* d) {
        const vec even_a = fused(A2, y[2], y[0]), odd_a = fused(A3, y[3], A * y[1]);
        const vec even_b = fused(B2, y[2], y[0]), odd_b = fused(B3, y[3], B * y[1]);
        d[0] = y[0];
        d[1] = even_a + odd_a;
        d[2] = even_a - odd_a;
        d[3] = even_b + odd_b;
        d[4] = even_b - odd_b;
        d[5] = y[3];
    }
};

// A transform along both axes, of W vectors side by side: load(row, column, w), store(row, column, w, value). Stores of
// a pixel's vectors follow each other, so that whole cache lines are written.
template <class Transform, int W, class Load, class Store>
INLINE void transform(Load load_at, Store store_at) {
    constexpr int from = Transform::from, to = Transform::to;
    vec partial[W][to][from];
    UNROLL for (int w = 0; w < W; ++w) UNROLL for (int x = 0; x < from; ++x) {
        vec in[from], out[to];
        UNROLL for (int y = 0; y < from; ++y) in[y] = load_at(y, x, w);
        Transform::line(in, out);
        UNROLL for (int y = 0; y < to; ++y) partial[w][y][x] = out[y];
    }
    UNROLL for (int y = 0; y < to; ++y) {
        vec out[W][to];
        UNROLL for (int w = 0; w < W; ++w) Transform::line(partial[w][y], out[w]);
        UNROLL for (int x = 0; x < to; ++x) UNROLL for (int w = 0; w < W; ++w) store_at(y, x, w, out[w][x]);
    }
}

// R rows and W vectors of a product of matrices, [R, length] x [length, W * LANES], plus what `sums` hold if `add`.
// ALONG: a sum runs along the rows of `a`, `stride` apart; otherwise down its columns, as for a transposed matrix.
template <int R, int W, bool ALONG>
INLINE void multiply(const float* a, int64_t stride, const float* b, int64_t length, bool add, float* sums) {
    vec sum[R][W];
    UNROLL for (int r = 0; r < R; ++r)
        UNROLL for (int w = 0; w < W; ++w) sum[r][w] = add ? load(sums + (r * W + w) * LANES) : vec{};
    add_products<R, W>({a, ALONG ? stride : 1, ALONG ? 1 : stride}, {reinterpret_cast<const vec*>(b), W}, length, sum);
    UNROLL for (int r = 0; r < R; ++r)
        UNROLL for (int w = 0; w < W; ++w) store(sums + (r * W + w) * LANES, sum[r][w]);
}

}  // namespace
