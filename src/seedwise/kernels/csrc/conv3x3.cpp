// Dense 3x3 convolution of stride 1 with a zero around the map, over channels_last tensors in fp32, by Winograd's
// minimal filtering F(4x4, 3x3) (Lavin & Gray 2015, arXiv 1509.09308): a quarter of the multiplications.
//
// A map is cut into tiles of 4x4 results, each of which depends on 6x6 pixels. Transformed, those are 36 positions, and
// at each the convolution is a product of matrices over channels: result[tile, out] = image[tile, in] weight[in, out].
// The images' gradient is the same function of the rotated and transposed weight. The weight's gradient has at each
// position the product of the images, transposed, with the result's gradient.
//
// Tiles are taken in chunks, so that what is transformed stays in the caches; it never goes to memory as a whole. Every
// sum is taken in an order that follows from the shape alone, so the bits depend on neither threads nor timing. A NaN
// or an infinity spreads over its tile and those beside it, instead of over the 3x3 pixels around it.

#include "code.hpp"
#include "epilogue.hpp"
#include "memory.hpp"
#include "winograd_transforms.hpp"

namespace {

constexpr int64_t CHUNK = 24;                   // tiles of a chunk: a multiple of ROWS
constexpr int64_t PANELS_AT_ONCE = 64 / PANEL;  // of results that are transformed back together
constexpr int64_t GRADIENT_CHUNK = 48;   // of the weight's gradient, whose sums are read and written once for each
constexpr int64_t STREAMED = 2'000'000;  // numbers of a result from which on it is written past the cache

using Memory = Aligned<float>;

struct Maps {  // n images of h x w pixels
    int64_t n, h, w;
    int64_t down = (h + TILE - 1) / TILE, across = (w + TILE - 1) / TILE;
    int64_t tiles() const { return n * down * across; }
    int64_t band(int64_t tile) const {  // the first row of pixels, counted over all images
        return tile / (down * across) * h + tile / across % down * TILE;
    }
};

struct Corner {  // of a tile, before the first of its pixels
    int64_t n, y, x;
    Corner(const Maps& maps, int64_t tile, int before)
        : n(tile / (maps.down * maps.across)),
          y(tile / maps.across % maps.down * TILE - before),
          x(tile % maps.across * TILE - before) {}
};

// The pixels of the next tiles, fetched into the cache a few at a time while this chunk's products are computed:
// reading them only when they are wanted takes longer than transforming them, and the processor drops what is asked for
// all at once. Inline: see `prefetch`.
struct Ahead {
    const float* from;
    int64_t lines, each;  // of the cache, and how many of them to a call
    Ahead(const float* x, const Maps& maps, int64_t c, int64_t begin, int64_t end, int64_t calls) {
        begin = std::min(begin, maps.tiles());
        end = std::min(end, maps.tiles());
        const int64_t row = maps.w * c, first = maps.band(begin);
        const int64_t last = begin < end ? std::min(maps.band(end - 1) + TILE, maps.n * maps.h) : first;
        from = x + first * row;
        lines = (last - first) * row / LINE;
        each = (lines + calls - 1) / calls;
    }
    INLINE void fetch(int64_t call) const {
        const int64_t end = std::min(lines, (call + 1) * each);
        for (int64_t line = call * each; line < end; ++line) __builtin_prefetch(from + line * LINE, 0, 2);
    }
};

// 36 matrices [rows, c], one for each position. Rows are an odd number of cache lines apart, and so are matrices, or
// those that are read together would fall into the same few places of a cache.
struct Sheets {
    int64_t rows, row, size;
    Sheets(int64_t rows, int64_t c) : rows(rows), row(round_up(c, LANES)) {
        if (row % (2 * LINE) == 0) row += LINE;
        size = round_up(rows * row, 2 * LINE) + LINE;
    }
    int64_t floats() const { return POSITIONS * size; }
};

// 36 matrices [rows, c], each cut into panels of VECS vectors (the last may have one), which are read from end to end.
struct Panels {
    int64_t rows, vecs, count, size;
    Panels(int64_t rows, int64_t c)
        : rows(rows),
          vecs((c + LANES - 1) / LANES),
          count((vecs + VECS - 1) / VECS),
          size(round_up(rows * vecs * LANES, 2 * LINE) + LINE) {}
    int64_t floats() const { return POSITIONS * size; }
    int64_t at(int64_t position, int64_t panel) const { return position * size + panel * rows * PANEL; }
    // body(Int<W>, panel): W vectors of a panel.
    template <class Body>
    INLINE void each(int64_t begin, int64_t end, Body body) const {
        for (int64_t panel = begin; panel < end; ++panel)
            if ((panel + 1) * VECS <= vecs)
                body(Int<VECS>{}, panel);
            else
                body(Int<1>{}, panel);
    }
};

// Where a tile's pixels are; those outside the map are zeros.
template <int SIZE>
struct Pixels {
    const float* at[SIZE][SIZE];
    Pixels(const float* x, const Maps& maps, int64_t c, Corner corner, const float* zeros) {
        for (int i = 0; i < SIZE; ++i)
            for (int j = 0; j < SIZE; ++j) {
                const int64_t y = corner.y + i, x_ = corner.x + j;
                const bool inside = y >= 0 && y < maps.h && x_ >= 0 && x_ < maps.w;
                at[i][j] = inside ? x + ((corner.n * maps.h + y) * maps.w + x_) * c : zeros;
            }
    }
};

// Tile `tile` of the images to row `row` of the sheets.
void stage_image(const float* x, const Maps& maps, int64_t c, int64_t tile, const float* zeros, const Sheets& sheets,
                 float* to) {
    const Pixels<SIDE> pixels(x, maps, c, Corner(maps, tile, 1), zeros);
    int64_t j = 0;
    const auto put = [&](auto whole) LAMBDA_INLINE {
        transform<OfImage, 1>(
            [&](int y, int x, int) LAMBDA_INLINE {
                return whole.value ? load(pixels.at[y][x] + j) : load_part(pixels.at[y][x] + j, c - j);
            },
            [&](int y, int x, int, vec value) LAMBDA_INLINE { store(to + (y * SIDE + x) * sheets.size + j, value); });
    };
    for (; j + LANES <= c; j += LANES) put(Int<1>{});
    if (j < c) put(Int<0>{});
}

// Tile `tile` of the result's gradient to row `row` of the panels.
void stage_gradient(const float* g, const Maps& maps, int64_t c, int64_t tile, const float* zeros, const Panels& panels,
                    int64_t row, float* to) {
    const Pixels<TILE> pixels(g, maps, c, Corner(maps, tile, 0), zeros);
    panels.each(0, panels.count, [&](auto vecs, int64_t panel) LAMBDA_INLINE {
        constexpr int W = vecs.value;
        const int64_t j = panel * PANEL, rest = c - j;
        float* const at = to + panels.at(0, panel) + row * W * LANES;
        transform<OfGradient, W>(
            [&](int y, int x, int w) LAMBDA_INLINE { return load_part(pixels.at[y][x] + j + w * LANES, rest - w * LANES); },
            [&](int y, int x, int w, vec value) LAMBDA_INLINE {
                store(at + (y * SIDE + x) * panels.size + w * LANES, value);
            });
    });
}

struct Weight {                                         // [out, in, 3, 3], or what of it takes the images' place
    int64_t in, out, of_out, of_in, of_row, of_column;  // strides
    int64_t at(int64_t o, int64_t i, int y, int x) const { return o * of_out + i * of_in + y * of_row + x * of_column; }
};

// One panel of the weight: an output's taps of one input lie beside those of the next, in lines read once.
void stage_weight(const float* from, const Weight& weight, const Panels& panels, int64_t panel, float* to) {
    panels.each(panel, panel + 1, [&](auto vecs, int64_t) {
        constexpr int W = vecs.value;
        for (int w = 0; w < W; ++w)
            for (int64_t in = 0; in < weight.in; ++in) {
                const int64_t o = panel * PANEL + w * LANES, lanes = std::min<int64_t>(LANES, weight.out - o);
                float* const at = to + panels.at(0, panel) + (in * W + w) * LANES;
                transform<OfWeight, 1>(
                    [&](int y, int x, int) {
                        vec taps{};
                        for (int lane = 0; lane < lanes; ++lane) taps[lane] = from[weight.at(o + lane, in, y, x)];
                        return taps;
                    },
                    [&](int y, int x, int, vec value) { store(at + (y * SIDE + x) * panels.size, value); });
            }
    });
}

void unstage_weight(const float* from, const Weight& weight, const Panels& panels, int64_t in, float* to) {
    panels.each(0, panels.count, [&](auto vecs, int64_t panel) {
        constexpr int W = vecs.value;
        for (int w = 0; w < W; ++w) {
            const int64_t o = panel * PANEL + w * LANES, lanes = std::min<int64_t>(LANES, weight.out - o);
            const float* const at = from + panels.at(0, panel) + (in * W + w) * LANES;
            transform<ToWeight, 1>([&](int y, int x, int) { return load(at + (y * SIDE + x) * panels.size); },
                                   [&](int y, int x, int, vec value) {
                                       for (int lane = 0; lane < lanes; ++lane)
                                           to[weight.at(o + lane, in, y, x)] = value[lane];
                                   });
        }
    });
}

struct Convolution {
    Maps maps;
    Weight weight;
    int64_t chunk;  // tiles
    bool streamed;
    const float* bias;
    Epilogue epilogue;
    Sheets image{chunk, weight.in};
    Panels taps{weight.in, weight.out};

