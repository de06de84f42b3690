// What a BatchNorm makes of the moments of parts of a batch.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

// One training step of a BatchNorm: its parameters, what it keeps of the batch, and where.
struct NormStep {
    const float *weight, *bias;
    float *running_mean, *running_var;  // null: not kept
    double momentum, eps;
    float* saved;  // [4, c]: mean, 1 / standard deviation, scale, shift
};

// Of channel j, of mean and mean squared deviation over m values: to the map (x - mean) * scale + shift. The shift holds
// what rounding took of the mean.
inline void settle_channel(const NormStep& step, int64_t c, int64_t j, double mean, double variance, double m) {
    const double inverse = 1.0 / std::sqrt(variance + step.eps), scale = step.weight[j] * inverse;
    const float rounded = static_cast<float>(mean);
    step.saved[j] = rounded;
    step.saved[c + j] = static_cast<float>(inverse);
    step.saved[2 * c + j] = static_cast<float>(scale);
    step.saved[3 * c + j] = static_cast<float>(step.bias[j] - (mean - rounded) * scale);
    if (step.running_mean == nullptr) return;
    const double keep = 1.0 - step.momentum;
    step.running_mean[j] = static_cast<float>(step.momentum * mean + keep * step.running_mean[j]);
    step.running_var[j] =
        static_cast<float>(step.momentum * (variance * (m / (m - 1.0))) + keep * step.running_var[j]);
}

// Of channel j, from `parts` parts: mean(part), squares(part) (the sum of squared deviations from it), size(part).
template <class Mean, class Squares, class Size>
inline void merge_channel(const NormStep& step, int64_t c, int64_t j, int parts, double m, Mean mean, Squares squares,
                          Size size) {
    double middle = 0.0, sum = 0.0;
    for (int part = 0; part < parts; ++part) middle += size(part) / m * mean(part);
    for (int part = 0; part < parts; ++part) {
        const double apart = mean(part) - middle;
        sum += squares(part) + size(part) * (apart * apart);
    }
    settle_channel(step, c, j, middle, sum / m, m);
}

}  // namespace
