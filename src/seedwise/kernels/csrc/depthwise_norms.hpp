// The BatchNorm after a depthwise convolution, its epilogue, with an activation that clamps, on lines of one block that
// are in the cache anyhow: the gradient of the convolution's result isn't written and read once more. Arithmetic as in
// batch_norm.cpp.

#pragma once

#include "depthwise_tiles.hpp"

namespace {

struct EpilogueNorm {
    const float* saved;   // what `forward` there keeps, [4, c]: mean, 1 / deviation, scale, shift
    float low, high;      // what the activation holds the normalized values between
    const float* affine;  // slope and offset, [2, c] (see merge_gradients in batch_norm.hpp)
    const float* y;       // the convolution's output
};

// A norm's parameters as the arithmetic reads them: [block][part][VECS], zeros past the last channel.
struct StagedNorm {
    enum Part { MEAN, SCALE, SHIFT, SLOPE, OFFSET, PARTS };
    vec* data;
    vec low, high;

    static int64_t vectors(int64_t blocks) { return blocks * PARTS * VECS; }
    StagedNorm(const EpilogueNorm& norm, vec* data) : data(data), low(vec{} + norm.low), high(vec{} + norm.high) {}

    const vec* of(int64_t block) const { return data + block * PARTS * VECS; }
    void stage(const EpilogueNorm& norm, int64_t c, int64_t block) {
        const float* from[] = {norm.saved, norm.saved + 2 * c, norm.saved + 3 * c, norm.affine, norm.affine + c};
        for (int part = 0; part < PARTS; ++part) {
            float* line = reinterpret_cast<float*>(data + (block * PARTS + part) * VECS);
            for (int i = 0; i < BLOCK; ++i) line[i] = block * BLOCK + i < c ? from[part][block * BLOCK + i] : 0.0f;
        }
    }
};

// One vector of a norm.
struct NormVec {
    const vec mean, scale, shift, low, high;
    NormVec(const StagedNorm& norm, const vec* p, int v)
        : mean(p[v]),
          scale(p[StagedNorm::SCALE * VECS + v]),
          shift(p[StagedNorm::SHIFT * VECS + v]),
          low(norm.low),
          high(norm.high) {}

    // The gradient of a normalized value, d off the mean, from the activation's. NaN passes, as in PyTorch.
    vec masked(vec d, vec grad) const {
        const vec value = fused(d, scale, shift);
        return ((value <= low) | (value >= high)) ? vec{} : grad;
    }
};

// All channels of a block for `width` pixels, `c` numbers apart: the gradient of the norm's output becomes that of its
// input y.
template <class T>
NOINLINE void epilogue_gradient(const StagedNorm& norm, int64_t block, const T* y, int64_t c, int width, vec* line) {
    const vec* const p = norm.of(block);
    const int64_t ahead = width * c;
    for (int i = 0; i < width; ++i, y += c, line += VECS) {
        prefetch(y + ahead, BLOCK);
    UNROLL for (int v = 0; v < VECS; ++v) {
            const NormVec lane(norm, p, v);
            const vec d = load(y + v * LANES) - lane.mean;
            const vec rest = fused(d, p[StagedNorm::SLOPE * VECS + v], p[StagedNorm::OFFSET * VECS + v]);
            line[v] = fused(lane.masked(d, line[v]), lane.scale, rest);
        }
    }
}

// call(pixels, c) with a line's pixels, `c` numbers apart; where they lack channels, with a copy that has zeros instead.
template <class T, class Call>
inline void with_block(const T* from, int64_t c, int width, int channels, vec* spare, Call call) {
    if (channels >= BLOCK) return call(from, c);
    stage_line(from, c, width, channels, spare);
    call(reinterpret_cast<const float*>(spare), int64_t(BLOCK));
}

// Stages rows of an image [h, width, c]. `image` points at the first of `channels` channels.
template <class T>
NOINLINE void stage(const T* image, int64_t c, int width, int channels, int left, const Sheet& to) {
    stage_lines(width, channels, left, to, [&](int block, int row, vec* line) {
        stage_line(image + int64_t(row) * width * c + block * BLOCK, c, width, channels - block * BLOCK, line);
    });
}

// Stages rows of a gradient [h, width, c] of a norm's output as those of its input y; block `first` of the norm is the
// first of its channels.
template <class T>
NOINLINE void stage_epilogue(const T* g, const T* y, int64_t c, int width, int channels, int left, const Sheet& to,
                           const StagedNorm& norm, int64_t first, vec* spare) {
    stage_lines(width, channels, left, to, [&](int block, int row, vec* line) {
        const int64_t at = int64_t(row) * width * c + block * BLOCK;
        const int rest = channels - block * BLOCK;
        stage_line(g + at, c, width, rest, line);
        with_block(y + at, c, width, rest, spare, [&](auto pixels, int64_t apart) {
            epilogue_gradient(norm, first + block, pixels, apart, width, line);
        });
    });
}

constexpr int TILE = 128;  // pixels whose sums are kept in float

// Moves float sums [2][BLOCK] to those in double.
NOINLINE void flush(vec (&sums)[2 * VECS], double* to) {
    typedef double doubles __attribute__((vector_size(LANES * 8), aligned(8), may_alias));
    UNROLL for (int v = 0; v < 2 * VECS; ++v) {
        *reinterpret_cast<doubles*>(to + v * LANES) += __builtin_convertvector(sums[v], doubles);
        sums[v] = vec{};
    }
}

}  // namespace
