// The BatchNorms before and behind a depthwise convolution, each with an activation that clamps, on lines of one block
// that are in the cache anyhow: neither the map between them nor the gradients around the convolution are written and
// read once more. Arithmetic as in norm_act.cpp.

#pragma once

#include "depthwise_tiles.hpp"

namespace {

struct Norm {
    const float* saved;  // what norm_act_forward keeps, [4, c]: mean, 1 / deviation, scale, shift. Null: there is none
    float low, high;     // what the activation holds the normalized values between

    explicit operator bool() const { return saved != nullptr; }
};

// What a backward pass through both norms reads and writes beside the convolution's own.
struct Norms {
    Norm before, behind;
    const float* affine;  // of the norm behind: slope and offset, [2, c] (see merge_gradients in norm_act.cpp)
    const void* y;        // the convolution's output
    float *before_affine, *weight_grad, *bias_grad;  // of the norm before: as above; float[c]

    explicit operator bool() const { return bool(before); }
};

// A norm's parameters as the arithmetic reads them: [block][part][VECS], zeros past the last channel.
struct StagedNorm {
    enum Part { MEAN, SCALE, SHIFT, SLOPE, OFFSET, PARTS };
    vec* data;
    vec low, high;

    static int64_t vectors(const Norm& norm, int64_t blocks) { return norm ? blocks * PARTS * VECS : 0; }
    StagedNorm(const Norm& norm, vec* data) : data(data), low(vec{} + norm.low), high(vec{} + norm.high) {}

    const vec* of(int64_t block) const { return data + block * PARTS * VECS; }
    void stage(const Norm& norm, const float* affine, int64_t c, int64_t block) {
        const float* from[] = {norm.saved, norm.saved + 2 * c, norm.saved + 3 * c, affine,
                               affine ? affine + c : nullptr};
        for (int part = 0; part < (affine ? PARTS : SLOPE); ++part) {
            float* line = reinterpret_cast<float*>(data + (block * PARTS + part) * VECS);
            for (int i = 0; i < BLOCK; ++i) line[i] = block * BLOCK + i < c ? from[part][block * BLOCK + i] : 0.0f;
        }
    }
};

// One vector of a norm: what its functions have in common.
struct NormVec {
    const vec mean, scale, shift, low, high;
    NormVec(const StagedNorm& norm, const vec* p, int v)
        : mean(p[v]),
          scale(p[StagedNorm::SCALE * VECS + v]),
          shift(p[StagedNorm::SHIFT * VECS + v]),
          low(norm.low),
          high(norm.high) {}

