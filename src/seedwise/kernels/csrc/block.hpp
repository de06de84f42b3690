// A frozen inverted residual in one pass: a 1x1 convolution that expands (or none), a depthwise one, a 1x1 one that
// projects, and the shortcut. The expanded maps, which are most of what the layers would write and read, stay in the L2
// cache.
//
// A task takes some output rows of an image, or all of several small ones, whose weights it then reads once. For 32
// expanded channels at a time it computes the expanded rows into a staged sheet (see depthwise.cpp) and the depthwise
// convolution from there; what that gives is multiplied at the end, when all expanded channels of its pixels are there.
// Rows that two tasks need are expanded twice.

#pragma once

#include "code.hpp"
#include "depthwise_norms.hpp"
#include "gemm_tile.hpp"

namespace {

struct Block {  // weights are [out, in] or [c, K * K], without gaps; each bias has a number a channel
    const float *x, *expand, *expand_bias, *taps, *bias, *project, *project_bias;  // `expand` and its bias may be null
    int64_t c, out_c;
    bool shortcut;
    const float* limits;  // what clamps the expanded and the depthwise map: low, high, low, high
};

constexpr int PAIR = 2;                      // vectors of outputs that a product computes together
constexpr int LINES = LANES == 16 ? 12 : 6;  // and of how many pixels: what the registers hold
constexpr int SUMS = LANES == 16 ? 16 : 8;   // of a depthwise tile

// One pair of a weight [outs, depth], which becomes [pairs of vectors of outs][depth][PAIR]; zeros past the last.
inline void stage_product(const float* weight, int64_t outs, int64_t depth, int64_t pair, vec* to) {
    const int64_t first = pair * PAIR * LANES;
    float* const lines = reinterpret_cast<float*>(to + pair * PAIR * depth);
    for (int i = 0; i < PAIR * LANES; ++i) {
        const float* from = weight + (first + i) * depth;
        if (first + i < outs)
            for (int64_t k = 0; k < depth; ++k) lines[k * PAIR * LANES + i] = from[k];
        else
            for (int64_t k = 0; k < depth; ++k) lines[k * PAIR * LANES + i] = 0.0f;
    }
}

inline void stage_bias(const float* bias, int64_t count, int64_t vecs, vec* to) {
    for (int64_t v = 0; v < vecs; ++v)
        for (int i = 0; i < LANES; ++i) to[v][i] = v * LANES + i < count ? bias[v * LANES + i] : 0.0f;
}

template <int R, int U>
inline void begin_with(const vec* bias, vec (&sum)[R][U]) {
    UNROLL for (int r = 0; r < R; ++r)
        UNROLL for (int u = 0; u < U; ++u) sum[r][u] = bias[u];
}

// `count` pixels of c channels, expanded to U vectors; pixel i goes to `to + places[i]`.
template <int U>
NOINLINE void expand_pixels(const float* x, int64_t c, int64_t count, const vec* w, const vec* bias,
                           const float* limits, const int32_t* places, vec* to) {
    in_steps<LINES>(count, [&](auto lines, int64_t i) {
        constexpr int R = lines.value;
        vec sum[R][U];
        begin_with(bias, sum);
        add_products<R, U>({x + i * c, c, 1}, {w, PAIR}, c, sum);
        UNROLL for (int r = 0; r < R; ++r)
            UNROLL for (int u = 0; u < U; ++u) to[places[i + r] + u] = clamp(sum[r][u], vec{} + limits[0], vec{} + limits[1]);
    });
}

// `count` pixels, staged [blocks of channels][count][BLOCK], times U staged vectors -> [count, out_c].
template <int U>
NOINLINE void project_pixels(const float* mid, int64_t count, int64_t depth, const vec* w, const vec* bias,
                            const float* shortcut, int64_t out_c, int64_t rest, float* out) {
    in_steps<LINES>(count, [&](auto lines, int64_t i) {
        constexpr int R = lines.value;
        vec sum[R][U];
        begin_with(bias, sum);
        for (int64_t k = 0; k < depth; k += BLOCK)
            add_products<R, U>({mid + (k * count + i * BLOCK), BLOCK, 1}, {w + k * PAIR, PAIR},
                               std::min<int64_t>(BLOCK, depth - k), sum);
        UNROLL for (int r = 0; r < R; ++r)
            UNROLL for (int u = 0; u < U; ++u) {
                const int64_t at = (i + r) * out_c + u * LANES;
                if (rest - u * LANES >= LANES) {
                    store(out + at, shortcut ? sum[r][u] + load(shortcut + at) : sum[r][u]);
                } else {
                    for (int l = 0; l < rest - u * LANES; ++l)
                        out[at + l] = shortcut ? sum[r][u][l] + shortcut[at + l] : sum[r][u][l];
                }
            }
    });
}

struct Row {  // of an output map, and the same row of the next images
    int64_t x_row, x_image, to_image;  // vectors from one to the next
    int count;                         // kernel rows
    const vec *taps, *bias;
    float low, high;
};

// N outputs of each of M images.
template <int K, int S, int N, int M>
inline void depthwise_tile(const Row& row, const vec* x, vec* to) {
    constexpr int U = std::max(1, std::min(VECS, SUMS / (N * M)));
    for (int v = 0; v < VECS; v += U) {
        vec sum[M][N][U] = {};
        for (int i = 0; i < row.count; ++i)
            UNROLL for (int kx = 0; kx < K; ++kx)
                UNROLL for (int u = 0; u < U; ++u) {
                    const vec tap = row.taps[(i * K + kx) * VECS + v + u];
                    const vec* from = x + i * row.x_row + kx * VECS + v + u;
                    UNROLL for (int m = 0; m < M; ++m)
                        UNROLL for (int t = 0; t < N; ++t)
                            sum[m][t][u] = fused(tap, from[m * row.x_image + t * S * VECS], sum[m][t][u]);
                }
        UNROLL for (int m = 0; m < M; ++m)
            UNROLL for (int t = 0; t < N; ++t)
                UNROLL for (int u = 0; u < U; ++u)
                    to[m * row.to_image + t * VECS + v + u] = clamp(sum[m][t][u] + row.bias[v + u], vec{} + row.low, vec{} + row.high);
    }
}

template <int K, int S>
NOINLINE void depthwise_row(const Row& row, int images, int width, const vec* x, vec* to) {
    in_steps<8>(width, [&](auto columns, int64_t t) {
        constexpr int N = columns.value;
        in_steps<8 / N>(images, [&](auto some, int64_t m) {
            depthwise_tile<K, S, N, some.value>(row, x + m * row.x_image + t * S * VECS,
                                                to + m * row.to_image + t * VECS);
        });
    });
}

struct Staged {  // a block's weights as the kernels read them
    const vec *expand, *expand_bias, *taps, *bias, *project, *project_bias;
};

template <int K, int S>
struct BlockJob {
    const Shape<K, S> shape;  // of the depthwise convolution
    const Block& block;
    float* out;
    const Staged staged;
    const int32_t* places;  // where a sheet has its pixels

