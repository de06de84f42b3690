// A depthwise convolution with the 1x1 convolution in front, whose result is never written. See expand.hpp.

#include "dispatch.hpp"
#include "expand_backward.hpp"

// All fp32. A 1x1 convolution [c, in] of x [n, h, w, in], a BatchNorm, an activation that clamps, the depthwise
// convolution, and the statistics of its result for the BatchNorm after it. Writes x's mean [in] and covariance [in,
// in].
extern "C" Code expanded_forward(const float* x, const float* weight, const float* bias, float* saved, float* x_mean,
                                 double* x_cov, const float* taps, const float* norm_weight, float* running_mean,
                                 float* running_var, int64_t* batches, const float* epilogue_weight,
                                 const float* epilogue_bias, float* epilogue_mean, float* epilogue_var,
                                 int64_t* epilogue_batches, float* epilogue_saved, float* out, double momentum,
                                 double eps, double epilogue_momentum, double epilogue_eps, const float* limits,
                                 int64_t in, const int64_t* geometry, int threads) {
    const Expansion w{x, weight, in, saved, bias, limits[0], limits[1], x_mean, x_cov};
    const NormStep step{norm_weight, bias, running_mean, running_var, batches, momentum, eps, saved};
    const NormStep epilogue{epilogue_weight,  epilogue_bias,     epilogue_mean, epilogue_var,
                            epilogue_batches, epilogue_momentum, epilogue_eps,  epilogue_saved};
    const Geometry whole = read(geometry);
    const Code code = input_moments(w, whole.n * whole.h * whole.w, whole.c, step, x_mean, x_cov, threads);
    if (code != DONE) return code;
    return dispatch(whole, [&](auto k, auto s) {
        return expanded_forward<k.value, s.value>(w, taps, epilogue, out, whole, threads);
    });
}

// Its gradients, from that of what the BatchNorm after it returned; `limits`: of both activations.
extern "C" Code expanded_backward(const float* x, const float* weight, const float* bias, const float* saved,
                                  const float* x_mean, const double* x_cov, const float* g, const float* taps,
                                  const float* epilogue_saved, const float* epilogue_affine, const float* y,
                                  float* x_grad, float* weight_grad, float* taps_grad, float* norm_weight_grad,
                                  float* norm_bias_grad, float* affine, const float* limits, int64_t in,
                                  const int64_t* geometry, int threads) {
    const Expansion w{x, weight, in, saved, bias, limits[0], limits[1], x_mean, x_cov};
    const ExpandedGrads grads{x_grad, weight_grad, taps_grad, norm_weight_grad, norm_bias_grad, affine};
    const EpilogueNorm epilogue{epilogue_saved, limits[2], limits[3], epilogue_affine, y};
    const Geometry whole = read(geometry);
    return dispatch(whole, [&](auto k, auto s) {
        return expanded_backward<k.value, s.value>(w, g, taps, epilogue, x_cov, grads, whole, threads);
    });
}
