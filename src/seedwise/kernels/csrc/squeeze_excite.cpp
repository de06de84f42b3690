// Squeeze-and-excitation, forward and backward, over maps [n, pixels, c] in fp32 with channels side by side (PyTorch's
// channels_last):
//
//     mean[n, c] = the mean over an image's pixels        pre[n, r] = mean W1' + b1        hidden = SiLU(pre)
//     gate[n, c] = sigmoid(hidden W2' + b2)               result = maps * gate
//
// Some images at a time go through all of it while their maps are in the cache, so maps are read once, not once to
// squeeze and once to excite. Backward alike: a gate's gradient is a sum over products of two maps, which PyTorch would
// write out; the gradient of the mean is added as the maps' is written. Then the weights' gradients come from what was
// kept for all images. Threads take whole groups of images, whose size follows from the shape, so the bits don't depend
// on how many threads there are.

#include <omp.h>

#include <algorithm>

#include "code.hpp"
#include "exponential.hpp"
#include "gemm_tile.hpp"
#include "memory.hpp"

namespace {

constexpr int64_t ROWS = 4;              // that a sum takes at once
constexpr int64_t AHEAD = 512;           // numbers to fetch ahead: the processor's own prefetching ends with a page
constexpr int64_t CACHED = 96 * 1024;    // numbers of the maps of a group: with their gradient, most of a 1 MB L2
constexpr int64_t MOST = 32;             // images of a group
constexpr int64_t PARALLEL = 64 * 1024;  // numbers of the maps; below, waking a thread costs more than it saves

inline vec sigmoid(vec x) { return 1.0f / (1.0f + exponential<LANES>(-x)); }

// clang-format off: it doesn't indent a file's first UNROLL in a block
// The sums over R rows of `first`, or of its product with `second`, plus what `sums` holds if `add`.
template <int R, bool TWO>
inline void add_rows(const float* first, const float* second, int64_t c, bool add, float* sums) {
    for (int64_t j = 0; j < c; j += LANES) {
        const int64_t left = c - j;
        vec sum{};
        if (add) sum = load_part(sums + j, left);
        UNROLL for (int64_t row = 0; row < R; ++row) {
            const int64_t at = row * c + j;
            if (at % LINE == 0) {
                prefetch(first + at + AHEAD, 1);
                if (TWO) prefetch(second + at + AHEAD, 1);
            }
            const vec value = load_part(first + at, left);
            sum = TWO ? fused(value, load_part(second + at, left), sum) : sum + value;
        }
        store_part(sums + j, sum, left);
    }
}
// clang-format on

// sums[c] over an image's pixels.
template <bool TWO>
void sum_image(const float* first, const float* second, int64_t pixels, int64_t c, float* sums) {
    int64_t pixel = 0;
    in_steps<ROWS>(pixels, [&](auto size, int64_t) {
        add_rows<size.value, TWO>(first + pixel * c, second + pixel * c, c, pixel > 0, sums);
        pixel += size.value;
    });
}

// to[columns][padded rows] = the transpose of from[rows][columns], its rows `begin` and on alone; zeros after them. It goes
// by squares of a cache line, whose lines stay in the cache: a column's may all fall into two of its sets.
void transpose(const float* from, int64_t rows, int64_t columns, int64_t begin, int64_t end, float* to) {
    const int64_t row = round_up(rows, LINE);
    for (int64_t i = begin; i < end; i += LINE)
        for (int64_t j = 0; j < row; j += LINE) {
            const int64_t down = std::min(LINE, end - i), across = std::min(LINE, rows - j);
            if (down == LINE && across == LINE) {
                for (int64_t y = 0; y < LINE; ++y)
                    for (int64_t x = 0; x < LINE; ++x) to[(i + x) * row + j + y] = from[(j + y) * columns + i + x];
                continue;
            }
            for (int64_t x = 0; x < down; ++x)
                for (int64_t y = 0; y < LINE; ++y)
                    to[(i + x) * row + j + y] = y < across ? from[(j + y) * columns + i + x] : 0.0f;
        }
}

// Whether rows of `from` can be read as they are.
bool is_padded(const float* from, int64_t columns) {
    return columns % LINE == 0 && reinterpret_cast<uintptr_t>(from) % (LINE * sizeof(float)) == 0;
}

void pad(const float* from, int64_t columns, int64_t begin, int64_t end, float* to) {
    if (is_padded(from, columns)) return;
    const int64_t row = round_up(columns, LINE);
    for (int64_t i = begin; i < end; ++i) {
        std::copy_n(from + i * columns, columns, to + i * row);
        std::fill(to + i * row + columns, to + (i + 1) * row, 0.0f);
    }
}

struct Layer {
    const float *reduce, *reduce_bias, *expand, *expand_bias;  // [r, c], [r], [c, r], [c]
    int64_t n, pixels, c, r;
    int threads;

