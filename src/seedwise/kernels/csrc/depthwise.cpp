// Depthwise convolution over channels_last tensors: forward, and both gradients in one pass over the data.
//
// A task takes some images, rows and channels. It first stages what it reads: a copy in fp32, laid out
// [32-channel block][row][column][32 channels], with the zero columns of the padding around each row. The copy reads
// memory in order and stays in the L2 cache, so that memory is read once, the arithmetic knows neither the type nor
// horizontal borders nor a padded tensor, and a channel count that no vector divides ends in zeros. Rows outside the
// map are skipped, not staged: on maps smaller than the kernel they are most of the work.
//
// Every sum is taken in an order that follows from the shape alone, so the bits depend on neither threads nor timing.

#include "depthwise_backward.hpp"
#include "depthwise_forward.hpp"
#include "dispatch.hpp"

namespace {

template <class T>
Code forward_of(const void* x, const Norm& before, const void* weight, const Finish& finish, const NormStep* behind,
                void* out, const Geometry& geometry, int threads) {
    return dispatch(geometry, [&](auto k, auto s) {
        return forward<T, k.value, s.value>(static_cast<const T*>(x), before, static_cast<const T*>(weight), finish,
                                            behind, static_cast<T*>(out), geometry, threads);
    });
}

template <class T>
Code backward_of(const void* x, const void* g, const void* weight, const Norms& norms, void* x_grad, void* weight_grad,
                 const Geometry& geometry, int threads) {
    return dispatch(geometry, [&](auto k, auto s) {
        return backward<T, k.value, s.value>(static_cast<const T*>(x), static_cast<const T*>(g),
                                             static_cast<const T*>(weight), norms, static_cast<T*>(x_grad),
                                             static_cast<T*>(weight_grad), geometry, threads);
    });
}

}  // namespace

// Tensors are NHWC without gaps, the weight is [c, kernel, kernel]; all are fp32, or all bf16. Padding is less than the
// kernel on each side.

// Of x normalized by `before` (see Norm) and held between the first two limits; it may be null. Then `bias` (fp32;
// null: none) is added, and the result held between the other two limits. If `saved` isn't null, it is what a BatchNorm
// behind keeps of the result's statistics: the numbers before it and behind are its training step (see NormStep).
extern "C" Code depthwise_forward(const void* x, const float* before, const void* weight, const float* bias,
                                  const float* norm_weight, const float* norm_bias, float* running_mean,
                                  float* running_var, int64_t* batches, float* saved, void* out, const float* limits,
                                  double momentum, double eps, const int64_t* geometry, int is_bf16, int threads) {
    const Norm norm{before, limits[0], limits[1]};
    const Finish finish{bias, limits[2], limits[3]};
    const NormStep step{norm_weight, norm_bias, running_mean, running_var, batches, momentum, eps, saved};
    const NormStep* const behind = saved ? &step : nullptr;
    return is_bf16 ? forward_of<bf16>(x, norm, weight, finish, behind, out, read(geometry), threads)
                   : forward_of<float>(x, norm, weight, finish, behind, out, read(geometry), threads);
}

// Null for a gradient that isn't wanted.
extern "C" Code depthwise_backward(const void* x, const void* g, const void* weight, void* x_grad, void* weight_grad,
                                   const int64_t* geometry, int is_bf16, int threads) {
    const Norms none{};
    return is_bf16 ? backward_of<bf16>(x, g, weight, none, x_grad, weight_grad, read(geometry), threads)
                   : backward_of<float>(x, g, weight, none, x_grad, weight_grad, read(geometry), threads);
}

// Through the norm behind the convolution (its sums are known), the convolution, and into the norm before it, up to the
// gradient of its normalized values and its sums: see Norms.
extern "C" Code normed_backward(const void* x, const void* g, const void* weight, const float* before,
                                const float* behind, const float* behind_affine, const void* y, void* x_grad,
                                void* weight_grad, float* affine, float* norm_weight_grad, float* norm_bias_grad,
                                const float* limits, const int64_t* geometry, int is_bf16, int threads) {
    const Norms norms{{before, limits[0], limits[1]},
                      {behind, limits[2], limits[3]},
                      behind_affine,
                      y,
                      affine,
                      norm_weight_grad,
                      norm_bias_grad};
    return is_bf16 ? backward_of<bf16>(x, g, weight, norms, x_grad, weight_grad, read(geometry), threads)
                   : backward_of<float>(x, g, weight, norms, x_grad, weight_grad, read(geometry), threads);
}
