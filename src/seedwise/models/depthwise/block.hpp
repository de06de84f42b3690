// A frozen inverted residual in one pass: a 1x1 convolution that widens (or none), a depthwise one, a 1x1 one that
// narrows, and the shortcut. The wide maps, which are most of what the layers would write and read, stay in the L2 cache.
//
// A task takes some output rows of an image. For 32 wide channels at a time it computes the widened rows into a staged
// sheet (see depthwise.cpp) and the depthwise convolution from there; what that gives is multiplied at the end, when all
// wide channels of a pixel stand side by side. Rows that two tasks need are widened twice.

#pragma once

#include "norms.hpp"

namespace {

struct Block {  // weights are [out, in] or [c, K * K], without gaps; each bias has a number a channel
    const float *x, *widen, *widen_bias, *taps, *bias, *narrow, *narrow_bias;  // `widen` and its bias may be null
    int64_t c, out_c;
    bool shortcut;
    const float* limits;  // what holds the widened and the depthwise map: low, high, low, high
};

// A weight [outs, depth] as [vectors of outs][depth]; zeros past the last. `vecs` of them.
inline void stage_product(const float* weight, int64_t outs, int64_t depth, int64_t vecs, vec* to) {
    for (int64_t v = 0; v < vecs; ++v)
        for (int64_t k = 0; k < depth; ++k)
            for (int i = 0; i < LANES; ++i) {
                const int64_t out = v * LANES + i;
                to[v * depth + k][i] = out < outs ? weight[out * depth + k] : 0.0f;
            }
}

inline void stage_bias(const float* bias, int64_t count, int64_t vecs, vec* to) {
    for (int64_t v = 0; v < vecs; ++v)
        for (int i = 0; i < LANES; ++i) to[v][i] = v * LANES + i < count ? bias[v * LANES + i] : 0.0f;
}

// The products of R lines, `stride` floats apart, with U vectors of a staged weight, from the bias on.
template <int R, int U>
inline void product_tile(const float* lines, int64_t stride, int64_t depth, const vec* w, const vec* bias,
                         vec (&sum)[R][U]) {
    UNROLL for (int r = 0; r < R; ++r)
        UNROLL for (int u = 0; u < U; ++u) sum[r][u] = bias[u];
    UNROLL_TWICE for (int64_t k = 0; k < depth; ++k) {
        vec weight[U];
        UNROLL for (int u = 0; u < U; ++u) weight[u] = w[u * depth + k];
        UNROLL for (int r = 0; r < R; ++r) {
            const float value = lines[r * stride + k];
            UNROLL for (int u = 0; u < U; ++u) sum[r][u] += value * weight[u];
        }
    }
}

inline vec held(vec value, float low, float high) {  // NaN stays NaN
    const vec lowest = vec{} + low, highest = vec{} + high;
    value = value < lowest ? lowest : value;
    return value > highest ? highest : value;
}

template <int R, int U>
inline void widen_tile(const float* x, int64_t c, const vec* w, const vec* bias, const float* limits, vec* to) {
    vec sum[R][U];
    product_tile<R, U>(x, c, c, w, bias, sum);
    UNROLL for (int r = 0; r < R; ++r)
        UNROLL for (int u = 0; u < U; ++u) to[r * VECS + u] = held(sum[r][u], limits[0], limits[1]);
}

// A row of `width` pixels, widened to `vecs` vectors of a block.
template <int U>
NOINLINE void widen_row(const float* x, int64_t c, int width, const vec* w, const vec* bias, const float* limits,
                        int vecs, vec* to) {
    for (int v = 0; v < vecs; v += U, w += U * c, bias += U, to += U) {
        int i = 0;
        for (; i + 6 <= width; i += 6) widen_tile<6, U>(x + i * c, c, w, bias, limits, to + i * VECS);
        for (; i + 2 <= width; i += 2) widen_tile<2, U>(x + i * c, c, w, bias, limits, to + i * VECS);
        for (; i < width; ++i) widen_tile<1, U>(x + i * c, c, w, bias, limits, to + i * VECS);
    }
}

template <int R, int U>
inline void narrow_tile(const float* lines, int64_t stride, int64_t depth, const vec* w, const vec* bias,
                        const float* shortcut, int64_t out_c, int64_t rest, float* out) {
    vec sum[R][U];
    product_tile<R, U>(lines, stride, depth, w, bias, sum);
    UNROLL for (int r = 0; r < R; ++r)
        UNROLL for (int u = 0; u < U; ++u) {
            const int64_t at = r * out_c + u * LANES;
            if (rest - u * LANES >= LANES) {
                store(out + at, shortcut ? sum[r][u] + load(shortcut + at) : sum[r][u]);
            } else {
                for (int i = 0; i < rest - u * LANES; ++i)
                    out[at + i] = shortcut ? sum[r][u][i] + shortcut[at + i] : sum[r][u][i];
            }
        }
}

// `count` pixels: [count, stride] times a staged weight -> [count, out_c], for U vectors of the latter.
template <int R, int U>
NOINLINE void narrow_lines(const float* lines, int64_t stride, int64_t depth, const vec* w, const vec* bias,
                           const float* shortcut, int64_t out_c, int64_t rest, int64_t count, float* out) {
    int64_t i = 0;
    const auto from = [&] { return shortcut ? shortcut + i * out_c : nullptr; };
    for (; i + R <= count; i += R)
        narrow_tile<R, U>(lines + i * stride, stride, depth, w, bias, from(), out_c, rest, out + i * out_c);
    for (; i + 2 <= count; i += 2)
        narrow_tile<2, U>(lines + i * stride, stride, depth, w, bias, from(), out_c, rest, out + i * out_c);
    for (; i < count; ++i)
        narrow_tile<1, U>(lines + i * stride, stride, depth, w, bias, from(), out_c, rest, out + i * out_c);
}

template <int K, int S>
struct BlockJob {
    const Shape<K, S> shape;  // of the depthwise convolution
    const Block& block;
    float* out;
    int64_t wide, narrow;  // vectors of a pixel
    const vec *widen, *widen_bias, *taps, *bias, *weight, *narrow_bias;  // staged

