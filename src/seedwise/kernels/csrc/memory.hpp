// Memory that kernels work in.

#pragma once

#include <cstdint>
#include <cstdlib>

namespace {

inline int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Room for `count`, aligned to a cache line and gone at the end of the scope; `data` is null when there is none.
template <class T>
struct Aligned {
    explicit Aligned(int64_t count)
        : data(static_cast<T*>(std::aligned_alloc(64, size_t(round_up(count * int64_t(sizeof(T)) + 64, 64))))) {}
    ~Aligned() { std::free(data); }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    T* const data;
};

}  // namespace
