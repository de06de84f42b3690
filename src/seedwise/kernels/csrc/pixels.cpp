// Copies of pixels by line numbers, their normalization, and where affine maps read from. Images are in channels_last,
// [n, h, w, c], c bytes a pixel.
//
// Loops are short enough for the compiler to make vectors of them. Images are shared between threads; no result depends
// on how many there are.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "code.hpp"
#include "vectors.hpp"

namespace {

constexpr int64_t PARALLEL = 128 * 1024;  // bytes of a result; below, waking a thread costs more than it saves
constexpr int64_t STREAMED = 1'000'000;   // numbers of a result from which on it is written past the cache

struct Strides {  // of the images, in bytes
    int64_t n, c, h, w;
};

// One line of results: the pixels at `columns`. C: channels, or 0 for `c` of them.
template <int C>
void copy_line(const uint8_t* from, const Strides& strides, const int64_t* columns, int64_t width, int64_t c,
               uint8_t* to) {
    const int64_t channels = C ? C : c;
    for (int64_t x = 0; x < width; ++x, to += channels) {
        const uint8_t* const pixel = from + columns[x] * strides.w;
        for (int64_t j = 0; j < channels; ++j) to[j] = pixel[j * strides.c];
    }
}

// A line that goes past the cache.
void stream_line(const float* from, int64_t count, float* to) {
    for (int64_t j = 0; j < count; j += 8) stream<8>(to + j, load<8>(from + j));
}

}  // namespace

// out[i, y, x] = images[i, rows[i, y], columns[i, x]]. `shape`: n, c, and height and width of the results; `steps`:
// from an image's rows and columns to the next one's, 0 if all share them.
extern "C" Code pixels_look_up(const uint8_t* images, const int64_t* rows, const int64_t* columns, uint8_t* out,
                               const int64_t* strides, const int64_t* shape, const int64_t* steps, int threads) {
    const Strides given{strides[0], strides[1], strides[2], strides[3]};
    const int64_t n = shape[0], c = shape[1], height = shape[2], width = shape[3], line = width * c;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && n * height * line >= PARALLEL)
    for (int64_t i = 0; i < n; ++i) {
        const int64_t *const y_of = rows + i * steps[0], *const x_of = columns + i * steps[1];
        uint8_t* to = out + i * height * line;
        for (int64_t y = 0; y < height; ++y, to += line) {
            const uint8_t* const from = images + i * given.n + y_of[y] * given.h;
            if (y > 0 && y_of[y] == y_of[y - 1])
                std::memcpy(to, to - line, line);
            else if (c == 3 && given.c == 1)
                copy_line<3>(from, {0, 1, 0, given.w}, x_of, width, c, to);  // of strides that the compiler knows
            else if (c == 3)
                copy_line<3>(from, given, x_of, width, c, to);
            else
                copy_line<0>(from, given, x_of, width, c, to);
        }
    }
    return DONE;
}

// out = (pixels - offset) * scale, of `lines` lines of `count` numbers each; `offset` and `scale` are of one line.
extern "C" Code pixels_normalize(const uint8_t* pixels, const float* offset, const float* scale, float* out,
                                 int64_t lines, int64_t count, int threads) {
    const bool streamed = is_streamed<8>(out, count, lines * count, STREAMED);
#pragma omp parallel num_threads(threads) if (threads > 1 && lines * count >= PARALLEL)
    {
        std::vector<float> staged(streamed ? count : 0);
#pragma omp for schedule(static)
        for (int64_t line = 0; line < lines; ++line) {
            const uint8_t* const from = pixels + line * count;
            float* const to = streamed ? staged.data() : out + line * count;
            for (int64_t j = 0; j < count; ++j) to[j] = (static_cast<float>(from[j]) - offset[j]) * scale[j];
            if (streamed) stream_line(to, count, out + line * count);
        }
        end_stream();
    }
    return DONE;
}

// places[i, y, x] = along[i, x] + down[i, y] + shift[i], where each is a pair.
extern "C" Code pixels_places(const float* along, const float* down, const float* shift, float* places, int64_t n,
                              int64_t height, int64_t width, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && n * height * width >= PARALLEL)
    for (int64_t i = 0; i < n; ++i)
        for (int64_t y = 0; y < height; ++y) {
            const float* const x_part = along + i * width * 2;
            const float* const y_part = down + (i * height + y) * 2;
            float* const to = places + (i * height + y) * width * 2;
            for (int64_t x = 0; x < width; ++x)
                for (int64_t j = 0; j < 2; ++j) to[2 * x + j] = x_part[2 * x + j] + y_part[j] + shift[2 * i + j];
        }
    return DONE;
}