    // Some panels' products for a chunk: [panel][ROWS tiles][position][tile][vectors].
    int64_t product_floats() const { return PANELS_AT_ONCE * chunk * POSITIONS * PANEL; }

    template <class Meanwhile>
    INLINE void products(const float* x, const float* w, int64_t tiles, int64_t begin, int64_t end, float* to,
                         Meanwhile meanwhile) const {
        for (int position = 0; position < POSITIONS; ++position)
            taps.each(begin, end, [&](auto vecs, int64_t panel) LAMBDA_INLINE {
                for (int64_t tile = 0; tile < tiles; tile += ROWS) {
                    meanwhile(((begin * POSITIONS + position * (end - begin) + panel - begin) * chunk + tile) / ROWS);
                    multiply<ROWS, vecs.value, true>(x + position * image.size + tile * image.row, image.row,
                                                     w + taps.at(position, panel), weight.in, false,
                                                     to + ((panel - begin) * chunk + tile) * POSITIONS * PANEL +
                                                         position * ROWS * vecs.value * LANES);
                }
            });
    }

    template <int W, bool STREAM, Epilogue E>
    void result(const float* from, Corner corner, int64_t channel, float* out) const {
        const int64_t rest = weight.out - channel, rows = std::min<int64_t>(TILE, maps.h - corner.y);
        const int64_t columns = std::min<int64_t>(TILE, maps.w - corner.x);
        vec shift[W] = {};
        if constexpr (E != Epilogue::none)
            for (int w = 0; w < W; ++w) shift[w] = load_part(bias + channel + w * LANES, rest - w * LANES);
        float* const to = out + ((corner.n * maps.h + corner.y) * maps.w + corner.x) * weight.out + channel;
        transform<ToResult, W>(
            [&](int y, int x, int w) LAMBDA_INLINE { return load(from + ((y * SIDE + x) * ROWS * W + w) * LANES); },
            [&](int y, int x, int w, vec value) LAMBDA_INLINE {
                float* const at = to + (y * maps.w + x) * weight.out + w * LANES;
                if (y >= rows || x >= columns) return;
                const vec done = with_epilogue<E>(value, shift[w]);
                if constexpr (STREAM)
                    stream(at, done);
                else
                    store_part(at, done, rest - w * LANES);
            });
    }

