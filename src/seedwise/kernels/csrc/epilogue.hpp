// What a kernel does to a convolution's sums while they are at hand: a bias, and SiLU after it.

#pragma once

#include "exponential.hpp"
#include "vectors.hpp"

namespace {

enum class Epilogue { none, bias, silu };

// As callers ask for it: without a bias there is no SiLU either.
inline Epilogue epilogue_of(const float* bias, int silu) {
    return bias == nullptr ? Epilogue::none : silu ? Epilogue::silu : Epilogue::bias;
}

// `bias`: the part of it that belongs to these channels.
template <Epilogue E>
INLINE vec with_epilogue(vec sum, vec bias) {
    if constexpr (E == Epilogue::none) return sum;
    const vec z = sum + bias;
    if constexpr (E == Epilogue::bias) return z;
    return z / (1.0f + exponential<LANES>(-z));
}

}  // namespace
