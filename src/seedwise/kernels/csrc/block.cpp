// A block that nobody differentiates, in one pass. See block.hpp.

#include "block.hpp"

#include "dispatch.hpp"

// All fp32; `expand` and its bias may be null: see Block.
extern "C" Code frozen_block(const float* x, const float* expand, const float* expand_bias, const float* taps,
                             const float* bias, const float* project, const float* project_bias, float* out, int64_t c,
                             int64_t out_c, int shortcut, const float* limits, const int64_t* geometry, int threads) {
    const Block block{x, expand, expand_bias, taps, bias, project, project_bias, c, out_c, shortcut != 0, limits};
    const Geometry whole = read(geometry);
    return dispatch(whole, [&](auto k, auto s) { return run_block<k.value, s.value>(block, out, whole, threads); });
}