    int64_t padded_c() const { return round_up(c, LINE); }  // rows of what is kept are padded to cache lines
    int64_t padded_r() const { return round_up(r, LINE); }
    int64_t image() const { return pixels * c; }
    int team() const { return n * image() >= PARALLEL ? threads : 1; }
    int64_t groups() const {  // an even number, so that two threads have as much to do
        const int64_t most = std::clamp<int64_t>(CACHED / image(), 1, MOST);
        return std::min(n, round_up((n + most - 1) / most, 2));
    }
    int64_t group(int64_t g) const { return n * g / groups(); }  // its first image
    int64_t largest() const { return (n + groups() - 1) / groups(); }
};

struct Kept {  // for the backward, rows padded: mean and gate [n][c_row], pre [n][r_row]
    float *mean, *gate, *pre;
    Kept(const Layer& it, float* at) : mean(at), gate(at + it.n * it.padded_c()), pre(at + 2 * it.n * it.padded_c()) {}
};

// to[rows][columns] = left [rows][depth] times right [depth][columns]; rows of left and right are padded, and rows of `to`
// unless `columns` is what there is of them.
void multiply(Left left, int64_t rows, int64_t depth, const float* right, int64_t columns, int64_t row, float* to) {
    const int64_t vecs = round_up(columns, LINE) / LANES;
    product(
        left, {reinterpret_cast<const vec*>(right), vecs}, rows, depth, vecs,
        [](int64_t, int64_t) { return vec{}; },
        [=](int64_t i, int64_t v, vec sum) { store_part(to + i * row + v * LANES, sum, row - v * LANES); });
}

// Calls run(j) for the first channel of each vector of `channels`.
template <class Run>
inline void each(int64_t channels, Run run) {
    for (int64_t j = 0; j < channels; j += LANES) run(j);
}

void forward_group(const Layer& it, int64_t begin, int64_t end, const float* maps, const float* reduce,
                   const float* expand, const Kept& kept, float* hidden, float* result) {
    const int64_t c_row = it.padded_c(), r_row = it.padded_r(), c = it.c, size = end - begin;
    const vec share = vec{} + 1.0f / float(it.pixels);
    for (int64_t i = begin; i < end; ++i) {
        float* mean = kept.mean + i * c_row;
        sum_image<false>(maps + i * it.image(), nullptr, it.pixels, c, mean);
        std::fill(mean + c, mean + c_row, 0.0f);
        each(c, [&](int64_t j) { store(mean + j, load(mean + j) * share); });
    }
    multiply({kept.mean + begin * c_row, c_row, 1}, size, c, reduce, it.r, r_row, kept.pre + begin * r_row);
    for (int64_t i = 0; i < size; ++i)
        each(r_row, [&](int64_t j) {
            float* pre = kept.pre + (begin + i) * r_row + j;
            store(pre, load(pre) + load_part(it.reduce_bias + j, it.r - j));
            store(hidden + i * r_row + j, load(pre) * sigmoid(load(pre)));
        });
    multiply({hidden, r_row, 1}, size, it.r, expand, c, c_row, kept.gate + begin * c_row);
    for (int64_t i = begin; i < end; ++i) {
        float* gate = kept.gate + i * c_row;
        each(c, [&](int64_t j) { store(gate + j, sigmoid(load(gate + j) + load_part(it.expand_bias + j, c - j))); });
        for (int64_t at = i * it.image(); at < (i + 1) * it.image(); at += c)
            each(c, [&](int64_t j) {
                store_part(result + at + j, load_part(maps + at + j, c - j) * load(gate + j), c - j);
            });
    }
}

struct Backward {
    Layer it;
    const float *grad, *maps;
    Kept kept;
    float* of_maps;                             // null: not wanted
    float *of_gate, *of_pre, *hidden;  // before sigmoid and SiLU; [n][c_row], [n][r_row], [n][r_row]

