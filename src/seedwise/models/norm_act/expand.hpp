// A 1x1 convolution from few channels to many, joined with the BatchNorm behind it. It multiplies little and moves much:
// forward its result is summed up while it is in the cache, and written past it; backwards the gradient of its result
// is computed tile by tile and never written. All fp32; channels are multiples of a vector.
#pragma once

#include "norms.hpp"

namespace {

constexpr int64_t kExpandRows = 32; // rows of the gradient that are in the cache together

struct Matrix { // element [row, k]
  const float *at;
  int64_t row, k;
};

// out[R, U vectors], `stride` apart, = (or += if `add`) the sum over k of a[r, k] * b[k, columns].
template <int R, int U>
INLINE void product_tile(Matrix a, const float *b, int64_t b_row, int64_t depth, bool add, float *out, int64_t stride) {
  F<kWide> sum[R][U];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u)
      sum[r][u] = add ? load<kWide>(out + r * stride + u * kWide) : F<kWide>{};
  for (int64_t k = 0; k < depth; ++k, b += b_row, a.at += a.k) {
    F<kWide> column[U];
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u)
      column[u] = load<kWide>(b + u * kWide);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const float factor = a.at[r * a.row];
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u)
        sum[r][u] += factor * column[u];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u)
      store<kWide>(out + r * stride + u * kWide, sum[r][u]);
}

// R * U sums hide the latency of a multiplication and leave registers for the operands.
template <int R, int U>
void product_panel(Matrix a, const float *b, int64_t columns, int64_t rows, int64_t depth, bool add, float *out) {
  int64_t i = 0;
  for (; i + R <= rows; i += R, a.at += R * a.row)
    product_tile<R, U>(a, b, columns, depth, add, out + i * columns, columns);
  for (; i < rows; ++i, a.at += a.row)
    product_tile<1, U>(a, b, columns, depth, add, out + i * columns, columns);
}

// out[rows, columns] from a[rows, depth] and b[depth, columns], both without gaps between their columns.
inline void product(Matrix a, const float *b, int64_t columns, int64_t rows, int64_t depth, bool add, float *out) {
  int64_t j = 0;
  for (; j + 3 * kWide <= columns; j += 3 * kWide)
    product_panel<4, 3>(a, b + j, columns, rows, depth, add, out + j);
  for (; j + 2 * kWide <= columns; j += 2 * kWide)
    product_panel<6, 2>(a, b + j, columns, rows, depth, add, out + j);
  for (; j < columns; j += kWide)
    product_panel<8, 1>(a, b + j, columns, rows, depth, add, out + j);
}

struct Expansion {
  const float *x;
  int64_t m, in, c; // x: [m, in]; the result: [m, c]
};

// The result y and the norm's statistics. `taps`: [in, c].
inline int expand(const Expansion &e, const float *taps, const Forward &f, int threads) {
  float *y = static_cast<float *>(f.y);
  const Job plan(e.m, e.c, sizeof(float), threads);
  const std::unique_ptr<float[]> tiles(new (std::nothrow) float[plan.threads * kTile * e.c]);
  if (!tiles)
    return 1;
  const bool stream = should_stream(y, e.m, e.c);
  const auto sums = [&](const Job &job, int64_t chunk) {
    float *tile = &tiles[job.me * kTile * e.c];
    const auto rows = [&](int64_t row, int64_t count) {
      product({e.x + row * e.in, e.in, 1}, taps, e.c, count, e.in, false, tile);
      for (int64_t i = 0; i < count * e.c; i += kWide)
        store<kWide>(y + row * e.c + i, load<kWide>(tile + i), stream);
      return static_cast<const float *>(tile);
    };
    moments<float>(rows, job, chunk);
  };
  return run(plan, sums, [&](const Job &job) { merge_moments(f, job); }, [](const Job &, int64_t) {});
}

// The gradients of x and of the taps [c, in], from that of the normalized result.
inline int expand_backward(const Expansion &e, const float *taps, const float *grad, const float *y, const float *saved,
                           const float *affine, float *grad_x, float *grad_taps, int threads) {
  const Job plan(e.m, e.c, sizeof(float), threads);
  const int64_t size = e.c * e.in;
  const std::unique_ptr<float[]> tiles(new (std::nothrow) float[plan.threads * kExpandRows * e.c]);
  const std::unique_ptr<float[]> parts(new (std::nothrow) float[plan.chunks.count * size]);
  if (!tiles || !parts)
    return 1;
  const auto sums = [&](const Job &job, int64_t chunk) {
    float *tile = &tiles[job.me * kExpandRows * e.c];
    const int64_t begin = chunk * job.chunks.rows, end = begin + job.chunks.size(chunk);
    for (int64_t row = begin; row < end; row += kExpandRows) {
      const int64_t rows = std::min(kExpandRows, end - row);
      gradient<float, kIdentity>(grad + row * e.c, y + row * e.c, tile, rows, e.c, saved, affine, job.far, false);
      product({tile, e.c, 1}, taps, e.in, rows, e.c, false, grad_x + row * e.in);
      product({tile, 1, e.c}, e.x + row * e.in, e.in, e.c, rows, row != begin, &parts[chunk * size]);
    }
  };
  const auto merge = [&](const Job &job) {
    const int64_t team = omp_get_num_threads();
    for (int64_t i = size * job.me / team; i < size * (job.me + 1) / team; ++i) {
      double sum = 0.0;
      for (int64_t chunk = 0; chunk < job.chunks.count; ++chunk)
        sum += parts[chunk * size + i];
      grad_taps[i] = static_cast<float>(sum);
    }
  };
  return run(plan, sums, merge, [](const Job &, int64_t) {});
}

} // namespace
