// Both gradients of a depthwise convolution in one pass over the data.

#pragma once

#include "code.hpp"
#include "depthwise_norms.hpp"

namespace {

template <class T, int K, int S>
struct Backward {
    const Shape<K, S> shape;
    const T *x, *g;
    T* x_grad;        // or null, and then `taps` is too
    const vec* taps;  // staged weight, reversed for stride 1
    vec* sums;        // or null: the weight's gradient, [chunk][block][K*K][VECS]
    int chunks;
    Plan plan;
    bool streamed;

    static int64_t floats(const Shape<K, S>& shape, int rows, bool wants_weight) {
        const int64_t x_floats = std::min<int64_t>(shape.h, (rows - 1) * S + K) * shape.x_columns() * BLOCK;
        return std::min<int64_t>(shape.oh, rows + K) * shape.g_columns() * BLOCK + (wants_weight ? x_floats : 0);
    }

    vec* chunk_sums(int64_t chunk, int64_t block) const {
        return sums + (chunk * shape.blocks() + block) * K * K * VECS;
    }

    // One task: the images of a chunk, the channels of a group.
    void run(int64_t chunk, int64_t group, vec* memory) const {
        const int64_t begin = shape.n * chunk / chunks, end = shape.n * (chunk + 1) / chunks;
        if (sums) {
            const int64_t first = group * plan.blocks, last = std::min<int64_t>(shape.blocks(), first + plan.blocks);
            std::fill(chunk_sums(chunk, first), chunk_sums(chunk, last), vec{});
        }
        for (int64_t n = begin; n < end; n += plan.images)
            for (int row = 0; row < shape.oh; row += plan.rows) {
                const Span rows{row, std::min(int(shape.oh), row + plan.rows)};
                part(n, int(std::min<int64_t>(plan.images, end - n)), rows, chunk, group, memory);
            }
    }

    // Some images, and the gradients that belong to these output rows.
    void part(int64_t n, int images, Span rows, int64_t chunk, int64_t group, vec* memory) const {
        const int64_t first = group * plan.blocks * BLOCK;
        const int channels = int(std::min<int64_t>(plan.blocks * BLOCK, shape.c - first));
        const int blocks = (channels + BLOCK - 1) / BLOCK;
        const Span y = shape.y_rows(rows), need = x_grad && y.size() > 0 ? shape.g_rows(y) : rows;
        const Span g_rows{std::min(rows.begin, need.begin), std::max(rows.end, need.end)};
        Sheet gs{memory, g_rows, shape.g_columns()}, xs{nullptr, shape.x_rows(rows), shape.x_columns()};
        const int64_t g_size = blocks * g_rows.size() * gs.row_size(), x_size = blocks * xs.rows.size() * xs.row_size();
        xs.data = memory + images * g_size;
        const Sheet g_first = gs, x_first = xs;
        vec* const line = memory + plan.floats * plan.images / LANES + VECS;  // a column stands before it
        for (int i = 0; i < images; ++i, gs.data += g_size, xs.data += x_size) {
            const int64_t in = (n + i) * shape.h * shape.w * shape.c + first;
            const int64_t out = (n + i) * shape.oh * shape.ow * shape.c + first;
            stage(g + out, shape.c, int(shape.ow), channels, shape.g_left(), gs);
            if (sums) stage(x + in, shape.c, int(shape.w), channels, int(shape.left), xs);
            for (int block = 0; block < blocks && x_grad; ++block)
                data_rows(group * plan.blocks, block, channels, in + block * BLOCK, gs, y, line);
        }
        if (!sums) return;
        for (int block = 0; block < blocks; ++block)
            weight_block<K, S>(shape, x_first, x_size, g_first, g_size, images, rows, block,
                               chunk_sums(chunk, group * plan.blocks + block));
    }