    void group(int64_t begin, int64_t end, const float* reduce, const float* expand, float* of_mean) const {
        const int64_t c_row = it.padded_c(), r_row = it.padded_r(), c = it.c, size = end - begin;
        for (int64_t i = begin; i < end; ++i) {
            float* of = of_gate + i * c_row;
            sum_image<true>(grad + i * it.image(), maps + i * it.image(), it.pixels, c, of);
            std::fill(of + c, of + c_row, 0.0f);
            each(c, [&](int64_t j) {
                const vec gate = load(kept.gate + i * c_row + j);
                store(of + j, load(of + j) * gate * (1.0f - gate));
            });
        }
        multiply({of_gate + begin * c_row, c_row, 1}, size, c, expand, it.r, r_row, of_pre + begin * r_row);
        each(size * r_row, [&](int64_t j) {
            const int64_t at = begin * r_row + j;
            const vec pre = load(kept.pre + at), s = sigmoid(pre);
            store(hidden + at, pre * s);
            store(of_pre + at, load(of_pre + at) * (s * fused(pre, 1.0f - s, vec{} + 1.0f)));
        });
        if (of_maps == nullptr) return;
        const vec share = vec{} + 1.0f / float(it.pixels);
        multiply({of_pre + begin * r_row, r_row, 1}, size, it.r, reduce, c, c_row, of_mean);
        for (int64_t i = begin; i < end; ++i) {
            const float *gate = kept.gate + i * c_row, *mean = of_mean + (i - begin) * c_row;
            for (int64_t at = i * it.image(); at < (i + 1) * it.image(); at += c)
                each(c, [&](int64_t j) {
                    const vec sum = fused(load_part(grad + at + j, c - j), load(gate + j), load(mean + j) * share);
                    store_part(of_maps + at + j, sum, c - j);
                });
        }
    }

    // to[begin .. end][columns] = left' right over all images; both [n][padded].
    void weights(const float* left, int64_t row, const float* right, int64_t columns, int64_t begin, int64_t end,
                 float* to) const {
        multiply({left + begin, 1, row}, end - begin, it.n, right, columns, columns, to + begin * columns);
    }

    // to[columns] = the sums over all images of [n][row].
    void bias(const float* of, int64_t row, int64_t columns, float* to) const {
        each(columns, [&](int64_t j) {
            vec sum{};
            for (int64_t i = 0; i < it.n; ++i) sum += load(of + i * row + j);
            store_part(to + j, sum, columns - j);
        });
    }
};

struct Part {  // of `count` things, one thread's
    int64_t begin, end;
    explicit Part(int64_t count)
        : begin(count * omp_get_thread_num() / omp_get_num_threads()),
          end(count * (omp_get_thread_num() + 1) / omp_get_num_threads()) {}
};

}  // namespace

