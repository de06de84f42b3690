// Batch normalization with its activation, forward and backward, for activations [m, c]: m rows (one for each pixel of
// each image), c channels side by side (PyTorch's channels_last). Rows are float or bfloat16; arithmetic is in float,
// sums beyond one tile of rows in double. Vectors run along channels.
//
// Rows are cut into chunks, and chunks into tiles, by the shape alone. A thread takes whole chunks, and every thread
// merges the chunks' sums in their order, so the result doesn't depend on how many threads there are.
//
// All is bound by memory: the second pass over the rows runs from the last chunk to the first, as what was read last is
// still in the cache; outputs too large for the cache bypass it, and rows of large tensors are prefetched (the
// processor's own prefetching stops at every page). Only the forward's sums go over eight rows at once, which saves
// loads and stores; where two tensors are read or one is written, so many streams defeat the prefetching and cost up to
// a third of the speed.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "vectors.h"

namespace {

constexpr int64_t kTile = 128;               // rows whose sums are kept in float
constexpr int64_t kMaxChunks = 64;           // what threads share
constexpr int64_t kMinChunkRows = 64;        // fewer would make merging as dear as summing
constexpr int64_t kMinParallel = 128 * 1024; // elements; below, waking a thread costs more than it saves
constexpr int64_t kStream = 16 << 20;        // bytes of a tensor too large to stay in the cache until it is read
constexpr int64_t kFar = 4 << 20;            // bytes of a tensor that is not in a core's own cache
constexpr int64_t kAhead = 2048;             // bytes to prefetch ahead

template <class T> bool should_stream(const T *to, int64_t m, int64_t c) {
  constexpr int64_t vector = kWide * sizeof(T);
  return m * c * static_cast<int64_t>(sizeof(T)) >= kStream && c % kWide == 0 &&
         reinterpret_cast<std::uintptr_t>(to) % vector == 0;
}

struct Chunks {
  int64_t m, rows, count;
  explicit Chunks(int64_t m) : m(m) {
    rows = std::max(kMinChunkRows, (m + kMaxChunks - 1) / kMaxChunks);
    rows = (rows + 7) / 8 * 8;
    count = (m + rows - 1) / rows;
  }
  int64_t size(int64_t chunk) const { return std::min(m, (chunk + 1) * rows) - chunk * rows; }
};

struct Job {
  int64_t m, c;
  Chunks chunks;
  int threads, me = 0;
  bool far;
  double *parts = nullptr, *totals = nullptr; // [chunks, 2, c] and this thread's [2, c]
  float *scratch = nullptr;                   // this thread's [3, c]
  Job(int64_t m, int64_t c, int64_t bytes, int threads) : m(m), c(c), chunks(m), far(m * c * bytes >= kFar) {
    this->threads = m * c < kMinParallel ? 1 : std::min<int64_t>(std::max(threads, 1), chunks.count);
  }
  double *part(int64_t chunk) const { return parts + chunk * 2 * c; }
};

// sums(job, chunk) for all, then, when every thread is done, merge(job) and write(job, chunk) for all.
template <class Sums, class Merge, class Write> INLINE int run(const Job &plan, Sums sums, Merge merge, Write write) {
  const int64_t c = plan.c, count = plan.chunks.count;
  const std::unique_ptr<double[]> doubles(new (std::nothrow) double[(count + plan.threads) * 2 * c]);
  const std::unique_ptr<float[]> floats(new (std::nothrow) float[plan.threads * 3 * c]);
  if (!doubles || !floats)
    return 1;
#pragma omp parallel num_threads(plan.threads) if (plan.threads > 1)
  {
    Job job = plan;
    job.me = omp_get_thread_num();
    job.parts = doubles.get();
    job.totals = job.part(count + job.me);
    job.scratch = &floats[job.me * 3 * c];
    const int64_t team = omp_get_num_threads(), first = count * job.me / team, end = count * (job.me + 1) / team;
    for (int64_t chunk = first; chunk < end; ++chunk)
      sums(job, chunk);
#pragma omp barrier
    merge(job);
    for (int64_t chunk = end - 1; chunk >= first; --chunk)
      write(job, chunk);
#if defined(__AVX2__)
    _mm_sfence(); // what was streamed is seen by the other threads
#endif
  }
  return 0;
}

// R rows of c channels: what lies kAhead bytes further, where j begins a cache line.
template <int R, class T> INLINE void prefetch(const T *from, int64_t c, int64_t j) {
  if (j % static_cast<int64_t>(64 / sizeof(T)) != 0)
    return;
#pragma GCC unroll 8
  for (int row = 0; row < R; ++row)
    __builtin_prefetch(reinterpret_cast<const char *>(from + row * c) + kAhead);
}

template <int N> struct Pair {
  F<N> first, second;
};

// Adds up, over a chunk's rows, terms(Int<N>, element, channel), a Pair: out[0 .. c - 1] the first, then the second.
// `one` and `two` are what it reads (null: only one), to be prefetched; it takes so many `Rows` at once.
template <int Rows, class T, class Terms>
INLINE void sum_chunk(const Job &job, int64_t chunk, const T *one, const T *two, float *s, double *out, Terms terms) {
  const int64_t c = job.c, size = job.chunks.size(chunk);
  std::fill(out, out + 2 * c, 0.0);
  for (int64_t at = 0; at < size; at += kTile) {
    const int64_t start = (chunk * job.chunks.rows + at) * c;
    std::fill(s, s + 2 * c, 0.0f);
    over_block<Rows>(std::min(kTile, size - at), c, [&](auto n, auto r, int64_t i, int64_t j) LAMBDA_INLINE {
      constexpr int N = decltype(n)::value, R = decltype(r)::value;
      const int64_t element = start + i * c + j;
      if (job.far) {
        prefetch<R>(one + element, c, j);
        if (two != nullptr)
          prefetch<R>(two + element, c, j);
      }
      Pair<N> sum{};
#pragma GCC unroll 8
      for (int row = 0; row < R; ++row) {
        const Pair<N> term = terms(n, element + row * c, j);
        sum.first += term.first;
        sum.second += term.second;
      }
      store<N>(s + j, load<N>(s + j) + sum.first);
      store<N>(s + c + j, load<N>(s + c + j) + sum.second);
    });
    for (int64_t j = 0; j < 2 * c; ++j)
      out[j] += s[j];
  }
}

struct Forward {
  const void *x;
  void *y; // null: only the statistics are wanted
  int64_t m, c;
  const float *weight, *bias;
  float *running_mean, *running_var; // null: not kept
  double momentum, eps;
  float *saved; // [4, c]: mean, 1 / standard deviation, scale, shift
};

// Mean and sum of squared deviations of a chunk's rows. Sums are of differences to the mean k of its first eight rows:
// (k - mean)^2 is at most an eighth of the sum of squares, so little cancels however far from 0 the values are.
template <class T> void moments(const T *x, const Job &job, int64_t chunk) {
  const int64_t c = job.c, size = job.chunks.size(chunk), probe = std::min<int64_t>(8, size);
  float *k = job.scratch;
  over_channels(c, [&](auto n, int64_t j) LAMBDA_INLINE {
    constexpr int N = decltype(n)::value;
    F<N> sum{};
    for (int64_t i = 0; i < probe; ++i)
      sum += load<N>(x + (chunk * job.chunks.rows + i) * c + j);
    store<N>(k + j, sum / (F<N>{} + static_cast<float>(probe)));
  });
  double *mean = job.part(chunk), *squares = mean + c;
  sum_chunk<8, T>(job, chunk, x, nullptr, k + c, mean, [=](auto n, int64_t element, int64_t j) LAMBDA_INLINE {
    constexpr int N = decltype(n)::value;
    const F<N> d = load<N>(x + element) - load<N>(k + j);
    return Pair<N>{d, d * d};
  });
  for (int64_t j = 0; j < c; ++j) {
    const double left = squares[j] - mean[j] * mean[j] / size;
    squares[j] = left < 0.0 ? 0.0 : left;
    mean[j] = k[j] + mean[j] / size;
  }
}

// From the chunks' moments to the map (x - mean) * scale + shift. The shift holds what rounding took of the mean.
void merge_moments(const Forward &f, const Job &job) {
  const int64_t c = job.c;
  double *mean = job.totals, *squares = mean + c;
  float *affine = job.scratch;
  const double m = static_cast<double>(job.m);
  std::fill(mean, mean + 2 * c, 0.0);
  for (int64_t chunk = 0; chunk < job.chunks.count; ++chunk) {
    const double share = job.chunks.size(chunk) / m, *part = job.part(chunk);
    for (int64_t j = 0; j < c; ++j)
      mean[j] += share * part[j];
  }
  for (int64_t chunk = 0; chunk < job.chunks.count; ++chunk) {
    const double size = static_cast<double>(job.chunks.size(chunk)), *part = job.part(chunk);
    for (int64_t j = 0; j < c; ++j)
      squares[j] += part[c + j] + size * ((part[j] - mean[j]) * (part[j] - mean[j]));
  }
  for (int64_t j = 0; j < c; ++j) {
    const double inverse = 1.0 / std::sqrt(squares[j] / m + f.eps), scale = f.weight[j] * inverse;
    affine[j] = static_cast<float>(mean[j]);
    affine[c + j] = static_cast<float>(scale);
    affine[2 * c + j] = static_cast<float>(f.bias[j] - (mean[j] - affine[j]) * scale);
    if (job.me == 0)
      f.saved[c + j] = static_cast<float>(inverse);
  }
  if (job.me != 0)
    return;
  std::copy(affine, affine + c, f.saved);
  std::copy(affine + c, affine + 3 * c, f.saved + 2 * c);
  if (f.running_mean == nullptr)
    return;
  const double keep = 1.0 - f.momentum;
  for (int64_t j = 0; j < c; ++j) {
    f.running_mean[j] = static_cast<float>(f.momentum * mean[j] + keep * f.running_mean[j]);
    f.running_var[j] = static_cast<float>(f.momentum * (squares[j] / (m - 1.0)) + keep * f.running_var[j]);
  }
}

template <class T, int A> void output(const T *x, T *y, const Job &job, int64_t chunk, bool stream) {
  const int64_t c = job.c, begin = chunk * job.chunks.rows * c, end = begin + job.chunks.size(chunk) * c;
  const float *mean = job.scratch, *scale = mean + c, *shift = scale + c;
  for (int64_t row = begin; row < end; row += c)
    over_channels(c, [&](auto n, int64_t j) LAMBDA_INLINE {
      constexpr int N = decltype(n)::value;
      if (job.far)
        prefetch<1>(x + row + j, c, j);
      const F<N> d = load<N>(x + row + j) - load<N>(mean + j);
      store<N>(y + row + j, activate<A, N>(d * load<N>(scale + j) + load<N>(shift + j)), stream);
    });
}

template <class T, int A> int forward(const Forward &f, int threads) {
  const T *x = static_cast<const T *>(f.x);
  T *y = static_cast<T *>(f.y);
  const bool stream = should_stream(y, f.m, f.c);
  return run(
      Job(f.m, f.c, sizeof(T), threads), [&](const Job &job, int64_t chunk) { moments(x, job, chunk); },
      [&](const Job &job) { merge_moments(f, job); },
      [&](const Job &job, int64_t chunk) {
        if (y != nullptr)
          output<T, A>(x, y, job, chunk, stream);
      });
}

struct Backward {
  const void *grad, *x;
  void *grad_x; // null: not wanted
  int64_t m, c;
  const float *saved; // as Forward's
  float *grad_weight, *grad_bias;
  float *affine; // [2, c]: where slope and offset are kept (null: they aren't), see merge_gradients
};

// Sums of the pre-activation's gradient g, and of g * (x - mean). SiLU's exp is dear: it keeps g where grad_x will be.
template <class T, int A>
void gradient_sums(const T *grad, const T *x, T *grad_x, const float *saved, const Job &job, int64_t chunk) {
  const float *mean = saved, *scale = saved + 2 * job.c, *shift = saved + 3 * job.c;
  double *out = job.part(chunk);
  sum_chunk<1, T>(job, chunk, x, grad, job.scratch, out, [=](auto n, int64_t element, int64_t j) LAMBDA_INLINE {
    constexpr int N = decltype(n)::value;
    const F<N> d = load<N>(x + element) - load<N>(mean + j);
    const F<N> g = activate_backward<A, N>(d * load<N>(scale + j) + load<N>(shift + j), load<N>(grad + element));
    if (A == kSilu && grad_x != nullptr)
      store<N>(grad_x + element, g);
    return Pair<N>{g, g * d};
  });
}

// From the chunks' sums to the parameters' gradients, and to grad_x = scale * g + slope * (x - mean) + offset.
void merge_gradients(const Backward &b, const Job &job) {
  const int64_t c = job.c;
  double *sum = job.totals, *dot = sum + c;
  const double m = static_cast<double>(job.m);
  std::fill(sum, sum + 2 * c, 0.0);
  for (int64_t chunk = 0; chunk < job.chunks.count; ++chunk) {
    const double *part = job.part(chunk);
    for (int64_t j = 0; j < 2 * c; ++j)
      sum[j] += part[j];
  }
  for (int64_t j = 0; j < c; ++j) {
    const double inverse = b.saved[c + j], scale = b.saved[2 * c + j];
    job.scratch[j] = static_cast<float>(-scale * inverse * inverse * dot[j] / m);
    job.scratch[c + j] = static_cast<float>(-scale * sum[j] / m);
    if (job.me == 0) {
      b.grad_weight[j] = static_cast<float>(dot[j] * inverse);
      b.grad_bias[j] = static_cast<float>(sum[j]);
    }
  }
  if (job.me == 0 && b.affine != nullptr)
    std::copy(job.scratch, job.scratch + 2 * c, b.affine);
}

// `grad` is the output's gradient or, for kIdentity, the pre-activation's; then it may be grad_x.
template <class T, int A>
void gradient(const T *grad, const T *x, T *grad_x, const float *saved, const float *affine, const Job &job,
              int64_t chunk, bool stream) {
  const int64_t c = job.c, begin = chunk * job.chunks.rows * c, end = begin + job.chunks.size(chunk) * c;
  const float *mean = saved, *scale = saved + 2 * c, *shift = saved + 3 * c, *slope = affine, *offset = slope + c;
  for (int64_t row = begin; row < end; row += c)
    over_channels(c, [&](auto n, int64_t j) LAMBDA_INLINE {
      constexpr int N = decltype(n)::value;
      if (job.far) {
        prefetch<1>(x + row + j, c, j);
        prefetch<1>(grad + row + j, c, j);
      }
      const F<N> d = load<N>(x + row + j) - load<N>(mean + j), a = load<N>(scale + j);
      const F<N> g = activate_backward<A, N>(d * a + load<N>(shift + j), load<N>(grad + row + j));
      store<N>(grad_x + row + j, g * a + (d * load<N>(slope + j) + load<N>(offset + j)), stream);
    });
}

template <class T, int A> int backward(const Backward &b, int threads) {
  const T *grad = static_cast<const T *>(b.grad), *x = static_cast<const T *>(b.x);
  T *grad_x = static_cast<T *>(b.grad_x);
  const bool stream = A != kSilu && should_stream(grad_x, b.m, b.c);
  return run(
      Job(b.m, b.c, sizeof(T), threads),
      [&](const Job &job, int64_t chunk) { gradient_sums<T, A>(grad, x, grad_x, b.saved, job, chunk); },
      [&](const Job &job) { merge_gradients(b, job); },
      [&](const Job &job, int64_t chunk) {
        if (grad_x != nullptr)
          gradient<T, A == kSilu ? kIdentity : A>(A == kSilu ? grad_x : grad, x, grad_x, b.saved, job.scratch, job,
                                                  chunk, stream);
      });
}

// The last step alone: grad, the pre-activation's gradient, becomes x's.
template <class T> int finish(T *grad, const T *x, int64_t m, int64_t c, const float *saved, const float *affine,
                              int threads) {
  return run(
      Job(m, c, sizeof(T), threads),
      [&](const Job &job, int64_t chunk) {
        gradient<T, kIdentity>(grad, x, grad, saved, affine, job, chunk, false);
      },
      [](const Job &) {}, [](const Job &, int64_t) {});
}

// call(T{}, Int<A>) for the type and activation that the numbers name; 2 when they name none.
template <int A = kIdentity, class Call> int dispatch(int bf16, int act, Call call) {
  if (act == A)
    return bf16 ? call(Bf16{}, Int<A>{}) : call(float{}, Int<A>{});
  if constexpr (A < kHardswish)
    return dispatch<A + 1>(bf16, act, call);
  return 2;
}

} // namespace

