// The inner loops of the ordering. Of the core only this file and spike_kernels.cpp let multiply and add round once
// (-ffp-contract=fast, CMakeLists.txt): losses are estimates in float anyway, and it is twice as fast.
#include "order_kernels.hpp"

#include <algorithm>
#include <limits>

#include "lanes.hpp"

namespace spikecore::sbc {

namespace {

constexpr float kMost = std::numeric_limits<float>::max();
constexpr std::size_t kParts = kPanel / kLanes;

// R rows by V registers of columns, kept in registers over the whole depth.
template <std::size_t R, std::size_t V>
SPIKEC_INLINE void tile(const float *factor, const float *packed, std::size_t depth, float *const *rows,
                        std::size_t column) {
    Lanes sums[R][V];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 3
        for (std::size_t v = 0; v < V; ++v) sums[r][v] = reinterpret_cast<const Lanes *>(rows[r] + column)[v];
    for (std::size_t k = 0; k < depth; ++k) {
        Lanes u[V];
        for (std::size_t v = 0; v < V; ++v) u[v] = reinterpret_cast<const Lanes *>(factor + k * kPanel + column)[v];
        for (std::size_t r = 0; r < R; ++r)
            for (std::size_t v = 0; v < V; ++v) sums[r][v] -= packed[k * kTogether + r] * u[v];
    }
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 3
        for (std::size_t v = 0; v < V; ++v) reinterpret_cast<Lanes *>(rows[r] + column)[v] = sums[r][v];
}

// Sixteen registers hold four rows by sixteen columns; thirty-two hold eight rows by a whole panel.
SPIKEC_INLINE void update_small(const float *factor, const float *packed, std::size_t depth, float *const *rows) {
    for (std::size_t r = 0; r < kTogether; r += 4)
        for (std::size_t column = 0; column < kPanel; column += kLanes)
            tile<4, 1>(factor, packed + r, depth, rows + r, column);
}

SPIKEC_INLINE void update_large(const float *factor, const float *packed, std::size_t depth, float *const *rows) {
    tile<kTogether, kParts>(factor, packed, depth, rows, 0);
}

SPIKEC_INLINE void eliminate_any(const Elimination &given, const Columns &columns) {
    for (std::size_t p = 0; p < columns.panels; ++p) {
        float *factor = given.factor + given.offsets[p];
        const float *recent = factor + given.from * kPanel;
        const Lanes *candidate = reinterpret_cast<const Lanes *>(given.candidate + p * given.stride);
        Lanes sums[kParts];
        for (std::size_t v = 0; v < kParts; ++v) sums[v] = candidate[v];
        for (std::size_t k = 0; k < given.to - given.from; ++k)
            for (std::size_t v = 0; v < kParts; ++v)
                sums[v] -= given.coefficients[k] * reinterpret_cast<const Lanes *>(recent + k * kPanel)[v];
        Lanes *to = reinterpret_cast<Lanes *>(factor + given.to * kPanel);
        Lanes *weights = reinterpret_cast<Lanes *>(columns.weights + p * kPanel);
        Lanes *variance = reinterpret_cast<Lanes *>(columns.variance + p * kPanel);
        const Lanes *least = reinterpret_cast<const Lanes *>(columns.least + p * kPanel);
        for (std::size_t v = 0; v < kParts; ++v) {
            const Lanes u = sums[v] * given.scale;
            to[v] = u;
            weights[v] -= given.step * u;
            const Lanes left = variance[v] - u * u;
            variance[v] = left > least[v] ? left : least[v];
        }
    }
}

SPIKEC_INLINE void score_any(const Columns &columns) {
    for (std::size_t p = 0; p < columns.panels; ++p) {
        const Lanes *weights = reinterpret_cast<const Lanes *>(columns.weights + p * kPanel);
        const Lanes *variance = reinterpret_cast<const Lanes *>(columns.variance + p * kPanel);
        const Lanes *bar = reinterpret_cast<const Lanes *>(columns.bar + p * kPanel);
        Lanes *score = reinterpret_cast<Lanes *>(columns.score + p * kPanel);
        Lanes smallest;
        for (std::size_t v = 0; v < kParts; ++v) {
            const Lanes found = weights[v] * weights[v] / variance[v];
            const Lanes now = (found < kMost ? found : kMost - Lanes{}) + bar[v];  // infinity is for pruned columns
            score[v] = now;
            smallest = v == 0 ? now : (now < smallest ? now : smallest);
        }
        float least = smallest[0];
        for (std::size_t i = 1; i < kLanes; ++i) least = std::min(least, smallest[i]);
        columns.panel_score[p] = least;
    }
}

#define SPIKEC_VERSION(name, target, update)                                                                     \
    target void update_##name(const float *factor, const float *packed, std::size_t depth, float *const *rows) { \
        update(factor, packed, depth, rows);                                                                     \
    }                                                                                                            \
    target void eliminate_##name(const Elimination &given, const Columns &columns) {                             \
        eliminate_any(given, columns);                                                                           \
    }                                                                                                            \
    target void score_##name(const Columns &columns) { score_any(columns); }                                     \
    constexpr OrderKernels k_##name{update_##name, eliminate_##name, score_##name};

SPIKEC_VERSION(plain, , update_small)
#if defined(SPIKEC_X86)
SPIKEC_VERSION(avx512, SPIKEC_AVX512, update_large)
#else
constexpr const OrderKernels &k_avx512 = k_plain;
#endif

}  // namespace

// No version for AVX2: what compilers made of it took a third longer than the plain one.
const OrderKernels &order_kernels() { return *best_version(&k_avx512, &k_plain, &k_plain); }

}  // namespace spikecore::sbc
