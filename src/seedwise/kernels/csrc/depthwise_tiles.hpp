// Staging, and the arithmetic on what is staged. See depthwise.cpp.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "memory.hpp"
#include "vectors.hpp"

namespace {

constexpr int BLOCK = 32, VECS = BLOCK / LANES;  // channels and vectors of a block
constexpr int64_t CACHED = 64 * 1024;            // floats that a task stages at a time: half of a 512 KB L2
constexpr int64_t STREAMED = 4'000'000;          // numbers of a result from which on it is written past the cache

struct Geometry {  // of the whole call; `top` and `left` are padding, what is missing at bottom and right is implied
    int64_t n, c, h, w, oh, ow, top, left, kernel, stride;
};

struct Span {
    int begin, end;
    int size() const { return end - begin; }
};

// Whole cache lines only, and no bfloat16.
template <class T>
bool is_streamed(const T* to, int64_t c, int64_t count) {
    return sizeof(T) == 4 && is_streamed<LINE>(to, c, count, STREAMED);
}

struct Sheet {  // staged rows of an image
    vec* data;
    Span rows;
    int columns;

    int64_t row_size() const { return int64_t(columns) * VECS; }
    const vec* at(int block, int row, int column) const {
        return data + (int64_t(block) * rows.size() + row - rows.begin) * row_size() + int64_t(column) * VECS;
    }
};

// clang-format off: it doesn't indent a file's first UNROLL in a block
// Copies a block's pixels, `c` apart, to a staged line. Lanes past `channels` are zeros. Pixels that will be read a
// line later are fetched: the processor follows no reads that leave out the other blocks.
template <class T>
void stage_line(const T* from, int64_t c, int width, int channels, vec* to) {
    if (channels >= BLOCK) {
        const int64_t ahead = width * c;
        for (int x = 0; x < width; ++x, from += c, to += VECS) {
            UNROLL for (int v = 0; v < VECS; ++v) to[v] = load(from + v * LANES);
            prefetch(from + ahead, BLOCK);
        }
        return;
    }
    const int whole = channels / LANES, rest = channels % LANES;
    for (int x = 0; x < width; ++x, from += c, to += VECS) {
        for (int v = 0; v < whole; ++v) to[v] = load(from + v * LANES);
        for (int v = whole; v < VECS; ++v) to[v] = vec{};
        for (int i = 0; i < rest; ++i) to[whole][i] = load<1>(from + whole * LANES + i)[0];
    }
}
// clang-format on

// Fills rows of a sheet, block by block: `width` columns by fill(block, row, line), the others with zeros.
template <class Fill>
void stage_lines(int width, int channels, int left, const Sheet& to, Fill fill) {
    const int right = to.columns - left - width;
    for (int row = to.rows.begin; row < to.rows.end; ++row)
        for (int block = 0; block * BLOCK < channels; ++block) {
            vec* line = const_cast<vec*>(to.at(block, row, 0));
            for (int i = 0; i < left * VECS; ++i) line[i] = vec{};
            line += left * VECS;
            fill(block, row, line);
            line += width * VECS;
            for (int i = 0; i < right * VECS; ++i) line[i] = vec{};
        }
}

// The weight [c, K*K] as fp32 [block][K*K][BLOCK], the taps reversed if `flip`.
template <class T>
void stage_weight(const T* weight, int64_t c, int taps, bool flip, int64_t block, vec* to) {
    for (int tap = 0; tap < taps; ++tap) {
        float* line = reinterpret_cast<float*>(to + (block * taps + tap) * VECS);
        for (int i = 0; i < BLOCK; ++i) {
            const int64_t channel = block * BLOCK + i;
            line[i] = channel < c ? load<1>(weight + channel * taps + (flip ? taps - 1 - tap : tap))[0] : 0.0f;
        }
    }
}

// Writes a row of fp32 results [width][BLOCK] to pixels that are `c` apart, as many channels as there are.
template <class T>
void unstage_line(const vec* from, int64_t c, int width, int channels, bool streamed, T* to) {
    if (channels >= BLOCK && streamed) {
        for (int x = 0; x < width; ++x, from += VECS, to += c)
            UNROLL for (int v = 0; v < VECS; ++v) stream(to + v * LANES, from[v]);
        return;
    }
    if (channels >= BLOCK) {
        for (int x = 0; x < width; ++x, from += VECS, to += c)
            UNROLL for (int v = 0; v < VECS; ++v) store(to + v * LANES, from[v]);
        return;
    }
    const int whole = channels / LANES, rest = channels % LANES;
    for (int x = 0; x < width; ++x, from += VECS, to += c) {
        for (int v = 0; v < whole; ++v) store(to + v * LANES, from[v]);
        for (int i = 0; i < rest; ++i) store<1>(to + whole * LANES + i, F<1>{from[whole][i]});
    }
}

// N outputs of U vectors each: `count` kernel rows, from x's row on. Stride 1 or 2.
template <int K, int S, int N>
inline void dot_tile(const vec* x, int64_t row, const vec* w, int count, vec* out) {
    constexpr int U = std::min(VECS, 8 / N);  // about eight sums hide the latency of a multiply-add
    for (int v = 0; v < VECS; v += U) {
        vec sum[N][U] = {};
        for (int i = 0; i < count; ++i) {
            UNROLL for (int kx = 0; kx < K; ++kx)
                UNROLL for (int u = 0; u < U; ++u) {
                    const vec tap = w[(i * K + kx) * VECS + v + u];
                    UNROLL for (int t = 0; t < N; ++t)
                        sum[t][u] = fused(tap, x[i * row + (t * S + kx) * VECS + v + u], sum[t][u]);
                }
        }
        UNROLL for (int t = 0; t < N; ++t)
            UNROLL for (int u = 0; u < U; ++u) out[t * VECS + v + u] = sum[t][u];
    }
}

template <int K, int S>
NOINLINE void dot_row(const vec* x, int64_t row, const vec* w, int count, int width, vec* out) {
    int i = 0;
    for (; i + 8 <= width; i += 8) dot_tile<K, S, 8>(x + i * S * VECS, row, w, count, out + i * VECS);
    for (; i + 4 <= width; i += 4) dot_tile<K, S, 4>(x + i * S * VECS, row, w, count, out + i * VECS);
    for (; i + 2 <= width; i += 2) dot_tile<K, S, 2>(x + i * S * VECS, row, w, count, out + i * VECS);
    for (; i < width; ++i) dot_tile<K, S, 1>(x + i * S * VECS, row, w, count, out + i * VECS);
}

// Stride 2 backwards. Input column 2u - left takes the even taps 2j of output u - j, the column after it the odd ones.
template <int K, int N>
inline void phase_tile(const vec* g, int64_t row, const vec* w, int count, vec* out) {
    constexpr int U = std::min(VECS, 4 / N), J = (K - 1) / 2;
    for (int v = 0; v < VECS; v += U) {
        vec even[N][U] = {}, odd[N][U] = {};
        for (int i = 0; i < count; ++i) {  // every second kernel row, from the last one up; g's rows go down
            const vec* taps = w - int64_t(i) * 2 * K * VECS + v;
            const vec* from = g + i * row + v;
            UNROLL for (int j = 0; j <= J; ++j)
                UNROLL for (int u = 0; u < U; ++u)
                    UNROLL for (int t = 0; t < N; ++t) {
                        const vec value = from[(t + J - j) * VECS + u];
                        even[t][u] = fused(taps[2 * j * VECS + u], value, even[t][u]);
                        if (j < J) odd[t][u] = fused(taps[(2 * j + 1) * VECS + u], value, odd[t][u]);
                    }
        }
        UNROLL for (int t = 0; t < N; ++t)
            UNROLL for (int u = 0; u < U; ++u) {
                out[2 * t * VECS + v + u] = even[t][u];
                out[(2 * t + 1) * VECS + v + u] = odd[t][u];
            }
    }
}

// `g` is staged with (K-1)/2 zero columns at the left. `out` has room for a column before and one after the row's.
template <int K>
NOINLINE void phase_row(const vec* g, int64_t row, const vec* w, int count, int left, int width, vec* out) {
    const int last = (width - 1 + left) / 2;
    const auto at = [&](int u) { return out + (2 * u - left) * VECS; };
    int u = left / 2;
    for (; u + 3 <= last; u += 4) phase_tile<K, 4>(g + u * VECS, row, w, count, at(u));
    for (; u + 1 <= last; u += 2) phase_tile<K, 2>(g + u * VECS, row, w, count, at(u));
    for (; u <= last; ++u) phase_tile<K, 1>(g + u * VECS, row, w, count, at(u));
}

inline int floor_div(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
inline int ceil_div(int a, int b) { return -floor_div(-a, b); }

template <int K, int S>
struct Shape : Geometry {
    explicit Shape(const Geometry& geometry) : Geometry(geometry) {}

    int blocks() const { return int((c + BLOCK - 1) / BLOCK); }
    // Columns that are staged, zeros included, and how many zeros come first.
    int x_columns() const { return int(std::max((ow - 1) * S + K, left + w)); }
    int g_left() const { return S == 1 ? K - 1 - int(left) : (K - 1) / 2; }
    int g_columns() const {
        const int64_t reach = S == 1 ? w + K - 1 : (w - 1 + left) / 2 + (K - 1) / 2 + 1;
        return int(std::max(reach, g_left() + ow));
    }
    // Input rows that output rows `o` read, and the kernel rows of output row `o` that lie on the map.
    Span x_rows(Span o) const {
        return {int(std::max<int64_t>(0, int64_t(o.begin) * S - top)),
                int(std::min<int64_t>(h, int64_t(o.end - 1) * S - top + K))};
    }
    Span kernel_rows(int o) const {
        const int first = o * S - int(top);
        return {std::max(0, -first), std::min(K, int(h) - first)};
    }
    // Output rows that kernel row `ky` of input rows on the map belongs to.
    Span output_rows(int ky) const {
        return {std::max(0, ceil_div(int(top) - ky, S)), std::min(int(oh), floor_div(int(h - 1 + top) - ky, S) + 1)};
    }
    // Input rows whose gradient goes with output rows `o`, and the output rows that input rows `y` depend on.
    Span y_rows(Span o) const {
        const int64_t end = o.end == oh ? h : std::min(h, int64_t(o.end) * S);
        return {int(std::min(h, int64_t(o.begin) * S)), int(end)};
    }
    Span g_rows(Span y) const {
        const int first = std::max(0, ceil_div(y.begin + int(top) - K + 1, S));
        return {first, std::max(first, std::min(int(oh), floor_div(y.end - 1 + int(top), S) + 1))};
    }
};

// The sums of one kernel row over `rows` output rows: sum[kx] += g[row, ox] * x[S row, S ox + kx].
template <int K, int S, int U>
inline void weight_row(const vec* x, int64_t x_row, const vec* g, int64_t g_row, int rows, int ow, vec (&sum)[K][U]) {
    for (int row = 0; row < rows; ++row, x += S * x_row, g += g_row)
        for (int ox = 0; ox < ow; ++ox) {
            vec grad[U];
            UNROLL for (int u = 0; u < U; ++u) grad[u] = g[ox * VECS + u];
            UNROLL for (int kx = 0; kx < K; ++kx)
                UNROLL for (int u = 0; u < U; ++u)
                    sum[kx][u] = fused(grad[u], x[(ox * S + kx) * VECS + u], sum[kx][u]);
        }
}

// The sums of kernel row `ky` over some rows of some images, added to sum[K][VECS].
template <int K, int S>
NOINLINE void weight_rows(const vec* x, int64_t x_row, int64_t x_size, const vec* g, int64_t g_row, int64_t g_size,
                          int images, int rows, int ow, vec* sum) {
    constexpr int U = K == 7 && LANES < 16 ? 1 : 2;  // K * U sums have to fit into the registers
    for (int v = 0; v < VECS; v += U) {
        vec part[K][U];
        UNROLL for (int kx = 0; kx < K; ++kx)
            UNROLL for (int u = 0; u < U; ++u) part[kx][u] = sum[kx * VECS + v + u];
        for (int i = 0; i < images; ++i)
            weight_row<K, S, U>(x + i * x_size + v, x_row, g + i * g_size + v, g_row, rows, ow, part);
        UNROLL for (int kx = 0; kx < K; ++kx)
            UNROLL for (int u = 0; u < U; ++u) sum[kx * VECS + v + u] = part[kx][u];
    }
}

// Adds to sum[K*K][VECS] of a block. Some 32 pixels at a time, which stay in the L1 cache for all kernel rows.
template <int K, int S>
void weight_block(const Shape<K, S>& shape, Sheet xs, int64_t x_size, Sheet gs, int64_t g_size, int images, Span rows,
                  int block, vec* sum) {
    const int ow = int(shape.ow), some = std::max(1, 32 / ow), all = std::max(1, 32 / (ow * rows.size()));
    for (int i = 0; i < images; i += all, xs.data += all * x_size, gs.data += all * g_size)
        for (int row = rows.begin; row < rows.end; row += some) {
            const Span part{row, std::min(rows.end, row + some)};
            for (int ky = 0; ky < K; ++ky) {
                const Span valid = shape.output_rows(ky);
                const Span o{std::max(part.begin, valid.begin), std::min(part.end, valid.end)};
                if (o.size() <= 0) continue;
                const vec* x_from = xs.at(block, o.begin * S - int(shape.top) + ky, 0);
                const vec* g_from = gs.at(block, o.begin, shape.g_left());
                weight_rows<K, S>(x_from, xs.row_size(), x_size, g_from, gs.row_size(), g_size,
                                  std::min(all, images - i), o.size(), ow, sum + ky * K * VECS);
            }
        }
}

// What is done to a result while it is in the L1 cache: its channel's bias is added, and it is clamped.
struct Epilogue {
    const float* bias;  // [c], or null: none of it
    float low, high;
};

// To a line of `width` pixels of one block; NaN stays NaN.
inline void add_epilogue(const Epilogue& epilogue, int64_t first, int channels, int width, vec* line) {
    float lanes[BLOCK] = {};
    for (int i = 0; i < std::min(BLOCK, channels); ++i) lanes[i] = epilogue.bias[first + i];
    for (int v = 0; v < VECS; ++v) {
        const vec bias = load(lanes + v * LANES), low = vec{} + epilogue.low, high = vec{} + epilogue.high;
        for (int x = 0; x < width; ++x) line[x * VECS + v] = clamp(line[x * VECS + v] + bias, low, high);
    }
}


struct Plan {  // how the work is cut: channel blocks and output rows of a task, images staged together
    int blocks, groups, rows, images;
    int64_t floats;
};

// `size(rows)` is what one image's block needs, in floats, for so many output rows.
template <class Size>
Plan make_plan(int blocks, int oh, Size size) {
    Plan plan{std::min(blocks, 8), 0, oh, 1, 0};
    while (plan.blocks > 2 && size(oh) * plan.blocks > CACHED) --plan.blocks;
    plan.groups = (blocks + plan.blocks - 1) / plan.blocks;
    plan.blocks = (blocks + plan.groups - 1) / plan.groups;
    while (plan.rows > 1 && size(plan.rows) * plan.blocks > CACHED) plan.rows = (plan.rows + 1) / 2;
    plan.floats = size(plan.rows) * plan.blocks;
    if (plan.rows == oh) plan.images = int(std::max<int64_t>(1, CACHED / plan.floats));
    return plan;
}

using Memory = Aligned<vec>;

}  // namespace
