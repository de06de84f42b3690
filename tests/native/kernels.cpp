// Calls the kernels' C functions, and compares what they give with plain loops in double. Linked with the kernel files'
// libraries, it runs where neither Python nor torch does: under qemu, for another processor (tests/native).
//
// A line a check: its name, and the largest error relative to the largest true value. Exit code 1 past a tolerance.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

using std::int64_t;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

extern "C" {
int norm_act_forward(const void*, const void*, void*, const float*, const float*, float*, float*, int64_t*, float*,
                     int64_t, int64_t, double, double, int, int, int);
int norm_act_backward(const void*, const void*, void*, const float*, float*, float*, float*, int64_t, int64_t, int, int,
                      int);
int depthwise_forward(const void*, const void*, const float*, void*, const float*, const int64_t*, int, int);
int depthwise_backward(const void*, const void*, const void*, void*, void*, const int64_t*, int, int);
int winograd_forward(const float*, const float*, const float*, float*, int64_t, const int64_t*, const int64_t*, int, int);
int winograd_weight_gradient(const float*, const float*, float*, const int64_t*, const int64_t*, int);
int frozen_block(const float*, const float*, const float*, const float*, const float*, const float*, const float*,
                 float*, int64_t, int64_t, int, const float*, const int64_t*, int);
int squeeze_forward(const float*, const float*, const float*, const float*, const float*, float*, float*,
                    const int64_t*, int);
int pixels_normalize(const uint8_t*, const float*, const float*, float*, int64_t, int64_t, int);
}

static bool failed = false;

static void demand(const char* name, int code, const Floats& got, const Doubles& want, double tolerance) {
    double error = 0, largest = 1e-30;
    for (size_t i = 0; i < want.size(); ++i) {
        const double off = std::abs(got[i] - want[i]);
        error = off <= error ? error : off;  // a NaN stays
        largest = std::fmax(largest, std::abs(want[i]));
    }
    const bool good = code == 0 && got.size() == want.size() && error / largest <= tolerance;
    std::printf("%-28s %s %.2e\n", name, good ? "ok" : "WRONG", error / largest);
    failed = failed || !good;
}

static uint64_t state = 1;
static float draw() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<double>(state >> 40) / (1 << 23) - 1.0);
}
static Floats drawn(int64_t count) {
    Floats found(count);
    for (float& each : found) each = draw();
    return found;
}

