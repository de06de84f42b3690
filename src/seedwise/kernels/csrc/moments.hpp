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
    int64_t* batches;                   // counts them; null: not counted
    double momentum, eps;
    float* saved;  // [4, c]: mean, 1 / standard deviation, scale, shift
};

// Of channel j, of mean and mean squared deviation over m values: to the map (x - mean) * scale + shift. The shift
// holds what rounding took of the mean.
inline void update_channel(const NormStep& step, int64_t c, int64_t j, double mean, double variance, double m) {
    const double inverse = 1.0 / std::sqrt(variance + step.eps), scale = step.weight[j] * inverse;
    const float rounded = static_cast<float>(mean);
    step.saved[j] = rounded;
    step.saved[c + j] = static_cast<float>(inverse);
    step.saved[2 * c + j] = static_cast<float>(scale);
    step.saved[3 * c + j] = static_cast<float>(step.bias[j] - (mean - rounded) * scale);
    if (j == 0 && step.batches != nullptr) ++*step.batches;
    if (step.running_mean == nullptr) return;
    const double keep = 1.0 - step.momentum;
    step.running_mean[j] = static_cast<float>(step.momentum * mean + keep * step.running_mean[j]);
    step.running_var[j] = static_cast<float>(step.momentum * (variance * (m / (m - 1.0))) + keep * step.running_var[j]);
}

constexpr int64_t MERGED = 32;  // channels that are merged side by side

// Of channels `first` to `last`, at most MERGED, from `parts` parts: means(part) and squares(part), the sums of squared
// deviations from it, point at the first channel's; size(part) is how many values there were.
template <class Means, class Squares, class Size>
inline void merge_channels(const NormStep& step, int64_t c, int64_t first, int64_t last, int parts, double m,
                           Means means, Squares squares, Size size) {
    double mean[MERGED] = {}, sum[MERGED] = {};
    const int64_t count = last - first;
    for (int part = 0; part < parts; ++part) {
        const double share = size(part) / m, *const of = means(part);
        for (int64_t i = 0; i < count; ++i) mean[i] += share * of[i];
    }
    for (int part = 0; part < parts; ++part) {
        const double all = size(part), *const of = means(part), *const square = squares(part);
        for (int64_t i = 0; i < count; ++i) sum[i] += square[i] + all * ((of[i] - mean[i]) * (of[i] - mean[i]));
    }
    for (int64_t i = 0; i < count; ++i) update_channel(step, c, first + i, mean[i], sum[i] / m, m);
}

}  // namespace
