// The gradients of what expand.hpp computes.

#pragma once

#include "expand.hpp"

namespace {

struct ExpandedGrads {  // what is wanted, all fp32; `affine`: [2, c], slope and offset
    float *x, *weight, *taps, *norm_weight, *norm_bias, *affine;
};

// Slope and offset, and what they make of x: M [in][in] and e [in], staged as a product's right factor.
struct Correction {
    const Expansion& w;
    int64_t c;
    const float* affine;
    vec* data;

    static int64_t vectors(const Expansion& w) { return (w.in + 1) * w.vecs(); }
    vec* at(int64_t k) const { return data + k * w.vecs(); }  // row `in` is e

    void stage(int64_t k) const {
        float* const to = reinterpret_cast<float*>(at(k));
        for (int64_t i = 0; i < w.stride(); ++i) {
            double sum = 0.0;
            for (int64_t j = 0; j < c && i < w.in; ++j) {
                const float* const row = w.weight + j * w.in;
                sum += k < w.in ? double(row[k]) * affine[j] * row[i] : double(affine[c + j]) * row[i];
            }
            to[i] = static_cast<float>(sum);
        }
    }

    // Some pixels of x's gradient, in place. `packed` has room for them.
    NOINLINE void add(const float* x, int64_t count, float* packed, float* grad) const {
        w.pack(x, count, packed);
        const int64_t vecs = w.vecs();
        product(
            {packed, w.stride(), 1}, {data, vecs}, count, w.in, vecs,
            [&](int64_t row, int64_t v) {
                return at(w.in)[v] + load_part(grad + row * w.in + v * LANES, w.in - v * LANES);
            },
            [&](int64_t row, int64_t v, vec sum) { store_part(grad + row * w.in + v * LANES, sum, w.in - v * LANES); });
    }
};

template <int K, int S>
struct ExpandedBackward {
    using Convolution = Backward<float, K, S>;
    static constexpr int64_t PIXELS = 64;  // that are multiplied together

    const Convolution conv;
    const EpilogueNorm& epilogue;
    const StagedNorm staged_epilogue;
    double* norm_sums;  // of the prologue's norm, [chunk][block][2][BLOCK]; the second halves are not used
    const Expanded& source;
    const ExpandedGrads& grads;
    const vec* weight;  // scale * weight, [block][BLOCK][vecs of in]
    vec* sums;          // G, [chunk][block][in][VECS]

    const Expansion& w() const { return source.w; }
    const Shape<K, S>& shape() const { return conv.shape; }
    vec* chunk_sums(int64_t chunk, int64_t block) const {
        return sums + (chunk * shape().blocks() + block) * w().in * VECS;
    }

    double* chunk_norm_sums(int64_t chunk, int64_t block) const {
        return norm_sums + (chunk * shape().blocks() + block) * 2 * BLOCK;
    }

    // Floats of a task: the expanded rows, those of x packed after them, the gradient's rows, and those of x's
    // gradient.
    static int64_t expanded_floats(const Shape<K, S>& shape, const Expansion& w, int rows) {
        const int64_t need = std::min<int64_t>(shape.h, rows * S + K);
        return need * (shape.x_columns() * BLOCK + 2 * shape.w * w.stride());
    }
    static int64_t grad_floats(const Shape<K, S>& shape, int rows) {
        return std::min<int64_t>(shape.oh, rows + K) * shape.g_columns() * BLOCK;
    }
    static int64_t tile_pixels(const Shape<K, S>& shape) { return std::max(PIXELS, shape.w); }
    static int64_t line_vectors(const Shape<K, S>& shape) {
        return (2 * std::max(shape.w, shape.ow) + 4 + tile_pixels(shape)) * VECS;
    }