    template <int W>
    auto writer() const {
        using Write = void (Convolution::*)(const float*, Corner, int64_t, float*) const;
        static constexpr Write writers[][3] = {
            {&Convolution::result<W, false, Epilogue::none>, &Convolution::result<W, false, Epilogue::bias>,
             &Convolution::result<W, false, Epilogue::silu>},
            {&Convolution::result<W, true, Epilogue::none>, &Convolution::result<W, true, Epilogue::bias>,
             &Convolution::result<W, true, Epilogue::silu>},
        };
        return writers[streamed][int(epilogue)];
    }

    void run(const float* x, const float* w, const float* zeros, int64_t first, float* memory, float* out) const {
        const int64_t tiles = std::min(chunk, maps.tiles() - first);
        float* const sums = memory + image.floats();
        const int64_t calls = taps.count * POSITIONS * chunk / ROWS;
        const Ahead ahead(x, maps, weight.in, first + chunk, first + 2 * chunk, calls);
        for (int64_t tile = 0; tile < tiles; ++tile)
            stage_image(x, maps, weight.in, first + tile, zeros, image, memory + tile * image.row);
        for (int64_t begin = 0; begin < taps.count; begin += PANELS_AT_ONCE) {
            const int64_t end = std::min(taps.count, begin + PANELS_AT_ONCE);
            products(memory, w, tiles, begin, end, sums, [&](int64_t call) LAMBDA_INLINE { ahead.fetch(call); });
            for (int64_t tile = 0; tile < tiles; ++tile)
                taps.each(begin, end, [&](auto vecs, int64_t panel) LAMBDA_INLINE {
                    constexpr int W = vecs.value;
                    const float* const from = sums +
                                              ((panel - begin) * chunk + tile / ROWS * ROWS) * POSITIONS * PANEL +
                                              tile % ROWS * W * LANES;
                    (this->*writer<W>())(from, Corner(maps, first + tile, 0), panel * PANEL, out);
                });
        }
    }
};

struct Gradient {
    Maps maps;
    Weight weight;
    int64_t chunk = std::min(GRADIENT_CHUNK, maps.tiles());
    Sheets image{chunk, weight.in};
    Panels grad{chunk, weight.out}, sums{weight.in, weight.out};