    // The images' gradient in some rows of one block, counted from `first`; the image begins at x_grad[at].
    void data_rows(int64_t first, int block, int channels, int64_t at, const Sheet& gs, Span y, vec* line) const {
        const int width = int(shape.w);
        const vec* w = taps + (first + block) * K * K * VECS;
        for (int row = y.begin; row < y.end; ++row) {
            data_row(gs, block, w, row, line);
            unstage_line(line, shape.c, width, channels - block * BLOCK, streamed,
                         x_grad + at + int64_t(row) * width * shape.c);
        }
    }

    void data_row(const Sheet& gs, int block, const vec* w, int y, vec* out) const {
        const Span o = shape.g_rows({y, y + 1});
        const vec* from = gs.at(block, o.begin, 0);
        const int ky = y + int(shape.top) - o.begin * S;  // the kernel row that output row `o.begin` used
        if constexpr (S == 1)
            dot_row<K, 1>(from, gs.row_size(), w + (K - 1 - ky) * K * VECS, o.size(), int(shape.w), out);
        else
            phase_row<K>(from, gs.row_size(), w + ky * K * VECS, o.size(), int(shape.left), int(shape.w), out);
    }

    // The chunks' sums, added in their order, to the weight's gradient [c, K*K].
    void fold(int64_t block, T* weight_grad) const {
        const int count = int(std::min<int64_t>(BLOCK, shape.c - block * BLOCK));
        for (int tap = 0; tap < K * K; ++tap) {
            float total[BLOCK] = {};
            for (int chunk = 0; chunk < chunks; ++chunk) {
                const float* from = reinterpret_cast<const float*>(chunk_sums(chunk, block) + tap * VECS);
                for (int i = 0; i < BLOCK; ++i) total[i] += from[i];
            }
            for (int i = 0; i < count; ++i) store<1>(weight_grad + (block * BLOCK + i) * K * K + tap, F<1>{total[i]});
        }
    }
};

template <class T, int K, int S>
Code backward(const T* x, const T* g, const T* weight, T* x_grad, T* weight_grad, const Geometry& geometry,
              int threads) {
    const Shape<K, S> shape(geometry);
    const int blocks = shape.blocks();
    // Enough chunks of images for many threads, and few enough that their sums stay small beside the data.
    const int chunks = int(std::min<int64_t>(shape.n, weight_grad ? std::max<int64_t>(8, 4096 / shape.c) : shape.n));
    Plan plan = make_plan(blocks, int(shape.oh),
                          [&](int rows) { return Backward<T, K, S>::floats(shape, rows, weight_grad != nullptr); });
    plan.images = int(std::min<int64_t>(plan.images, (shape.n + chunks - 1) / chunks));
    const int64_t each = plan.floats * plan.images / LANES + (shape.w + 3) * VECS;
    const Memory taps(int64_t(blocks) * K * K * VECS), staged(each * threads);
    const Memory sums(weight_grad ? int64_t(chunks) * blocks * K * K * VECS : 0);
    if (!taps.data || !staged.data || !sums.data) return NO_MEMORY;
    Backward<T, K, S> job{shape,  x,         g,
                          x_grad, taps.data, weight_grad ? sums.data : nullptr,
                          chunks, plan,      is_streamed(x_grad, shape.c, shape.n * shape.h * shape.w * shape.c)};
#pragma omp parallel num_threads(threads)
    {
        if (x_grad) {
#pragma omp for schedule(static)
            for (int64_t block = 0; block < blocks; ++block)
                stage_weight(weight, shape.c, K * K, S == 1, block, taps.data);
        }
#pragma omp for schedule(static)
        for (int slot = 0; slot < threads; ++slot) {
            const int64_t tasks = int64_t(chunks) * plan.groups;
            const int64_t begin = tasks * slot / threads, end = tasks * (slot + 1) / threads;
            for (int64_t i = begin; i < end; ++i) job.run(i / plan.groups, i % plan.groups, staged.data + each * slot);
            end_stream();
        }
        if (weight_grad) {
#pragma omp for schedule(static)
            for (int64_t block = 0; block < blocks; ++block) job.fold(block, weight_grad);
        }
    }
    return DONE;
}

}  // namespace
