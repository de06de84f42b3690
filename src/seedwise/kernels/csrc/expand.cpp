// A depthwise convolution with the 1x1 convolution in front, whose result is never written. See expand.hpp.

#include "dispatch.hpp"
#include "expand_backward.hpp"

// All fp32. A 1x1 convolution [c, in] of x [n, h, w, in], a BatchNorm, an activation that clamps, the depthwise
// convolution, and the statistics of its result for the BatchNorm behind. Writes x's mean [in] and covariance [in, in].
extern "C" Code expanded_forward(const float* x, const float* weight, const float* bias, float* saved, float* x_mean,
                                 double* x_cov, const float* taps, const float* norm_weight, float* running_mean,
                                 float* running_var, int64_t* batches, const float* behind_weight,
                                 const float* behind_bias, float* behind_mean, float* behind_var,
                                 int64_t* behind_batches, float* behind_saved, float* out, double momentum, double eps,
                                 double behind_momentum, double behind_eps, const float* limits, int64_t in,
                                 const int64_t* geometry, int threads) {
    const Widening w{x, weight, in, saved, bias, limits[0], limits[1], x_mean, x_cov};
    const NormStep step{norm_weight, bias, running_mean, running_var, batches, momentum, eps, saved};
    const NormStep behind{behind_weight,  behind_bias,     behind_mean, behind_var,
                          behind_batches, behind_momentum, behind_eps,  behind_saved};
    const Geometry whole = read(geometry);
    const Code code = widened_moments(w, whole.n * whole.h * whole.w, whole.c, step, x_mean, x_cov, threads);
    if (code != DONE) return code;
    return dispatch(
        whole, [&](auto k, auto s) { return widened_forward<k.value, s.value>(w, taps, behind, out, whole, threads); });
}

// Its gradients, from that of what the BatchNorm behind returned; `limits`: of both activations.
extern "C" Code expanded_backward(const float* x, const float* weight, const float* bias, const float* saved,
                                  const float* x_mean, const double* x_cov, const float* g, const float* taps,
                                  const float* behind_saved, const float* behind_affine, const float* y, float* x_grad,
                                  float* weight_grad, float* taps_grad, float* norm_weight_grad, float* norm_bias_grad,
                                  float* affine, const float* limits, int64_t in, const int64_t* geometry,
                                  int threads) {
    const Widening w{x, weight, in, saved, bias, limits[0], limits[1], x_mean, x_cov};
    const WidenedGrads grads{x_grad, weight_grad, taps_grad, norm_weight_grad, norm_bias_grad, affine};
    const NormBehind behind{behind_saved, limits[2], limits[3], behind_affine, y};
    const Geometry whole = read(geometry);
    return dispatch(whole, [&](auto k, auto s) {
        return widened_backward<k.value, s.value>(w, g, taps, behind, x_cov, grads, whole, threads);
    });
}