    vec activated(vec x) const {
        vec value = fused(x - mean, scale, shift);
        value = value < low ? low : value;
        return value > high ? high : value;
    }
    // The gradient of a normalized value, d off the mean, from the activation's. NaN passes, as in PyTorch.
    vec held(vec d, vec grad) const {
        const vec value = fused(d, scale, shift);
        return ((value <= low) | (value >= high)) ? vec{} : grad;
    }
};

// All channels of a block for `width` pixels, `c` numbers apart: activated(x).
template <class T>
NOINLINE void norm_line(const StagedNorm& norm, int64_t block, const T* x, int64_t c, int width, vec* to) {
    const vec* const p = norm.of(block);
    const int64_t ahead = width * c;
    for (int i = 0; i < width; ++i, x += c, to += VECS) {
        fetch_block(x, ahead);
    UNROLL for (int v = 0; v < VECS; ++v) to[v] = NormVec(norm, p, v).activated(load(x + v * LANES));
    }
}

// The norm behind: the gradient of its output becomes that of its input y.
template <class T>
NOINLINE void gradient_behind(const StagedNorm& norm, int64_t block, const T* y, int64_t c, int width, vec* line) {
    const vec* const p = norm.of(block);
    const int64_t ahead = width * c;
    for (int i = 0; i < width; ++i, y += c, line += VECS) {
        fetch_block(y, ahead);
        UNROLL for (int v = 0; v < VECS; ++v) {
            const NormVec lane(norm, p, v);
            const vec d = load(y + v * LANES) - lane.mean;
            const vec rest = fused(d, p[StagedNorm::SLOPE * VECS + v], p[StagedNorm::OFFSET * VECS + v]);
            line[v] = fused(lane.held(d, line[v]), lane.scale, rest);
        }
    }
}

// The norm before: the gradient of its output becomes that of the normalized values. Adds this, and its product with
// x - mean, to sums[2][VECS].
template <class T>
NOINLINE void gradient_before(const StagedNorm& norm, int64_t block, const T* x, int64_t c, int width, vec* line,
                              vec* sums) {
    const vec* const p = norm.of(block);
    vec sum[VECS], dot[VECS];
    UNROLL for (int v = 0; v < VECS; ++v) sum[v] = sums[v], dot[v] = sums[VECS + v];
    for (int i = 0; i < width; ++i, x += c, line += VECS)
        UNROLL for (int v = 0; v < VECS; ++v) {
            const NormVec lane(norm, p, v);
            const vec d = load(x + v * LANES) - lane.mean, grad = lane.held(d, line[v]);
            line[v] = grad;
            sum[v] += grad;
            dot[v] = fused(grad, d, dot[v]);
        }
    UNROLL for (int v = 0; v < VECS; ++v) sums[v] = sum[v], sums[VECS + v] = dot[v];
}

// call(pixels, c) with a line's pixels, `c` numbers apart; where they lack channels, with a copy that has zeros instead.
template <class T, class Call>
inline void with_block(const T* from, int64_t c, int width, int channels, vec* spare, Call call) {
    if (channels >= BLOCK) return call(from, c);
    stage_line(from, c, width, channels, spare);
    call(reinterpret_cast<const float*>(spare), int64_t(BLOCK));
}

// Stages rows of an image [h, width, c], normalized if there is a norm. `image` points at the first of `channels`
// channels, with which block `first` of the norm begins.
template <class T>
NOINLINE void stage(const T* image, int64_t c, int width, int channels, int left, const Sheet& to,
                    const StagedNorm* norm = nullptr, int64_t first = 0) {
    stage_lines(width, channels, left, to, [&](int block, int row, vec* line) {
        const T* from = image + int64_t(row) * width * c + block * BLOCK;
        const int rest = channels - block * BLOCK;
        if (!norm) return stage_line(from, c, width, rest, line);
        with_block(from, c, width, rest, line, [&](auto pixels, int64_t apart) {
            norm_line(*norm, first + block, pixels, apart, width, line);
        });
    });
}

// Stages rows of a gradient [h, width, c] of a norm's output as those of its input y.
template <class T>
NOINLINE void stage_behind(const T* g, const T* y, int64_t c, int width, int channels, int left, const Sheet& to,
                           const StagedNorm& norm, int64_t first, vec* spare) {
    stage_lines(width, channels, left, to, [&](int block, int row, vec* line) {
        const int64_t at = int64_t(row) * width * c + block * BLOCK;
        const int rest = channels - block * BLOCK;
        stage_line(g + at, c, width, rest, line);
        with_block(y + at, c, width, rest, spare, [&](auto pixels, int64_t apart) {
            gradient_behind(norm, first + block, pixels, apart, width, line);
        });
    });
}

constexpr int TILE = 128;  // pixels whose sums are kept in float

// `gradient_before`, where channels may be missing.
template <class T>
NOINLINE void add_before(const StagedNorm& norm, int64_t block, const T* x, int64_t c, int width, int channels,
                         vec* spare, vec* line, vec* sums) {
    with_block(x, c, width, channels, spare, [&](auto pixels, int64_t apart) {
        gradient_before(norm, block, pixels, apart, width, line, sums);
    });
}

// Moves float sums [2][BLOCK] to those in double.
NOINLINE void flush(vec (&sums)[2 * VECS], double* to) {
    typedef double doubles __attribute__((vector_size(LANES * 8), aligned(8), may_alias));
    UNROLL for (int v = 0; v < 2 * VECS; ++v) {
        *reinterpret_cast<doubles*>(to + v * LANES) += __builtin_convertvector(sums[v], doubles);
        sums[v] = vec{};
    }
}

// From the sums of `chunks` parts, [chunk][block][2][BLOCK], to the norm's gradients and what is still to be added:
// x_grad = scale * g + slope * (x - mean) + offset.
NOINLINE void merge_sums(const Norms& norms, const double* sums, int chunks, int64_t blocks, int64_t block, int64_t c,
                       double m) {
    for (int i = 0; i < std::min<int64_t>(BLOCK, c - block * BLOCK); ++i) {
        double sum = 0.0, dot = 0.0;
        for (int chunk = 0; chunk < chunks; ++chunk) {
            const double* part = sums + (chunk * blocks + block) * 2 * BLOCK + i;
            sum += part[0];
            dot += part[BLOCK];
        }
        const int64_t channel = block * BLOCK + i;
        const double inverse = norms.before.saved[c + channel], scale = norms.before.saved[2 * c + channel];
        norms.before_affine[channel] = static_cast<float>(-scale * inverse * inverse * dot / m);
        norms.before_affine[c + channel] = static_cast<float>(-scale * sum / m);
        norms.weight_grad[channel] = static_cast<float>(dot * inverse);
        norms.bias_grad[channel] = static_cast<float>(sum);
    }
}

}  // namespace
