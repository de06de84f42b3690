// What a kernel does to a convolution's sums while they are at hand: a bias, and SiLU behind it.

#pragma once

#include "exponential.hpp"
#include "simd.hpp"

namespace {

enum class End { plain, biased, silu };

// As callers ask for it: without a bias there is no SiLU either.
inline End end_of(const float* bias, int silu) { return bias == nullptr ? End::plain : silu ? End::silu : End::biased; }

// `bias`: the part of it that belongs to these channels.
template <End END>
INLINE vec finished(vec sum, vec bias) {
    if constexpr (END == End::plain) return sum;
    const vec z = sum + bias;
    if constexpr (END == End::biased) return z;
    return z / (1.0f + exponential<LANES>(-z));
}

}  // namespace
