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
int forward_of(const void* x, const Norm& before, const void* weight, const Finish& finish, const NormStep* behind,
               void* out, const Geometry& geometry, int threads) {
    return dispatch(geometry, [&](auto k, auto s) {
        return forward<T, k.value, s.value>(static_cast<const T*>(x), before, static_cast<const T*>(weight), finish,
                                            behind, static_cast<T*>(out), geometry, threads);
    });
}

template <class T>
int backward_of(const void* x, const void* g, const void* weight, const Norms& norms, void* x_grad, void* weight_grad,
                const Geometry& geometry, int threads) {
    return dispatch(geometry, [&](auto k, auto s) {
        return backward<T, k.value, s.value>(static_cast<const T*>(x), static_cast<const T*>(g),
                                             static_cast<const T*>(weight), norms, static_cast<T*>(x_grad),
                                             static_cast<T*>(weight_grad), geometry, threads);
    });
}

}  // namespace

// All return 0, 1 (no kernel for this size and stride) or 2 (no memory). Tensors are NHWC without gaps, the weight is
// [c, kernel, kernel]; all are fp32, or all bf16. Padding is less than the kernel on each side.

// Of x normalized by `saved` and held between the first two limits; `saved` may be null. Then `bias` (fp32; null: none)
// is added, and the result held between the other two limits. If `behind` isn't null, it is the step of a BatchNorm
// which learns the result's statistics (see read_step).
extern "C" int depthwise_forward(int is_bf16, const void* x, const float* saved, const void* weight, const float* bias,
                                 const float* limits, void* const* behind, const double* numbers, void* out,
                                 const int64_t* geometry, int threads) {
    const Norm before{saved, limits[0], limits[1]};
    const Finish finish{bias, limits[2], limits[3]};
    const NormStep step = behind ? read_step(behind, numbers) : NormStep{};
    const NormStep* const to = behind ? &step : nullptr;
    return is_bf16 ? forward_of<bf16>(x, before, weight, finish, to, out, read(geometry), threads)
                   : forward_of<float>(x, before, weight, finish, to, out, read(geometry), threads);
}

// Null for a gradient that isn't wanted.
extern "C" int depthwise_backward(int is_bf16, const void* x, const void* g, const void* weight, void* x_grad,
                                  void* weight_grad, const int64_t* geometry, int threads) {
    const Norms none{};
    return is_bf16 ? backward_of<bf16>(x, g, weight, none, x_grad, weight_grad, read(geometry), threads)
                   : backward_of<float>(x, g, weight, none, x_grad, weight_grad, read(geometry), threads);
}

// Through the norm behind the convolution (its sums are known), the convolution, and into the norm before it, up to the
// gradient of its normalized values and its sums. `given`: x, g, weight, the saved parameters of the norm before and of
// the one behind, the latter's affine, y. `wanted`: x's and the weight's gradient, and as the end of Norms has them.
extern "C" int normed_backward(int is_bf16, const void* const* given, void* const* wanted, const float* limits,
                               const int64_t* geometry, int threads) {
    const auto in = [&](int i) { return static_cast<const float*>(given[i]); };
    const auto out = [&](int i) { return static_cast<float*>(wanted[i]); };
    const Norms norms{
        {in(3), limits[0], limits[1]}, {in(4), limits[2], limits[3]}, in(5), given[6], out(2), out(3), out(4)};
    return is_bf16
               ? backward_of<bf16>(given[0], given[1], given[2], norms, wanted[0], wanted[1], read(geometry), threads)
               : backward_of<float>(given[0], given[1], given[2], norms, wanted[0], wanted[1], read(geometry), threads);
}
