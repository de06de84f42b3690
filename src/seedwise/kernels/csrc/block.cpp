// A block that nobody differentiates, in one pass. See block.hpp.

#include "block.hpp"

#include "dispatch.hpp"

// All fp32. `pointers`: see Block. Returns what the functions of depthwise.cpp do.
extern "C" int frozen_block(const void* const* pointers, int64_t c, int64_t out_c, int shortcut, const float* limits,
                            void* out, const int64_t* geometry, int threads) {
    const auto at = [&](int i) { return static_cast<const float*>(pointers[i]); };
    const Block block{at(0), at(1), at(2), at(3), at(4), at(5), at(6), c, out_c, shortcut != 0, limits};
    const Geometry whole = read(geometry);
    return dispatch(whole, [&](auto k, auto s) {
        return run_block<k.value, s.value>(block, static_cast<float*>(out), whole, threads);
    });
}
