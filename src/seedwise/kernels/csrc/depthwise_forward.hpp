// A depthwise convolution: where its images come from, what follows it, and the statistics of what comes out.

#pragma once

#include "code.hpp"
#include "output_moments.hpp"

namespace {

// Where a task's images come from. Stored: in memory.
template <class T>
struct Stored {
    const T* x;

    template <class Shape>
    void begin(const Shape& shape, int64_t n, int first, int channels, const Sheet& sheet) const {
        const T* image = x + n * shape.h * shape.w * shape.c + first * BLOCK;
        stage(image, shape.c, int(shape.w), channels, int(shape.left), sheet);
    }
    Sheet of_block(int block, int, const Sheet& sheet) const {
        return {const_cast<vec*>(sheet.at(block, sheet.rows.begin, 0)), sheet.rows, sheet.columns};
    }
};

template <class T, int K, int S, class Source>
struct Forward {
    const Shape<K, S> shape;
    const Source source;
    const vec* taps;  // staged
    const Epilogue& epilogue;
    const ResultSums sums;
    T* out;
    Plan plan;
    bool streamed;

    // Images, output rows and channels of one task.
    struct Task {
        int64_t chunk, begin, end;  // images
        Span rows;
        int first, channels;  // block
        vec* memory;
    };

    void run(const Task& task) const {
        ResultSums::Block* const blocks = reinterpret_cast<ResultSums::Block*>(task.memory);
        vec* const line = task.memory + ResultSums::task_vectors(bool(sums), plan.blocks);
        vec* const staged = line + shape.ow * VECS;
        for (int64_t n = task.begin; n < task.end; ++n)
            for (int row = task.rows.begin; row < task.rows.end; row += plan.rows) {
                const Span rows{row, std::min(task.rows.end, row + plan.rows)};
                const Sheet sheet{staged, shape.x_rows(rows), shape.x_columns()};
                source.begin(shape, n, task.first, task.channels, sheet);
                for (int block = 0; block * BLOCK < task.channels; ++block) {
                    const Sheet ready = source.of_block(block, task.first + block, sheet);
                    for (int o = rows.begin; o < rows.end; ++o) {
                        output_row(task, block, n, o, ready, line);
                        if (!sums) continue;
                        double* const part = sums.part(task.chunk, task.first + block);
                        if (n == task.begin && o == 0) sums.begin(line, int(shape.ow), blocks[block], part);
                        sums.add(line, int(shape.ow), blocks[block], part);
                    }
                }
            }
        if (!sums) return;
        const double size = double((task.end - task.begin) * shape.oh * shape.ow);
        for (int block = 0; block * BLOCK < task.channels; ++block)
            sums.end(size, blocks[block], sums.part(task.chunk, task.first + block));
    }

    void output_row(const Task& task, int block, int64_t n, int o, const Sheet& sheet, vec* line) const {
        const int width = int(shape.ow), first = (task.first + block) * BLOCK;
        const int channels = task.channels - block * BLOCK;
        const Span ky = shape.kernel_rows(o);
        const vec* w = taps + ((task.first + block) * K + ky.begin) * K * VECS;
        const vec* from = sheet.at(0, o * S - int(shape.top) + ky.begin, 0);
        dot_row<K, S>(from, sheet.row_size(), w, std::max(0, ky.size()), width, line);
        if (epilogue.bias) add_epilogue(epilogue, first, channels, width, line);
        unstage_line(line, shape.c, width, channels, streamed, out + (n * shape.oh + o) * shape.ow * shape.c + first);
    }
};

// How many parts the images are cut into, by the shape alone: enough for many threads, and few enough that what each
// adds up stays small beside the data.
inline int image_chunks(int64_t n, int64_t c) { return int(std::min<int64_t>(n, std::max<int64_t>(16, 8192 / c))); }

// Computes `out` with the memory that a task of this plan needs. `taps` are staged in it, from `weight`.
template <class T, int K, int S, class Source, class Prepare>
Code convolve(const Geometry& geometry, const Source& source, const T* weight, const Epilogue& epilogue,
              const NormStep* step, T* out, const Plan& plan, int threads, Prepare prepare) {
    const Shape<K, S> shape(geometry);
    const int blocks = shape.blocks(), oh = int(shape.oh);
    const int chunks = step ? image_chunks(shape.n, shape.c) : int(shape.n);
    const int64_t strips = step ? 1 : (oh + plan.rows - 1) / plan.rows;
    const int64_t each = ResultSums::task_vectors(step, plan.blocks) + shape.ow * VECS + plan.floats / LANES;
    const Memory taps(int64_t(blocks) * K * K * VECS), staged(each * threads);
    const Memory parts(ResultSums::vectors(step, chunks, blocks));
    if (!taps.data || !staged.data || !parts.data) return NO_MEMORY;
    const ResultSums sums{step, chunks, blocks, reinterpret_cast<double*>(parts.data)};
    const bool streamed = is_streamed(out, shape.c, shape.n * oh * shape.ow * shape.c);
    const Forward<T, K, S, Source> job{shape, source, taps.data, epilogue, sums, out, plan, streamed};
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t block = 0; block < blocks; ++block) {
            stage_weight(weight, shape.c, K * K, false, block, taps.data);
            prepare(block);
        }
#pragma omp for schedule(static)
        for (int slot = 0; slot < threads; ++slot) {
            const int64_t tasks = chunks * strips * plan.groups, begin = tasks * slot / threads;
            const int64_t end = tasks * (slot + 1) / threads;
            for (int64_t i = begin; i < end; ++i) {
                const int64_t task = begin + end - 1 - i;  // what the sums of a norm have just read comes first
                const int64_t chunk = task / plan.groups / strips, strip = task / plan.groups % strips;
                const int first = int(task % plan.groups) * plan.blocks;
                const int rows = step ? oh : plan.rows, row = int(strip) * rows;
                job.run({chunk,
                         shape.n * chunk / chunks,
                         shape.n * (chunk + 1) / chunks,
                         {row, std::min(oh, row + rows)},
                         first,
                         int(std::min<int64_t>(plan.blocks * BLOCK, shape.c - first * BLOCK)),
                         staged.data + each * slot});
            }
            end_stream();
        }
        if (step) {
#pragma omp for schedule(static)
            for (int64_t block = 0; block < blocks; ++block) sums.merge(block, shape.n, oh * shape.ow, shape.c);
        }
    }
    return DONE;
}

template <class T, int K, int S>
Code forward(const T* x, const T* weight, const Epilogue& epilogue, T* out, const Geometry& geometry, int threads) {
    const Shape<K, S> shape(geometry);
    const Plan plan = make_plan(shape.blocks(), int(shape.oh), [&](int rows) {
        return std::min<int64_t>(shape.h, (rows - 1) * S + K) * shape.x_columns() * BLOCK;
    });
    return convolve<T, K, S>(geometry, Stored<T>{x}, weight, epilogue, nullptr, out, plan, threads, [](int64_t) {});
}

}  // namespace