// All return 0, or 1 when memory for the chunks' sums is lacking, or 2 for an unknown activation.
extern "C" int norm_act_forward(const void *x, void *y, int64_t m, int64_t c, const float *weight, const float *bias,
                                float *running_mean, float *running_var, double momentum, double eps, float *saved,
                                int act, int bf16, int threads) {
  const Forward f{x, y, m, c, weight, bias, running_mean, running_var, momentum, eps, saved};
  return dispatch(bf16, act, [&](auto t, auto a) { return forward<decltype(t), decltype(a)::value>(f, threads); });
}

extern "C" int norm_act_backward(const void *grad, const void *x, void *grad_x, int64_t m, int64_t c,
                                 const float *saved, float *grad_weight, float *grad_bias, float *affine, int act,
                                 int bf16, int threads) {
  const Backward b{grad, x, grad_x, m, c, saved, grad_weight, grad_bias, affine};
  return dispatch(bf16, act, [&](auto t, auto a) { return backward<decltype(t), decltype(a)::value>(b, threads); });
}

extern "C" int norm_act_finish(void *grad, const void *x, int64_t m, int64_t c, const float *saved,
                               const float *affine, int bf16, int threads) {
  return dispatch(bf16, kIdentity, [&](auto t, auto) {
    using T = decltype(t);
    return finish(static_cast<T *>(grad), static_cast<const T *>(x), m, c, saved, affine, threads);
  });
}
