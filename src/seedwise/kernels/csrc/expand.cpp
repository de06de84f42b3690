// A depthwise convolution with the 1x1 convolution in front, whose result is never written. See expand.hpp.

#include "dispatch.hpp"
#include "expand_backward.hpp"

namespace {

// `pointers`: x, weight, what the norm keeps, its bias, x's mean and covariance; `limits`: those of its activation.
Widening read_widening(const void* const* pointers, int64_t in, const float* limits) {
    const auto at = [&](int i) { return static_cast<const float*>(pointers[i]); };
    return {at(0), at(1), in, at(2), at(3), limits[0], limits[1], at(4), static_cast<const double*>(pointers[5])};
}

}  // namespace

// Both return what those of depthwise.cpp do.

// All fp32. A 1x1 convolution [c, in] of x [n, h, w, in], a BatchNorm, an activation that clamps, the depthwise
// convolution, and the statistics of its result for the BatchNorm behind. Writes x's mean [in] and covariance
// [in, in], which `pointers` name.
extern "C" int widened_forward(const void* const* pointers, int64_t in, const float* limits, const float* taps,
                               void* const* before, void* const* behind, const double* numbers, float* out,
                               const int64_t* geometry, int threads) {
    const Widening w = read_widening(pointers, in, limits);
    const Geometry whole = read(geometry);
    const int failed = widened_moments(w, whole.n * whole.h * whole.w, whole.c, read_step(before, numbers),
                                       const_cast<float*>(w.mean), const_cast<double*>(w.cov), threads);
    if (failed) return failed;
    const NormStep step = read_step(behind, numbers + 2);
    return dispatch(
        whole, [&](auto k, auto s) { return widened_forward<k.value, s.value>(w, taps, step, out, whole, threads); });
}

// Its gradients. `given`: the gradient of what the BatchNorm behind returned, taps, what that norm keeps, its slope and
// offset, the depthwise result; `wanted`: as WidenedGrads; `limits`: of both activations.
extern "C" int widened_backward(const void* const* pointers, int64_t in, const float* limits, const void* const* given,
                                void* const* wanted, const int64_t* geometry, int threads) {
    const auto from = [&](int i) { return static_cast<const float*>(given[i]); };
    const auto to = [&](int i) { return static_cast<float*>(wanted[i]); };
    const Widening w = read_widening(pointers, in, limits);
    const WidenedGrads grads{to(0), to(1), to(2), to(3), to(4), to(5)};
    const Norms norms{
        {w.saved, limits[0], limits[1]}, {from(2), limits[2], limits[3]}, from(3), given[4], nullptr, nullptr, nullptr};
    const Geometry whole = read(geometry);
    return dispatch(whole, [&](auto k, auto s) {
        return widened_backward<k.value, s.value>(w, from(0), from(1), norms, w.cov, grads, whole, threads);
    });
}
