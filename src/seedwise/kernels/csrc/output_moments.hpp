// The statistics of a depthwise convolution's result, for the BatchNorm after it: summed up while it is in the cache.

#pragma once

#include "depthwise_norms.hpp"
#include "moments.hpp"

namespace {

// Sums of differences to k, the mean of the first line, so that little cancels however far from 0 the values are. A
// chunk is some images; each of its channels belongs to one task, which takes its lines in order.
struct ResultSums {
    const NormStep* step;  // null: nobody wants them
    int chunks;
    int64_t blocks;
    double* parts;  // [chunk][block][2][BLOCK]: sums, then mean and squared deviations

    struct Block {  // of a task
        vec k[VECS], sums[2 * VECS];
        int64_t pixels;
    };

    static int64_t vectors(bool wanted, int chunks, int64_t blocks) { return wanted ? chunks * blocks * 4 * VECS : 0; }
    static int64_t task_vectors(bool wanted, int blocks) {
        return wanted ? (blocks * sizeof(Block) + sizeof(vec) - 1) / sizeof(vec) : 0;
    }
    explicit operator bool() const { return step != nullptr; }
    double* part(int64_t chunk, int64_t block) const { return parts + (chunk * blocks + block) * 2 * BLOCK; }

    void begin(const vec* line, int width, Block& of, double* to) const {
        std::fill(to, to + 2 * BLOCK, 0.0);
        of = Block{};
        UNROLL for (int v = 0; v < VECS; ++v) {
            for (int x = 0; x < width; ++x) of.k[v] += line[x * VECS + v];
            of.k[v] /= vec{} + float(width);
        }
    }

    NOINLINE void add(const vec* line, int width, Block& of, double* to) const {
        vec k[VECS], part[2 * VECS];
        std::copy(of.k, of.k + VECS, k);
        std::copy(of.sums, of.sums + 2 * VECS, part);
        for (int x = 0; x < width; ++x)
            UNROLL for (int v = 0; v < VECS; ++v) {
                const vec d = line[x * VECS + v] - k[v];
                part[v] += d;
                part[VECS + v] = fused(d, d, part[VECS + v]);
            }
        of.pixels += width;
        if (of.pixels >= TILE) flush(part, to), of.pixels = 0;
        std::copy(part, part + 2 * VECS, of.sums);
    }

    void end(double size, Block& of, double* to) const {
        flush(of.sums, to);
        for (int i = 0; i < BLOCK; ++i) {
            const double sum = to[i], left = to[BLOCK + i] - sum * sum / size;
            to[i] = of.k[i / LANES][i % LANES] + sum / size;
            to[BLOCK + i] = left < 0.0 ? 0.0 : left;
        }
    }

    // What the BatchNorm keeps of a block's channels; there are n images of `pixels` each.
    void merge(int64_t block, int64_t n, int64_t pixels, int64_t c) const {
        static_assert(BLOCK <= MERGED);
        merge_channels(*step, c, block * BLOCK, std::min(c, (block + 1) * BLOCK), chunks, double(n * pixels),
                       [&](int i) { return part(i, block); }, [&](int i) { return part(i, block) + BLOCK; },
                       [&](int i) { return double((n * (i + 1) / chunks - n * i / chunks) * pixels); });
    }
};

}  // namespace