    void stage(int64_t block) const {
        float* const to = reinterpret_cast<float*>(const_cast<vec*>(weight + block * BLOCK * w().vecs()));
        for (int i = 0; i < BLOCK; ++i)
            for (int64_t k = 0; k < w().stride(); ++k) {
                const int64_t j = block * BLOCK + i;
                const bool is_there = j < shape().c && k < w().in;
                to[i * w().stride() + k] = is_there ? w().saved[2 * shape().c + j] * w().weight[j * w().in + k] : 0.0f;
            }
    }

    struct Buffers {  // of a task
        vec *expanded, *grad, *line, *spare, *tile;
    };

    void run(int64_t chunk, const Buffers& memory) const {
        const Shape<K, S>& s = shape();
        const int64_t begin = s.n * chunk / conv.chunks, end = s.n * (chunk + 1) / conv.chunks, blocks = s.blocks();
        std::fill(conv.chunk_sums(chunk, 0), conv.chunk_sums(chunk, blocks), vec{});
        std::fill(chunk_norm_sums(chunk, 0), chunk_norm_sums(chunk, blocks), 0.0);
        std::fill(chunk_sums(chunk, 0), chunk_sums(chunk, blocks), vec{});
        for (int64_t n = begin; n < end; ++n)
            for (int row = 0; row < s.oh; row += conv.plan.rows)
                part(chunk, n, {row, std::min(int(s.oh), row + conv.plan.rows)}, memory);
    }

    // One image's gradients that belong to some output rows.
    void part(int64_t chunk, int64_t n, Span rows, const Buffers& memory) const {
        const Shape<K, S>& s = shape();
        const Span y = s.y_rows(rows), need = y.size() > 0 ? s.g_rows(y) : rows, reads = s.x_rows(rows);
        const Sheet gs{memory.grad, {std::min(rows.begin, need.begin), std::max(rows.end, need.end)}, s.g_columns()};
        const Span expanded{y.size() > 0 ? std::min(reads.begin, y.begin) : reads.begin, std::max(reads.end, y.end)};
        const Sheet xs{memory.expanded, expanded, s.x_columns()};
        source.begin(s, n, 0, 0, xs);
        const int64_t packed = int64_t(expanded.size()) * s.w * w().vecs();
        vec* const x_grad = memory.expanded + expanded.size() * xs.row_size() + packed;
        for (int block = 0; block < s.blocks(); ++block) {
            const int channels = int(std::min<int64_t>(BLOCK, s.c - block * BLOCK));
            source.of_block(0, block, xs);
            const int64_t at = n * s.oh * s.ow * s.c + block * BLOCK;
            stage_epilogue(conv.g + at, epilogue.y + at, s.c, int(s.ow), channels, s.g_left(), gs, staged_epilogue,
                           block, memory.spare);
            block_rows(chunk, block, xs, gs, y, memory, x_grad);
            weight_block<K, S>(s, xs, 0, gs, 0, 1, rows, 0, conv.chunk_sums(chunk, block));
        }
        unpack(x_grad, int64_t(y.size()) * s.w, grads.x + (n * s.h + y.begin) * s.w * w().in);
    }

    // The gradient of a block's normalized values in some rows, multiplied with x and with the weight.
    void block_rows(int64_t chunk, int block, const Sheet& xs, const Sheet& gs, Span y, const Buffers& memory,
                    vec* x_grad) const {
        const Shape<K, S>& s = shape();
        const int width = int(s.w);
        const vec* const taps = conv.taps + block * K * K * VECS;
        double* const to = chunk_norm_sums(chunk, block);
        vec* const tile = memory.tile;
        int64_t pixels = 0, done = 0;
        for (int row = y.begin; row < y.end; ++row) {
            conv.data_row(gs, 0, taps, row, memory.line);
            mask(xs.at(0, row, int(s.left)), memory.line, width, tile + pixels * VECS, to);
            pixels += width;
            if (pixels + width <= tile_pixels(s) && row + 1 < y.end) continue;
            const float* const packed = Expanded::packed(xs) + ((y.begin - xs.rows.begin) * s.w + done) * w().stride();
            multiply(block, tile, pixels, packed, x_grad + done * w().vecs(), chunk_sums(chunk, block));
            done += pixels;
            pixels = 0;
        }
    }