    template <int R, int W>
    INLINE void add_rows(const float* x, const float* g, int64_t tiles, int64_t i, float* to) const {
        multiply<R, W, false>(x + i, image.row, g, tiles, true, to + i * W * LANES);
    }

    // What `tiles` tiles add to one panel of the weight's gradient at one position.
    template <int W, class Meanwhile>
    INLINE void add(const float* x, const float* g, int64_t tiles, float* to, Meanwhile meanwhile) const {
        int64_t i = 0;
        for (; i + ROWS <= weight.in; i += ROWS) {
            meanwhile(i / ROWS);
            add_rows<ROWS, W>(x, g, tiles, i, to);
        }
        for (; i + 2 <= weight.in; i += 2) add_rows<2, W>(x, g, tiles, i, to);
        for (; i < weight.in; ++i) add_rows<1, W>(x, g, tiles, i, to);
    }
};

}  // namespace

// x: [n, h, w, in]; out: [n, h, w, out]; `first` and `strides`: where the weight's first number is, and from there its
// strides along out, in, rows and columns; `bias`: [out] or null; `silu`: whether it follows a bias.
extern "C" Code winograd_forward(const float* x, const float* weight, const float* bias, float* out, int64_t first,
                                 const int64_t* strides, const int64_t* shape, int silu, int threads) {
    const Maps maps{shape[0], shape[1], shape[2]};
    const int64_t share = round_up((maps.tiles() + threads - 1) / threads, ROWS);
    const bool streamed = is_streamed<LINE>(out, shape[4], maps.n * maps.h * maps.w * shape[4], STREAMED);
    const Convolution it{maps,
                         {shape[3], shape[4], strides[0], strides[1], strides[2], strides[3]},
                         std::min(CHUNK, share),
                         streamed,
                         bias,
                         epilogue_of(bias, silu)};
    const int64_t in = it.weight.in, each = round_up(it.image.floats() + it.product_floats(), LINE);
    const Memory taps(it.taps.floats()), zeros(in), memory(each * threads);
    if (!taps.data || !zeros.data || !memory.data) return NO_MEMORY;
    std::fill(zeros.data, zeros.data + in, 0.0f);
    const int64_t chunks = (maps.tiles() + it.chunk - 1) / it.chunk;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < it.taps.count; ++panel)
            stage_weight(weight + first, it.weight, it.taps, panel, taps.data);