    // Some output rows of an image, or all of several, from image n on.
    void run(int64_t n, int images, Span rows, vec* memory) const {
        const Span x_rows = shape.x_rows(rows);
        const Sheet sheet{memory, {x_rows.begin, x_rows.begin + x_rows.size() * images}, shape.x_columns()};
        const int64_t x_image = x_rows.size() * sheet.row_size(), to_image = rows.size() * shape.ow * VECS;
        vec* const mid = memory + images * x_image;
        if (block.expand) clear_sides(sheet);
        for (int b = 0; b < shape.blocks(); ++b) {
            const int channels = int(std::min<int64_t>(BLOCK, shape.c - b * BLOCK));
            if (block.expand)
                fill(n, sheet, b, (channels + LANES - 1) / LANES);
            else
                for (int i = 0; i < images; ++i)
                    stage(block.x + (n + i) * shape.h * shape.w * block.c + b * BLOCK, block.c, int(shape.w), channels,
                          int(shape.left), Sheet{memory + i * x_image, x_rows, sheet.columns});
            vec* const to = mid + b * images * to_image;
            for (int o = rows.begin; o < rows.end; ++o) {
                const Span ky = shape.kernel_rows(o);
                const Row row{sheet.row_size(), x_image, to_image, std::max(0, ky.size()),
                              staged.taps + (b * K + ky.begin) * K * VECS, staged.bias + b * VECS,
                              block.limits[2], block.limits[3]};
                depthwise_row<K, S>(row, images, int(shape.ow), sheet.at(0, o * S - int(shape.top) + ky.begin, 0),
                                    to + (o - rows.begin) * shape.ow * VECS);
            }
        }
        multiply(reinterpret_cast<const float*>(mid), (n * shape.oh + rows.begin) * shape.ow,
                 images * rows.size() * shape.ow);
    }

    void clear_sides(const Sheet& sheet) const {
        for (int row = sheet.rows.begin; row < sheet.rows.end; ++row) {
            vec* line = const_cast<vec*>(sheet.at(0, row, 0));
            std::fill(line, line + shape.left * VECS, vec{});
            std::fill(line + (shape.left + shape.w) * VECS, line + sheet.row_size(), vec{});
        }
    }

    // The expanded rows of a block; its lanes past the last channel are left as they are, for nothing reads them.
    void fill(int64_t n, const Sheet& sheet, int b, int vecs) const {
        const float* x = block.x + (n * shape.h + sheet.rows.begin) * shape.w * block.c;
        const int64_t count = sheet.rows.size() * shape.w;
        for (int v = 0; v < vecs; v += PAIR) {
            const vec *w = staged.expand + (b * VECS + v) * block.c, *bias = staged.expand_bias + b * VECS + v;
            if (vecs - v >= PAIR)
                expand_pixels<PAIR>(x, block.c, count, w, bias, block.limits, places, sheet.data + v);
            else
                expand_pixels<1>(x, block.c, count, w, bias, block.limits, places, sheet.data + v);
        }
    }

