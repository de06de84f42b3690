// How the kernels are called from Python.

#pragma once

#include "code.hpp"
#include "depthwise_tiles.hpp"

namespace {

// Calls `call` with the kernel size and the stride as compile-time constants.
template <class Call>
Code dispatch(const Geometry& geometry, Call call) {
    using std::integral_constant;
    const int64_t kind = geometry.kernel * 10 + geometry.stride;
    switch (kind) {
        case 31: return call(integral_constant<int, 3>{}, integral_constant<int, 1>{});
        case 32: return call(integral_constant<int, 3>{}, integral_constant<int, 2>{});
        case 51: return call(integral_constant<int, 5>{}, integral_constant<int, 1>{});
        case 52: return call(integral_constant<int, 5>{}, integral_constant<int, 2>{});
        case 71: return call(integral_constant<int, 7>{}, integral_constant<int, 1>{});
        case 72: return call(integral_constant<int, 7>{}, integral_constant<int, 2>{});
        default: return NO_KERNEL;
    }
}

inline Geometry read(const int64_t* numbers) {
    Geometry geometry;
    std::memcpy(&geometry, numbers, sizeof geometry);
    return geometry;
}

}  // namespace
