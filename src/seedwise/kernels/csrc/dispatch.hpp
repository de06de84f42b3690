// How the kernels are called from Python.

#pragma once

#include "depthwise_tiles.hpp"
#include "moments.hpp"

namespace {

// Calls `call` with the kernel size and the stride as compile-time constants. 1: there is no kernel for them.
template <class Call>
int dispatch(const Geometry& geometry, Call call) {
    using std::integral_constant;
    const int64_t kind = geometry.kernel * 10 + geometry.stride;
    switch (kind) {
        case 31: return call(integral_constant<int, 3>{}, integral_constant<int, 1>{});
        case 32: return call(integral_constant<int, 3>{}, integral_constant<int, 2>{});
        case 51: return call(integral_constant<int, 5>{}, integral_constant<int, 1>{});
        case 52: return call(integral_constant<int, 5>{}, integral_constant<int, 2>{});
        case 71: return call(integral_constant<int, 7>{}, integral_constant<int, 1>{});
        case 72: return call(integral_constant<int, 7>{}, integral_constant<int, 2>{});
        default: return 1;
    }
}

inline Geometry read(const int64_t* numbers) {
    Geometry geometry;
    std::memcpy(&geometry, numbers, sizeof geometry);
    return geometry;
}

// A BatchNorm's training step. `pointers`: weight, bias, running mean and variance (null: not kept), the counter of
// batches (null: none), what it keeps of the batch; `numbers`: momentum, eps.
inline NormStep read_step(void* const* pointers, const double* numbers) {
    const auto at = [&](int i) { return static_cast<float*>(pointers[i]); };
    return {at(0), at(1), at(2), at(3), static_cast<int64_t*>(pointers[4]), numbers[0], numbers[1], at(5)};
}

}  // namespace