    // Some output rows of image n.
    void run(int64_t n, Span rows, vec* memory) const {
        const float* image = block.x + n * shape.h * shape.w * block.c;
        const Sheet sheet{memory, shape.x_rows(rows), shape.x_columns()};
        vec* const line = memory + sheet.rows.size() * sheet.row_size();
        vec* const mid = line + shape.ow * VECS;
        if (widen) clear_sides(sheet);
        for (int b = 0; b < shape.blocks(); ++b) {
            const int channels = int(std::min<int64_t>(BLOCK, shape.c - b * BLOCK));
            if (widen)
                fill(image, sheet, b, (channels + LANES - 1) / LANES);
            else
                stage(image + b * BLOCK, block.c, int(shape.w), channels, int(shape.left), sheet);
            for (int o = rows.begin; o < rows.end; ++o) {
                const Span ky = shape.kernel_rows(o);
                const vec* from = sheet.at(0, o * S - int(shape.top) + ky.begin, 0);
                dot_row<K, S>(from, sheet.row_size(), taps + (b * K + ky.begin) * K * VECS, std::max(0, ky.size()),
                              int(shape.ow), line);
                vec* to = mid + (o - rows.begin) * shape.ow * wide + b * VECS;
                for (int x = 0; x < shape.ow; ++x, to += wide)
                    UNROLL for (int v = 0; v < VECS; ++v)
                        to[v] = held(line[x * VECS + v] + bias[b * VECS + v], block.limits[2], block.limits[3]);
            }
        }
        multiply(reinterpret_cast<const float*>(mid), rows, n);
    }

    void clear_sides(const Sheet& sheet) const {
        for (int row = sheet.rows.begin; row < sheet.rows.end; ++row) {
            vec* line = const_cast<vec*>(sheet.at(0, row, 0));
            std::fill(line, line + shape.left * VECS, vec{});
            std::fill(line + (shape.left + shape.w) * VECS, line + sheet.row_size(), vec{});
        }
    }

