// A depthwise convolution together with the 1x1 convolution that expands its images, few channels to many, and the
// BatchNorm between them. The expanded map is computed where it is needed, rows at a time, forward and again backward:
// to multiply by few channels takes less time than to write what comes out, and to read it.
//
// The norm's statistics follow from x's: if y = W x, then mean(y) = W mean(x) and var(y) = W cov(x) W^T.
// Backwards, with d = x - mean(x), the gradient of y is scale * g + slope * (W d) + offset, where g is that of what the
// norm returned, and slope and offset follow from sums of g over the whole batch. So
//   the gradient of x is  (scale * W)^T g + M d + e,  M = W^T (slope * W),  e = W^T offset,
//   that of W is          scale * G + slope * m W cov(x),  G = sum of g d^T,  and sum(g * (y - mean)) = W G^T,
// all of which g is not needed for once it was multiplied with x and with W. All fp32.

#pragma once

#include "code.hpp"
#include "depthwise_backward.hpp"
#include "depthwise_forward.hpp"
#include "gemm_tile.hpp"

namespace {

struct Expansion {
    const float *x, *weight;  // [n, h, w, in]; [c, in]
    int64_t in;
    const float* saved;  // of the norm, [4, c]: see Norm
    const float* bias;   // the norm's, [c]
    float low, high;     // what its activation holds its results between
    const float* mean;   // of x, [in]
    const double* cov;   // [in, in]

    int64_t vecs() const { return (in + LANES - 1) / LANES; }
    int64_t stride() const { return vecs() * LANES; }  // floats of a packed pixel

    // Pixels, less the mean, zeros after them: [count, stride].
    NOINLINE void pack(const float* from, int64_t count, float* to) const {
        const int64_t row = stride();
        for (int64_t p = 0; p < count; ++p, from += in, to += row) {
            __builtin_prefetch(from + 16 * in);
            for (int64_t k = 0; k < in; ++k) to[k] = from[k] - mean[k];
            for (int64_t k = in; k < row; ++k) to[k] = 0.0f;
        }
    }
};

// Mean and covariance of the rows of x [m, in]; what the norm makes of them goes to `step`. The chunks that rows are
// cut into follow from the shape.
struct InputMoments {
    static constexpr int64_t ROWS = 128;  // whose sums are kept in float
    const Expansion& w;
    int64_t m, rows, count;  // rows of a chunk, and chunks
    double *means, *squares;

    InputMoments(const Expansion& w, int64_t m) : w(w), m(m) {
        rows = std::max<int64_t>(1024, (m + 63) / 64);
        count = (m + rows - 1) / rows;
    }
    int64_t size(int64_t chunk) const { return std::min(m, (chunk + 1) * rows) - chunk * rows; }
    int64_t task_floats() const { return (ROWS + w.in + 2) * w.stride(); }

    void run(int64_t chunk, float* memory) const {
        const int64_t in = w.in, stride = w.stride(), vecs = w.vecs(), begin = chunk * rows, total = size(chunk);
        float *packed = memory, *gram = packed + ROWS * stride, *k = gram + in * stride, *sum = k + stride;
        const Expansion apart{w.x, nullptr, in, nullptr, nullptr, 0, 0, k, nullptr};
        const int64_t probe = std::min<int64_t>(8, total);
        for (int64_t j = 0; j < in; ++j) {
            k[j] = 0.0f;
            for (int64_t i = 0; i < probe; ++i) k[j] += w.x[(begin + i) * in + j];
            k[j] /= float(probe);
        }
        double *mean = means + chunk * in, *square = squares + chunk * in * in;
        std::fill(mean, mean + in, 0.0);
        std::fill(square, square + in * in, 0.0);
        for (int64_t at = 0; at < total; at += ROWS) {
            const int64_t some = std::min(ROWS, total - at);
            apart.pack(w.x + (begin + at) * in, some, packed);
            std::fill(sum, sum + stride, 0.0f);
            for (int64_t i = 0; i < some; ++i)
                for (int64_t j = 0; j < stride; ++j) sum[j] += packed[i * stride + j];
            const vec* const right = reinterpret_cast<const vec*>(packed);
            product(
                {packed, 1, stride}, {right, vecs}, in, some, vecs, [](int64_t, int64_t) { return vec{}; },
                [&](int64_t row, int64_t v, vec value) { store(gram + row * stride + v * LANES, value); });
            for (int64_t j = 0; j < in; ++j) {
                mean[j] += sum[j];
                for (int64_t i = 0; i < in; ++i) square[j * in + i] += gram[j * stride + i];
            }
        }
        for (int64_t j = 0; j < in; ++j)
            for (int64_t i = 0; i < in; ++i) square[j * in + i] -= mean[j] * mean[i] / total;
        for (int64_t j = 0; j < in; ++j) mean[j] = k[j] + mean[j] / total;
    }

    void merge(double* mean, double* cov) const {
        const int64_t in = w.in;
        std::fill(mean, mean + in, 0.0);
        std::fill(cov, cov + in * in, 0.0);
        for (int64_t chunk = 0; chunk < count; ++chunk)
            for (int64_t j = 0; j < in; ++j) mean[j] += double(size(chunk)) / m * means[chunk * in + j];
        for (int64_t chunk = 0; chunk < count; ++chunk) {
            const double *of = means + chunk * in, *square = squares + chunk * in * in;
            for (int64_t j = 0; j < in; ++j)
                for (int64_t i = 0; i < in; ++i)
                    cov[j * in + i] += (square[j * in + i] + size(chunk) * (of[j] - mean[j]) * (of[i] - mean[i])) / m;
        }
    }