    // Through the activation. Its results tell as much as what it was given. Adds up what is left, too.
    NOINLINE void mask(const vec* expanded, const vec* line, int width, vec* tile, double* sums) const {
        const vec low = vec{} + w().low, high = vec{} + w().high;
        vec sum[2 * VECS] = {};
        for (int i = 0; i < width; ++i) UNROLL for (int v = 0; v < VECS; ++v) {
                const vec value = expanded[i * VECS + v];
                const vec grad = ((value <= low) | (value >= high)) ? vec{} : line[i * VECS + v];
                tile[i * VECS + v] = grad;
                sum[v] += grad;
            }
        flush(sum, sums);
    }

    NOINLINE void multiply(int block, const vec* tile, int64_t pixels, const float* packed, vec* x_grad,
                           vec* to) const {
        const int64_t vecs = w().vecs();
        const bool is_first = block == 0;
        product({reinterpret_cast<const float*>(tile), BLOCK, 1}, {weight + block * BLOCK * vecs, vecs}, pixels, BLOCK,
                vecs, [&](int64_t row, int64_t v) { return is_first ? vec{} : x_grad[row * vecs + v]; },
                [&](int64_t row, int64_t v, vec sum) { x_grad[row * vecs + v] = sum; });
        product({packed, 1, w().stride()}, {tile, VECS}, w().in, pixels, VECS,
                [&](int64_t row, int64_t v) { return to[row * VECS + v]; },
                [&](int64_t row, int64_t v, vec sum) { to[row * VECS + v] = sum; });
    }

    NOINLINE void unpack(const vec* from, int64_t pixels, float* to) const {
        for (int64_t p = 0; p < pixels; ++p, from += w().vecs(), to += w().in)
            for (int64_t v = 0; v < w().vecs(); ++v) store_part(to + v * LANES, from[v], w().in - v * LANES);
    }