    // The widened rows of a block; its lanes past the last channel are left as they are, for nothing reads them.
    void fill(const float* image, const Sheet& sheet, int b, int vecs) const {
        const vec *w = widen + b * VECS * block.c, *from = widen_bias + b * VECS;
        for (int row = sheet.rows.begin; row < sheet.rows.end; ++row) {
            const float* x = image + row * shape.w * block.c;
            vec* to = const_cast<vec*>(sheet.at(0, row, int(shape.left)));
            if (vecs % 2 == 0)
                widen_row<2>(x, block.c, int(shape.w), w, from, block.limits, vecs, to);
            else
                widen_row<1>(x, block.c, int(shape.w), w, from, block.limits, vecs, to);
        }
    }

    void multiply(const float* mid, Span rows, int64_t n) const {
        const int64_t first = (n * shape.oh + rows.begin) * shape.ow, count = rows.size() * shape.ow;
        const int64_t stride = wide * LANES, depth = shape.c;
        for (int64_t v = 0; v < narrow;) {
            const int64_t left = narrow - v, at = first * block.out_c + v * LANES, rest = block.out_c - v * LANES;
            const vec *w = weight + v * depth, *b = narrow_bias + v;
            const float* shortcut = block.shortcut ? block.x + at : nullptr;
            if (left == 3 || left > 4) {
                narrow_lines<4, 3>(mid, stride, depth, w, b, shortcut, block.out_c, rest, count, out + at);
                v += 3;
            } else if (left >= 2) {
                narrow_lines<6, 2>(mid, stride, depth, w, b, shortcut, block.out_c, rest, count, out + at);
                v += 2;
            } else {
                narrow_lines<8, 1>(mid, stride, depth, w, b, shortcut, block.out_c, rest, count, out + at);
                v += 1;
            }
        }
    }
};

template <int K, int S>
int run_block(const Block& block, float* out, const Geometry& geometry, int threads) {
    const Shape<K, S> shape(geometry);
    const int64_t blocks = shape.blocks(), wide = blocks * VECS, narrow = (block.out_c + LANES - 1) / LANES;
    const auto vectors = [&](int64_t rows) {
        const int64_t staged = std::min<int64_t>(shape.h, (rows - 1) * S + K) * shape.x_columns() * VECS;
        return staged + shape.ow * VECS + rows * shape.ow * wide;
    };
    int64_t rows = shape.oh;
    while (rows > 1 && vectors(rows) * LANES > CACHED) rows = (rows + 1) / 2;
    const int64_t strips = (shape.oh + rows - 1) / rows, tasks = shape.n * strips, each = vectors(rows);
    const int64_t sizes[] = {block.widen ? wide * block.c : 0, wide, wide * K * K, wide, narrow * shape.c, narrow};
    int64_t total = 0;
    for (int64_t size : sizes) total += size;
    const Memory weights(total), staged(each * threads);
    if (!weights.data || !staged.data) return 2;
    vec* parts[6] = {weights.data};
    for (int i = 1; i < 6; ++i) parts[i] = parts[i - 1] + sizes[i - 1];
    if (block.widen) {
        stage_product(block.widen, shape.c, block.c, wide, parts[0]);
        stage_bias(block.widen_bias, shape.c, wide, parts[1]);
    }
    for (int64_t b = 0; b < blocks; ++b) stage_weight(block.taps, shape.c, K * K, false, b, parts[2]);
    stage_bias(block.bias, shape.c, wide, parts[3]);
    stage_product(block.narrow, block.out_c, shape.c, narrow, parts[4]);
    stage_bias(block.narrow_bias, block.out_c, narrow, parts[5]);
    const BlockJob<K, S> job{shape, block, out, wide, narrow, block.widen ? parts[0] : nullptr, parts[1], parts[2],
                             parts[3], parts[4], parts[5]};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int slot = 0; slot < threads; ++slot)
        for (int64_t task = tasks * slot / threads; task < tasks * (slot + 1) / threads; ++task) {
            const int64_t begin = task % strips * rows;
            const Span some{int(begin), int(std::min<int64_t>(shape.oh, begin + rows))};
            job.run(task / strips, some, staged.data + each * slot);
        }
    return 0;
}

}  // namespace