#pragma omp for schedule(static)
        for (int slot = 0; slot < threads; ++slot) {
            float* const own = memory.data + each * slot;
            std::fill(own, own + each, 0.0f);  // rows of no tile are multiplied too: what was here might be slow
            for (int64_t chunk = chunks * slot / threads; chunk < chunks * (slot + 1) / threads; ++chunk)
                it.run(x, taps.data, zeros.data, chunk * it.chunk, own, out);
            if (streamed) end_stream();
        }
    }
    return DONE;
}

// The weight's gradient, of the strides given, from x: [n, h, w, in] and the result's gradient g: [n, h, w, out].
// Threads share tiles, then positions and panels: each sum belongs to one thread, which takes the chunks in order.
extern "C" Code winograd_weight_gradient(const float* x, const float* g, float* out, const int64_t* strides,
                                         const int64_t* shape, int threads) {
    const Gradient it{{shape[0], shape[1], shape[2]},
                      {shape[3], shape[4], strides[0], strides[1], strides[2], strides[3]}};
    const int64_t tiles = it.maps.tiles(), in = it.weight.in, most = std::max(in, it.weight.out);
    const Memory images(it.image.floats()), grads(it.grad.floats()), sums(it.sums.floats()), zeros(most);
    if (!images.data || !grads.data || !sums.data || !zeros.data) return NO_MEMORY;
    std::fill(zeros.data, zeros.data + most, 0.0f);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int position = 0; position < POSITIONS; ++position)
            std::fill(sums.data + position * it.sums.size, sums.data + (position + 1) * it.sums.size, 0.0f);
        for (int64_t first = 0; first < tiles; first += it.chunk) {
            const int64_t some = std::min(it.chunk, tiles - first), next = first + some;
            const int64_t tasks = POSITIONS * it.sums.count, calls = std::max<int64_t>(1, in / ROWS);
            const Ahead ahead_x(x, it.maps, in, next, next + it.chunk, tasks * calls);
            const Ahead ahead_g(g, it.maps, it.weight.out, next, next + it.chunk, tasks * calls);
#pragma omp for schedule(static)
            for (int64_t row = 0; row < some; ++row) {
                stage_image(x, it.maps, in, first + row, zeros.data, it.image, images.data + row * it.image.row);
                stage_gradient(g, it.maps, it.weight.out, first + row, zeros.data, it.grad, row, grads.data);
            }
#pragma omp for schedule(static)
            for (int64_t task = 0; task < tasks; ++task) {
                const int64_t position = task / it.sums.count, panel = task % it.sums.count;
                it.sums.each(panel, panel + 1, [&](auto vecs, int64_t) LAMBDA_INLINE {
                    it.add<vecs.value>(images.data + position * it.image.size, grads.data + it.grad.at(position, panel),
                                       some, sums.data + it.sums.at(position, panel), [&](int64_t call) LAMBDA_INLINE {
                                           ahead_x.fetch(task * calls + call);
                                           ahead_g.fetch(task * calls + call);
                                       });
                });
            }
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < in; ++i) unstage_weight(sums.data, it.weight, it.sums, i, out);
    }
    return DONE;
}