    // What the chunks added up for channel j: the gradients of the norm's and of the weight's parameters.
    void parameter_gradients(int64_t j, const double* cov, double* g) const {
        const Expansion& of = w();
        const int64_t c = shape().c, block = j / BLOCK, lane = j % BLOCK, in = of.in;
        const double m = double(shape().n * shape().h * shape().w);
        const float* const row = of.weight + j * in;
        double sum = 0.0, dot = 0.0;
        std::fill(g, g + in, 0.0);
        for (int chunk = 0; chunk < conv.chunks; ++chunk) {
            sum += chunk_norm_sums(chunk, block)[lane];
            const float* const part = reinterpret_cast<const float*>(chunk_sums(chunk, block)) + lane;
            for (int64_t k = 0; k < in; ++k) g[k] += part[k * BLOCK];
        }
        for (int64_t k = 0; k < in; ++k) dot += row[k] * g[k];
        const double inverse = of.saved[c + j], scale = of.saved[2 * c + j];
        const double slope = -scale * inverse * inverse * dot / m;
        grads.affine[j] = static_cast<float>(slope);
        grads.affine[c + j] = static_cast<float>(-scale * sum / m);
        grads.norm_weight[j] = static_cast<float>(dot * inverse);
        grads.norm_bias[j] = static_cast<float>(sum);
        for (int64_t k = 0; k < in; ++k) {
            double spread = 0.0;
            for (int64_t i = 0; i < in; ++i) spread += row[i] * cov[i * in + k];
            grads.weight[j * in + k] = static_cast<float>(scale * g[k] + slope * m * spread);
        }
    }
};

template <int K, int S>
Code expanded_backward(const Expansion& w, const float* g, const float* taps, const EpilogueNorm& epilogue, const double* cov,
                     const ExpandedGrads& grads, const Geometry& geometry, int threads) {
    using Job = ExpandedBackward<K, S>;
    const Shape<K, S> shape(geometry);
    const int blocks = shape.blocks(), chunks = image_chunks(shape.n, shape.c);
    const Plan plan = make_plan(1, int(shape.oh), [&](int rows) {
        return Job::expanded_floats(shape, w, rows) + Job::grad_floats(shape, rows);
    });
    const int64_t expanded = Job::expanded_floats(shape, w, plan.rows) / LANES, grad = Job::grad_floats(shape, plan.rows) / LANES;
    const int64_t each = expanded + grad + Job::line_vectors(shape), source_vectors = Expanded::vectors(w, blocks);
    const int64_t packed = shape.w * w.vecs();  // a row's
    const int64_t sizes[] = {int64_t(blocks) * K * K * VECS, blocks * BLOCK * w.vecs(), Correction::vectors(w), source_vectors,
                             StagedNorm::vectors(blocks)};
    const Memory weights(sizes[0]), scaled(sizes[1]), corrections(sizes[2]), staged(sizes[3]), norm(sizes[4]);
    const Memory sums(int64_t(chunks) * blocks * K * K * VECS), gram(int64_t(chunks) * blocks * w.in * VECS);
    const Memory norm_sums(int64_t(chunks) * blocks * 4 * VECS), memory(std::max(each, packed) * threads);
    const Memory rows(2 * w.vecs() * threads);  // doubles
    for (const Memory* one : {&weights, &scaled, &corrections, &staged, &norm, &sums, &gram, &norm_sums, &memory, &rows})
        if (!one->data) return NO_MEMORY;
    const Expanded source(w, geometry, blocks, staged.data);
    const Job job{{shape, nullptr, g, grads.x, weights.data, sums.data, chunks, plan, false},
                  epilogue,
                  {epilogue, norm.data},
                  reinterpret_cast<double*>(norm_sums.data),
                  source,
                  grads,
                  scaled.data,
                  gram.data};
    StagedNorm staged_epilogue(epilogue, norm.data);
    const Correction correction{w, shape.c, grads.affine, corrections.data};
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t block = 0; block < blocks; ++block) {
            stage_weight(taps, shape.c, K * K, S == 1, block, weights.data);
            source.stage(block, shape.c);
            job.stage(block);
            staged_epilogue.stage(epilogue, shape.c, block);
        }
#pragma omp for schedule(static)
        for (int slot = 0; slot < threads; ++slot) {
            vec* const own = memory.data + std::max(each, packed) * slot;
            vec* const line = own + expanded + grad + VECS;  // a column stands before it
            vec* const spare = line + (std::max(shape.w, shape.ow) + 2) * VECS;
            const typename Job::Buffers parts{own, own + expanded, line, spare, spare + std::max(shape.w, shape.ow) * VECS};
            const int64_t begin = int64_t(chunks) * slot / threads, end = int64_t(chunks) * (slot + 1) / threads;
            for (int64_t i = begin; i < end; ++i) job.run(begin + end - 1 - i, parts);
        }
#pragma omp for schedule(static)
        for (int slot = 0; slot < threads; ++slot)
            for (int64_t j = shape.c * slot / threads; j < shape.c * (slot + 1) / threads; ++j)
                job.parameter_gradients(j, cov, reinterpret_cast<double*>(rows.data + 2 * w.vecs() * slot));
#pragma omp for schedule(static)
        for (int64_t block = 0; block < blocks; ++block) job.conv.fold(block, grads.taps);
#pragma omp for schedule(static)
        for (int64_t k = 0; k <= w.in; ++k) correction.stage(k);
#pragma omp for schedule(static)
        for (int slot = 0; slot < threads; ++slot) {
            const int64_t lines = shape.n * shape.h;
            for (int64_t i = lines * slot / threads; i < lines * (slot + 1) / threads; ++i)
                correction.add(w.x + i * shape.w * w.in, shape.w,
                                  reinterpret_cast<float*>(memory.data + std::max(each, packed) * slot),
                                  grads.x + i * shape.w * w.in);
        }
    }
    return DONE;
}

}  // namespace