// sizes: n, pixels, c, r. `kept`, for the backward: n * (2 c + r) numbers, c and r rounded up to 16.
extern "C" Code squeeze_forward(const float* maps, const float* reduce_weight, const float* reduce_bias,
                                const float* expand_weight, const float* expand_bias, float* kept_at, float* result,
                                const int64_t* sizes, int threads) {
    const Layer it{reduce_weight, reduce_bias, expand_weight, expand_bias, sizes[0], sizes[1], sizes[2], sizes[3], threads};
    const int64_t c_row = it.padded_c(), r_row = it.padded_r();
    const Aligned<float> transposed(it.c * r_row + it.r * c_row), hidden(threads * it.largest() * r_row);
    if (transposed.data == nullptr || hidden.data == nullptr) return NO_MEMORY;
    float *reduce = transposed.data, *expand = reduce + it.c * r_row;
    const Kept kept(it, kept_at);
#pragma omp parallel num_threads(it.team())
    {
        const Part inputs(it.c), outputs(it.r), groups(it.groups());
        transpose(it.reduce, it.r, it.c, inputs.begin, inputs.end, reduce);
        transpose(it.expand, it.c, it.r, outputs.begin, outputs.end, expand);
        float* mine = hidden.data + omp_get_thread_num() * it.largest() * r_row;
#pragma omp barrier
        for (int64_t g = groups.begin; g < groups.end; ++g)
            forward_group(it, it.group(g), it.group(g + 1), maps, reduce, expand, kept, mine, result);
    }
    return DONE;
}

// `maps_grad`: null where it isn't wanted.
extern "C" Code squeeze_backward(const float* grad, const float* maps, const float* reduce_weight,
                                 const float* reduce_bias, const float* expand_weight, const float* expand_bias,
                                 float* kept_at, float* maps_grad, float* reduce_grad, float* reduce_bias_grad,
                                 float* expand_grad, float* expand_bias_grad, const int64_t* sizes, int threads) {
    const Layer it{reduce_weight, reduce_bias, expand_weight, expand_bias, sizes[0], sizes[1], sizes[2], sizes[3], threads};
    const int64_t c_row = it.padded_c(), r_row = it.padded_r(), each = it.largest() * c_row;
    const Aligned<float> padded(it.c * r_row + it.r * c_row), work(it.n * (c_row + 2 * r_row) + threads * each);
    if (padded.data == nullptr || work.data == nullptr) return NO_MEMORY;
    float *own_expand = padded.data, *own_reduce = own_expand + it.c * r_row;
    const float *expand = is_padded(it.expand, it.r) ? it.expand : own_expand;
    const float *reduce = is_padded(it.reduce, it.c) ? it.reduce : own_reduce;
    float *of_gate = work.data, *of_pre = of_gate + it.n * c_row, *hidden = of_pre + it.n * r_row;
    const Backward back{it, grad, maps, Kept(it, kept_at), maps_grad, of_gate, of_pre, hidden};
#pragma omp parallel num_threads(it.team())
    {
        const Part channels(it.c), squeezed(it.r), groups(it.groups());
        pad(it.expand, it.r, channels.begin, channels.end, own_expand);
        pad(it.reduce, it.c, squeezed.begin, squeezed.end, own_reduce);
        float* mine = hidden + it.n * r_row + omp_get_thread_num() * each;
#pragma omp barrier
        for (int64_t g = groups.end - 1; g >= groups.begin; --g)  // the last images may still be in the cache
            back.group(it.group(g), it.group(g + 1), reduce, expand, mine);
#pragma omp barrier
        back.weights(of_pre, r_row, back.kept.mean, it.c, squeezed.begin, squeezed.end, reduce_grad);
        back.weights(of_gate, c_row, hidden, it.r, channels.begin, channels.end, expand_grad);
#pragma omp single
        {
            back.bias(of_pre, r_row, it.r, reduce_bias_grad);
            back.bias(of_gate, c_row, it.c, expand_bias_grad);
        }
    }
    return DONE;
}
