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
Code forward_of(const void* x, const void* weight, const Epilogue& epilogue, void* out, const Geometry& geometry,
                int threads) {
    return dispatch(geometry, [&](auto k, auto s) {
        return forward<T, k.value, s.value>(static_cast<const T*>(x), static_cast<const T*>(weight), epilogue,
                                            static_cast<T*>(out), geometry, threads);
    });
}

template <class T>
Code backward_of(const void* x, const void* g, const void* weight, void* x_grad, void* weight_grad,
                 const Geometry& geometry, int threads) {
    return dispatch(geometry, [&](auto k, auto s) {
        return backward<T, k.value, s.value>(static_cast<const T*>(x), static_cast<const T*>(g),
                                             static_cast<const T*>(weight), static_cast<T*>(x_grad),
                                             static_cast<T*>(weight_grad), geometry, threads);
    });
}

}  // namespace

// Tensors are NHWC without gaps, the weight is [c, kernel, kernel]; all are fp32, or all bf16. Padding is less than the
// kernel on each side.

// Then `bias` (fp32; null: none) is added, and the result clamped to the limits.
extern "C" Code depthwise_forward(const void* x, const void* weight, const float* bias, void* out, const float* limits,
                                  const int64_t* geometry, int is_bf16, int threads) {
    const Epilogue epilogue{bias, limits[0], limits[1]};
    return is_bf16 ? forward_of<bf16>(x, weight, epilogue, out, read(geometry), threads)
                   : forward_of<float>(x, weight, epilogue, out, read(geometry), threads);
}

// Null for a gradient that isn't wanted.
extern "C" Code depthwise_backward(const void* x, const void* g, const void* weight, void* x_grad, void* weight_grad,
                                   const int64_t* geometry, int is_bf16, int threads) {
    return is_bf16 ? backward_of<bf16>(x, g, weight, x_grad, weight_grad, read(geometry), threads)
                   : backward_of<float>(x, g, weight, x_grad, weight_grad, read(geometry), threads);
}