    void multiply(const float* mid, int64_t first, int64_t count) const {
        const int64_t out_c = block.out_c;
        for (int64_t v = 0; v * LANES < out_c; v += PAIR) {
            const int64_t at = first * out_c + v * LANES, rest = out_c - v * LANES;
            const vec *w = staged.project + v * shape.c, *bias = staged.project_bias + v;
            const float* shortcut = block.shortcut ? block.x + at : nullptr;
            if (rest > LANES)
                project_pixels<PAIR>(mid, count, shape.c, w, bias, shortcut, out_c, rest, out + at);
            else
                project_pixels<1>(mid, count, shape.c, w, bias, shortcut, out_c, rest, out + at);
        }
    }
};

// A block's weights, staged by all threads.
struct StagedBlock {
    StagedBlock(const Block& block, int64_t c, int taps, int64_t blocks, int threads)
        : expanded(blocks * VECS), pairs((block.out_c + PAIR * LANES - 1) / (PAIR * LANES)),
          sizes{block.expand ? expanded * block.c : 0, expanded, expanded * taps, expanded, pairs * PAIR * c, pairs * PAIR},
          memory(sizes[0] + sizes[1] + sizes[2] + sizes[3] + sizes[4] + sizes[5]) {
        if (!memory.data) return;
        vec* parts[6] = {memory.data};
        for (int i = 1; i < 6; ++i) parts[i] = parts[i - 1] + sizes[i - 1];
        const int64_t expansions = block.expand ? expanded / PAIR : 0;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < expansions + pairs; ++i) {
            if (i < expansions)
                stage_product(block.expand, c, block.c, i, parts[0]);
            else
                stage_product(block.project, block.out_c, c, i - expansions, parts[4]);
        }
        if (block.expand) stage_bias(block.expand_bias, c, expanded, parts[1]);
        for (int64_t b = 0; b < blocks; ++b) stage_weight(block.taps, c, taps, false, b, parts[2]);
        stage_bias(block.bias, c, expanded, parts[3]);
        stage_bias(block.project_bias, block.out_c, pairs * PAIR, parts[5]);
        staged = {parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]};
    }

    const int64_t expanded, pairs, sizes[6];
    const Memory memory;
    Staged staged{};
};

template <int K, int S>
Code run_block(const Block& block, float* out, const Geometry& geometry, int threads) {
    const Shape<K, S> shape(geometry);
    const int64_t blocks = shape.blocks(), row_size = int64_t(shape.x_columns()) * VECS;
    const auto x_rows = [&](int64_t rows) { return std::min<int64_t>(shape.h, (rows - 1) * S + K); };
    const auto vectors = [&](int64_t rows) { return x_rows(rows) * row_size + rows * shape.ow * blocks * VECS; };
    int64_t rows = shape.oh;
    while (rows > 1 && vectors(rows) * LANES > CACHED) rows = (rows + 1) / 2;
    const bool is_whole = rows == shape.oh && x_rows(rows) == shape.h;
    const int64_t strips = (shape.oh + rows - 1) / rows, tasks = shape.n * strips;
    const int64_t fitting = std::max<int64_t>(1, CACHED / (vectors(rows) * LANES));
    const int64_t share = (shape.n + threads - 1) / threads;
    const int64_t images = is_whole ? std::min(fitting, share) : 1, each = vectors(rows) * images;
    const int64_t pixels = (is_whole ? images * shape.h : x_rows(rows)) * shape.w;
    const StagedBlock weights(block, shape.c, K * K, blocks, threads);
    const Memory memory(each * threads + (pixels + LANES - 1) / LANES);
    if (!weights.memory.data || !memory.data) return NO_MEMORY;
    int32_t* const places = reinterpret_cast<int32_t*>(memory.data + each * threads);
    for (int64_t i = 0; i < pixels; ++i)
        places[i] = int32_t(i / shape.w * row_size + (shape.left + i % shape.w) * VECS);
    const BlockJob<K, S> job{shape, block, out, weights.staged, places};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int slot = 0; slot < threads; ++slot) {
        const int64_t end = tasks * (slot + 1) / threads;
        for (int64_t task = tasks * slot / threads; task < end; task += images) {
            const int64_t begin = task % strips * rows;
            const Span some{int(begin), int(std::min<int64_t>(shape.oh, begin + rows))};
            job.run(task / strips, int(std::min(images, end - task)), some, memory.data + each * slot);
        }
    }
    return DONE;
}

}  // namespace