    void update(const NormStep& step, int64_t c, int64_t j, const double* mean, const double* cov) const {
        const float* const row = w.weight + j * w.in;
        double mean_of_y = 0.0, variance = 0.0;
        for (int64_t k = 0; k < w.in; ++k) {
            double product = 0.0;
            for (int64_t i = 0; i < w.in; ++i) product += cov[k * w.in + i] * row[i];
            mean_of_y += mean[k] * row[k];
            variance += product * row[k];
        }
        update_channel(step, c, j, mean_of_y, std::max(variance, 0.0), double(m));
    }
};

// mean [in] and cov [in, in] of x, and the norm's step.
inline Code input_moments(const Expansion& w, int64_t m, int64_t c, const NormStep& step, float* mean, double* cov,
                          int threads) {
    InputMoments job(w, m);
    const int64_t in = w.in, each = (job.task_floats() + LANES - 1) / LANES;
    const Memory doubles(((job.count + 1) * (in + 1) * in * 2 + LANES) / LANES), memory(each * threads);
    if (!doubles.data || !memory.data) return NO_MEMORY;
    job.means = reinterpret_cast<double*>(doubles.data);
    job.squares = job.means + job.count * in;
    double* const x_mean = job.squares + job.count * in * in;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int slot = 0; slot < threads; ++slot)
            for (int64_t i = job.count * slot / threads; i < job.count * (slot + 1) / threads; ++i)
                job.run(i, reinterpret_cast<float*>(memory.data + each * slot));
#pragma omp single
        {
            job.merge(x_mean, cov);
            std::copy(x_mean, x_mean + in, mean);
        }
#pragma omp for schedule(static)
        for (int64_t j = 0; j < c; ++j) job.update(step, c, j, x_mean, cov);
    }
    return DONE;
}

// The expanded map, a block at a time. The rows of x stand packed after the sheet.
struct Expanded {
    const Expansion& w;
    const int width, left;  // of a row, and of the zeros before it
    vec *weight, *shift;    // staged: scale * weight, [block][in][VECS], and [block][VECS]

    static int64_t vectors(const Expansion& w, int64_t blocks) { return blocks * (w.in + 1) * VECS; }
    Expanded(const Expansion& w, const Geometry& geometry, int64_t blocks, vec* data)
        : w(w), width(int(geometry.w)), left(int(geometry.left)), weight(data), shift(data + blocks * w.in * VECS) {}

    void stage(int64_t block, int64_t c) const {
        float *to = reinterpret_cast<float*>(weight + block * w.in * VECS),
              *from_bias = reinterpret_cast<float*>(shift);
        for (int64_t k = 0; k < w.in; ++k)
            for (int i = 0; i < BLOCK; ++i) {
                const int64_t j = block * BLOCK + i;
                to[k * BLOCK + i] = j < c ? w.saved[2 * c + j] * w.weight[j * w.in + k] : 0.0f;
            }
        for (int i = 0; i < BLOCK; ++i) {
            const int64_t j = block * BLOCK + i;
            from_bias[j] = j < c ? w.bias[j] : 0.0f;
        }
    }

    static const float* packed(const Sheet& sheet) {
        return reinterpret_cast<const float*>(sheet.data + sheet.rows.size() * sheet.row_size());
    }

    template <class Shape>
    void begin(const Shape& shape, int64_t n, int, int, const Sheet& sheet) const {
        const float* const image = w.x + n * shape.h * shape.w * w.in;
        w.pack(image + sheet.rows.begin * shape.w * w.in, sheet.rows.size() * shape.w,
               const_cast<float*>(packed(sheet)));
        const int right = left + width;
        for (int row = sheet.rows.begin; row < sheet.rows.end; ++row) {
            vec* const line = const_cast<vec*>(sheet.at(0, row, 0));
            std::fill(line, line + left * VECS, vec{});
            std::fill(line + right * VECS, line + sheet.row_size(), vec{});
        }
    }

    Sheet of_block(int, int block, const Sheet& sheet) const {
        for (int row = sheet.rows.begin; row < sheet.rows.end; ++row)
            fill_row(packed(sheet) + int64_t(row - sheet.rows.begin) * width * w.stride(), block,
                     const_cast<vec*>(sheet.at(0, row, left)));
        return sheet;
    }

    NOINLINE void fill_row(const float* from, int block, vec* to) const {
        const vec *const bias = shift + block * VECS, low = vec{} + w.low, high = vec{} + w.high;
        product(
            {from, w.stride(), 1}, {weight + block * w.in * VECS, VECS}, width, w.in, VECS,
            [&](int64_t, int64_t v) { return bias[v]; },
            [&](int64_t row, int64_t v, vec value) { to[row * VECS + v] = clamp(value, low, high); });
    }
};

template <int K, int S>
Code expanded_forward(const Expansion& w, const float* taps, const NormStep& epilogue, float* out,
                      const Geometry& geometry, int threads) {
    const Shape<K, S> shape(geometry);
    const int blocks = shape.blocks();
    Plan plan = make_plan(1, int(shape.oh), [&](int rows) {
        const int64_t need = std::min<int64_t>(shape.h, (rows - 1) * S + K);
        return need * (shape.x_columns() * BLOCK + shape.w * w.stride());
    });
    plan.blocks = blocks;
    const Memory staged(Expanded::vectors(w, blocks));
    if (!staged.data) return NO_MEMORY;
    const Expanded source(w, geometry, blocks, staged.data);
    return convolve<float, K, S>(geometry, source, taps, Epilogue{}, &epilogue, out, plan, threads,
                                 [&](int64_t block) { source.stage(block, shape.c); });
}

}  // namespace
