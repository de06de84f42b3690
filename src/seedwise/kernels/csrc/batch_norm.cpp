// Batch normalization with its activation, forward and backward, for activations [m, c]: m rows (one for each pixel of
// each image), c channels side by side (PyTorch's channels_last). Rows are float or bfloat16; arithmetic is in float,
// sums beyond one tile of rows in double. Vectors run along channels.
//
// Rows are cut into chunks, and chunks into tiles, by the shape alone. A thread takes whole chunks, and every thread
// merges the chunks' sums in their order, so the result doesn't depend on how many threads there are.
//
// All is bound by memory: the second pass over the rows runs from the last chunk to the first, as what was read last is
// still in the cache; outputs too large for the cache bypass it, and rows of large tensors are prefetched (the
// processor's own prefetching stops at every page). Only the forward's sums go over eight rows at once, which saves
// loads and stores; where two tensors are read or one is written, so many streams defeat the prefetching and cost up to
// a third of the speed.

#include "batch_norm.hpp"

namespace {

template <class T, int A>
Code forward(const Forward& f, int threads) {
    const T *x = static_cast<const T*>(f.x), *plus = static_cast<const T*>(f.plus);
    T* y = static_cast<T*>(f.y);
    const bool stream = should_stream(y, f.m, f.c);
    return run(
        Job(f.m, f.c, sizeof(T), threads),
        [&](const Job& job, int64_t chunk) {
            moments<T>([&](int64_t row, int64_t) { return x + row * job.c; }, job, chunk);
        },
        [&](const Job& job) { merge_moments(f, job); },
        [&](const Job& job, int64_t chunk) { output<T, A>(x, plus, y, f.step.saved, job, chunk, stream); });
}

// The batch normalized and activated, of known statistics.
template <class T, int A>
Code apply(const T* x, T* y, int64_t m, int64_t c, const float* saved, int threads) {
    const bool stream = should_stream(y, m, c);
    return run(
        Job(m, c, sizeof(T), threads), [](const Job&, int64_t) {}, [](const Job&) {},
        [&](const Job& job, int64_t chunk) { output<T, A>(x, nullptr, y, saved, job, chunk, stream); });
}

template <class T, int A>
Code backward(const Backward& b, int threads) {
    const T *grad = static_cast<const T*>(b.grad), *x = static_cast<const T*>(b.x);
    T* grad_x = static_cast<T*>(b.grad_x);
    const bool stream = A != kSilu && grad_x != grad && should_stream(grad_x, b.m, b.c);
    return run(
        Job(b.m, b.c, sizeof(T), threads),
        [&](const Job& job, int64_t chunk) { gradient_sums<T, A>(grad, x, grad_x, b.saved, job, chunk); },
        [&](const Job& job) { merge_gradients(b, job); },
        [&](const Job& job, int64_t chunk) {
            const int64_t at = chunk * job.chunks.rows * job.c;
            if (grad_x != nullptr)
                gradient<T, A == kSilu ? kIdentity : A>((A == kSilu ? grad_x : grad) + at, x + at, grad_x + at,
                                                        job.chunks.size(chunk), job.c, b.saved, job.scratch, job.far,
                                                        stream);
        });
}

// call(T{}, Int<A>) for the type and activation that the numbers name.
template <int A = kIdentity, class Call>
Code dispatch(int is_bf16, int act, Call call) {
    if (act == A) return is_bf16 ? call(bf16{}, Int<A>{}) : call(float{}, Int<A>{});
    if constexpr (A < kHardswish) return dispatch<A + 1>(is_bf16, act, call);
    return NO_ACTIVATION;
}

}  // namespace

extern "C" Code norm_act_forward(const void* x, const void* plus, void* y, const float* weight, const float* bias,
                                 float* running_mean, float* running_var, int64_t* batches, float* saved, int64_t m,
                                 int64_t c, double momentum, double eps, int act, int is_bf16, int threads) {
    const Forward f{x, plus, y, m, c, {weight, bias, running_mean, running_var, batches, momentum, eps, saved}};
    return dispatch(is_bf16, act, [&](auto t, auto a) { return forward<decltype(t), decltype(a)::value>(f, threads); });
}

// The second half of it: `saved` is known.
extern "C" Code norm_act_apply(const void* x, void* y, const float* saved, int64_t m, int64_t c, int act, int is_bf16,
                               int threads) {
    return dispatch(is_bf16, act, [&](auto t, auto a) {
        using T = decltype(t);
        return apply<T, decltype(a)::value>(static_cast<const T*>(x), static_cast<T*>(y), m, c, saved, threads);
    });
}

extern "C" Code norm_act_backward(const void* grad, const void* x, void* grad_x, const float* saved, float* grad_weight,
                                  float* grad_bias, float* affine, int64_t m, int64_t c, int act, int is_bf16,
                                  int threads) {
    const Backward b{grad, x, grad_x, m, c, saved, grad_weight, grad_bias, affine};
    return dispatch(is_bf16, act,
                    [&](auto t, auto a) { return backward<decltype(t), decltype(a)::value>(b, threads); });
}