static std::uint16_t to_bf16(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
static float from_bf16(std::uint16_t half) {
    const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
static std::vector<std::uint16_t> halved(Floats& values) {  // which become what bfloat16 holds of them
    std::vector<std::uint16_t> halves;
    for (float& each : values) halves.push_back(to_bf16(each)), each = from_bf16(halves.back());
    return halves;
}

static double silu(double z) { return z / (1 + std::exp(-z)); }

static void norms(int64_t m, int64_t c, int threads) {
    const Floats x = drawn(m * c), weight = drawn(c), bias = drawn(c), grad = drawn(m * c);
    Floats y(m * c), saved(4 * c), mean(c), variance(c, 1.0f), x_grad(m * c), weight_grad(c), bias_grad(c);
    Doubles want(m * c), want_grad(m * c), want_weight(c), want_bias(c);
    int64_t batches = 0;
    for (int64_t j = 0; j < c; ++j) {
        double sum = 0, squares = 0, g_sum = 0, dot = 0;
        for (int64_t i = 0; i < m; ++i) sum += x[i * c + j];
        for (int64_t i = 0; i < m; ++i) squares += std::pow(x[i * c + j] - sum / m, 2);
        const double inverse = 1 / std::sqrt(squares / m + 1e-3);
        Doubles g(m);
        for (int64_t i = 0; i < m; ++i) {
            const double z = (x[i * c + j] - sum / m) * inverse * weight[j] + bias[j], s = 1 / (1 + std::exp(-z));
            want[i * c + j] = silu(z);
            g[i] = grad[i * c + j] * s * (1 + z * (1 - s));
            g_sum += g[i], dot += g[i] * (x[i * c + j] - sum / m) * inverse;
        }
        want_weight[j] = dot, want_bias[j] = g_sum;
        for (int64_t i = 0; i < m; ++i)
            want_grad[i * c + j] =
                weight[j] * inverse * (g[i] - g_sum / m - (x[i * c + j] - sum / m) * inverse * dot / m);
    }
    int code = norm_act_forward(x.data(), nullptr, y.data(), weight.data(), bias.data(), mean.data(), variance.data(),
                                &batches, saved.data(), m, c, 0.1, 1e-3, 3, 0, threads);
    demand("batch norm, SiLU", code, y, want, 1e-6);
    code = norm_act_backward(grad.data(), x.data(), x_grad.data(), saved.data(), weight_grad.data(), bias_grad.data(),
                             nullptr, m, c, 3, 0, threads);
    demand("its gradient", code, x_grad, want_grad, 1e-5);
    demand("its weight's gradient", code, weight_grad, want_weight, 1e-5);
    demand("its bias's gradient", code, bias_grad, want_bias, 1e-5);
}

struct Depthwise {
    int64_t n, c, h, w, kernel, stride;
    int64_t pad() const { return kernel / 2; }
    int64_t oh() const { return (h + 2 * pad() - kernel) / stride + 1; }
    int64_t ow() const { return (w + 2 * pad() - kernel) / stride + 1; }

    // Calls with the indices of an output, an input and a tap that belong together.
    template <class Call>
    void each(Call call) const {
        for (int64_t i = 0; i < n; ++i)
            for (int64_t y = 0; y < oh(); ++y)
                for (int64_t x = 0; x < ow(); ++x)
                    for (int64_t a = 0; a < kernel; ++a)
                        for (int64_t b = 0; b < kernel; ++b) {
                            const int64_t row = y * stride + a - pad(), column = x * stride + b - pad();
                            if (row < 0 || row >= h || column < 0 || column >= w) continue;
                            for (int64_t j = 0; j < c; ++j)
                                call(((i * oh() + y) * ow() + x) * c + j, ((i * h + row) * w + column) * c + j,
                                     (j * kernel + a) * kernel + b);
                        }
    }
};

static void depthwise(const Depthwise& it, bool bf16, int threads) {
    Floats x = drawn(it.n * it.h * it.w * it.c), taps = drawn(it.c * it.kernel * it.kernel);
    Floats grad = drawn(it.n * it.oh() * it.ow() * it.c);
    const auto halves = halved(x), half_taps = halved(taps), half_grad = halved(grad);
    const int64_t geometry[] = {it.n, it.c, it.h, it.w, it.oh(), it.ow(), it.pad(), it.pad(), it.kernel, it.stride};
    const float limits[] = {-INFINITY, INFINITY};
    Doubles out(grad.size()), x_grad(x.size()), taps_grad(taps.size());
    it.each([&](int64_t to, int64_t from, int64_t tap) {
        out[to] += static_cast<double>(x[from]) * taps[tap];
        x_grad[from] += static_cast<double>(grad[to]) * taps[tap];
        taps_grad[tap] += static_cast<double>(grad[to]) * x[from];
    });
    const auto call = [&](const void* x, const void* taps, const void* grad, void* out, void* x_grad, void* taps_grad) {
        const int code = depthwise_forward(x, taps, nullptr, out, limits, geometry, bf16, threads);
        return code != 0 ? code : depthwise_backward(x, grad, taps, x_grad, taps_grad, geometry, bf16, threads);
    };
    Floats got(out.size()), got_x(x.size()), got_taps(taps.size());
    int code;
    if (bf16) {
        std::vector<std::uint16_t> a(out.size()), b(x.size()), c(taps.size());
        code = call(halves.data(), half_taps.data(), half_grad.data(), a.data(), b.data(), c.data());
        for (size_t i = 0; i < a.size(); ++i) got[i] = from_bf16(a[i]);
        for (size_t i = 0; i < b.size(); ++i) got_x[i] = from_bf16(b[i]);
        for (size_t i = 0; i < c.size(); ++i) got_taps[i] = from_bf16(c[i]);
    } else {
        code = call(x.data(), taps.data(), grad.data(), got.data(), got_x.data(), got_taps.data());
    }
    const double tolerance = bf16 ? 4e-3 : 1e-6;
    char name[64];
    std::snprintf(name, sizeof name, "depthwise %d/%d%s", int(it.kernel), int(it.stride), bf16 ? ", bf16" : "");
    demand(name, code, got, out, tolerance);
    demand("its gradient", code, got_x, x_grad, tolerance);
    demand("its weight's gradient", code, got_taps, taps_grad, bf16 ? 4e-3 : 1e-5);
}

static void winograd(int64_t n, int64_t h, int64_t w, int64_t in, int64_t out, int threads) {
    const Floats x = drawn(n * h * w * in), weight = drawn(out * in * 9), bias = drawn(out), grad = drawn(n * h * w * out);
    Floats got(n * h * w * out), got_weight(weight.size());
    Doubles want(got.size()), want_weight(weight.size());
    for (int64_t i = 0; i < n; ++i)
        for (int64_t y = 0; y < h; ++y)
            for (int64_t z = 0; z < w; ++z)
                for (int64_t o = 0; o < out; ++o) {
                    const int64_t to = ((i * h + y) * w + z) * out + o;
                    want[to] = bias[o];
                    for (int64_t a = 0; a < 3; ++a)
                        for (int64_t b = 0; b < 3; ++b) {
                            const int64_t row = y + a - 1, column = z + b - 1;
                            if (row < 0 || row >= h || column < 0 || column >= w) continue;
                            for (int64_t k = 0; k < in; ++k) {
                                const double value = x[((i * h + row) * w + column) * in + k];
                                const int64_t tap = ((o * in + k) * 3 + a) * 3 + b;
                                want[to] += value * weight[tap];
                                want_weight[tap] += value * grad[to];
                            }
                        }
                }
    for (double& each : want) each = silu(each);
    const int64_t strides[] = {in * 9, 9, 3, 1}, shape[] = {n, h, w, in, out};
    int code = winograd_forward(x.data(), weight.data(), bias.data(), got.data(), 0, strides, shape, 1, threads);
    demand("3x3 by Winograd, SiLU", code, got, want, 1e-5);
    code = winograd_weight_gradient(x.data(), grad.data(), got_weight.data(), strides, shape, threads);
    demand("its weight's gradient", code, got_weight, want_weight, 1e-4);
}

static void block(int64_t in, int64_t c, int64_t out, int threads) {
    const Depthwise it{2, c, 9, 7, 3, 1};
    const int64_t pixels = it.n * it.h * it.w;
    const Floats x = drawn(pixels * in), expand = drawn(c * in), expand_bias = drawn(c), taps = drawn(c * 9);
    const Floats bias = drawn(c), project = drawn(out * c), project_bias = drawn(out);
    const float limits[] = {0, 6, 0, 6};
    const auto relu6 = [](double z) { return std::fmin(std::fmax(z, 0.0), 6.0); };
    Doubles wide(pixels * c), middle(pixels * c), want(pixels * out);
    for (int64_t i = 0; i < pixels; ++i)
        for (int64_t j = 0; j < c; ++j) {
            double sum = expand_bias[j];
            for (int64_t k = 0; k < in; ++k) sum += static_cast<double>(x[i * in + k]) * expand[j * in + k];
            wide[i * c + j] = relu6(sum), middle[i * c + j] = bias[j];
        }
    it.each([&](int64_t to, int64_t from, int64_t tap) { middle[to] += wide[from] * taps[tap]; });
    for (int64_t i = 0; i < pixels; ++i)
        for (int64_t o = 0; o < out; ++o) {
            want[i * out + o] = project_bias[o] + (in == out ? x[i * in + o] : 0.0);
            for (int64_t j = 0; j < c; ++j) want[i * out + o] += relu6(middle[i * c + j]) * project[o * c + j];
        }
    Floats got(want.size());
    const int64_t geometry[] = {it.n, c, it.h, it.w, it.oh(), it.ow(), 1, 1, 3, 1};
    const int code = frozen_block(x.data(), expand.data(), expand_bias.data(), taps.data(), bias.data(), project.data(),
                                  project_bias.data(), got.data(), in, out, in == out, limits, geometry, threads);
    demand("frozen block", code, got, want, 1e-5);
}

static void squeeze(int64_t n, int64_t pixels, int64_t c, int64_t r, int threads) {
    const Floats x = drawn(n * pixels * c), reduce = drawn(r * c), reduce_bias = drawn(r), expand = drawn(c * r);
    const Floats expand_bias = drawn(c);
    Doubles want(x.size());
    for (int64_t i = 0; i < n; ++i) {
        Doubles mean(c), hidden(r);
        for (int64_t p = 0; p < pixels; ++p)
            for (int64_t j = 0; j < c; ++j) mean[j] += static_cast<double>(x[(i * pixels + p) * c + j]) / pixels;
        for (int64_t k = 0; k < r; ++k) {
            double sum = reduce_bias[k];
            for (int64_t j = 0; j < c; ++j) sum += mean[j] * reduce[k * c + j];
            hidden[k] = silu(sum);
        }
        for (int64_t j = 0; j < c; ++j) {
            double sum = expand_bias[j];
            for (int64_t k = 0; k < r; ++k) sum += hidden[k] * expand[j * r + k];
            for (int64_t p = 0; p < pixels; ++p)
                want[(i * pixels + p) * c + j] = x[(i * pixels + p) * c + j] / (1 + std::exp(-sum));
        }
    }
    const auto padded = [](int64_t count) { return (count + 15) / 16 * 16; };
    Floats kept(n * (2 * padded(c) + padded(r))), got(x.size());
    const int64_t sizes[] = {n, pixels, c, r};
    const int code = squeeze_forward(x.data(), reduce.data(), reduce_bias.data(), expand.data(), expand_bias.data(),
                                     kept.data(), got.data(), sizes, threads);
    demand("squeeze and excite", code, got, want, 1e-5);
}

static void pixels(int64_t lines, int64_t count, int threads) {
    std::vector<std::uint8_t> images(lines * count);
    for (auto& each : images) each = static_cast<std::uint8_t>(127.5f * (draw() + 1));
    const Floats offset = drawn(count), scale = drawn(count);
    Floats got(images.size());
    Doubles want;
    for (size_t i = 0; i < images.size(); ++i)
        want.push_back((static_cast<double>(images[i]) - offset[i % count]) * scale[i % count]);
    demand("normalized pixels", pixels_normalize(images.data(), offset.data(), scale.data(), got.data(), lines, count, threads),
           got, want, 1e-6);
}

int main() {
    for (int threads : {1, 2}) {
        norms(97, 24, threads);
        norms(64, 35, threads);
        for (int64_t kernel : {3, 5, 7})
            for (int64_t stride : {1, 2}) {
                depthwise({2, 35, 11, 9, kernel, stride}, false, threads);
                depthwise({2, 32, 8, 8, kernel, stride}, true, threads);
            }
        winograd(2, 9, 7, 19, 21, threads);
        winograd(1, 8, 8, 16, 32, threads);
        block(12, 40, 12, threads);
        block(16, 96, 20, threads);
        squeeze(3, 30, 37, 9, threads);
        pixels(7, 51, threads);
    }
    return failed;
}
