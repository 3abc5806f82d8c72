#pragma once

// The inner loops of the ordering, over panels of columns; one version for each kind of vector register.

#include <cstddef>

namespace spikecore::sbc {

inline constexpr std::size_t kPanel = 48;   // columns of a panel: three registers of sixteen floats
inline constexpr std::size_t kTogether = 8;  // candidates that are brought up to date together

// What a row keeps of each column, in panels: its weight, conditional variance and the least that this can be.
struct Columns {
    float *weights, *variance;
    const float *least;
    const float *bar;  // 0, or infinity for a column that is pruned
    float *score;
    float *panel_score;  // the smallest score of each panel
    std::size_t panels;
};

// One elimination: u = (candidate - coefficients . recent factor rows) * scale, in every panel.
struct Elimination {
    const float *candidate;              // in the first panel; the next panel's is `stride` on
    std::size_t stride;
    float *factor;                       // the whole factor
    const std::size_t *offsets;          // where each panel of it begins
    std::size_t from, to;                // recent rows [from, to); row `to` is written
    const float *coefficients;           // (to - from)
    float scale, step;                   // 1 / sqrt(variance), weight / sqrt(variance)
};

struct OrderKernels {
    // rows[r] -= sum over k < depth of packed[8 k + r] * factor[48 k ...], for eight rows of one panel.
    void (*update)(const float *factor, const float *packed, std::size_t depth, float *const *rows);
    void (*eliminate)(const Elimination &given, const Columns &columns);
    void (*score)(const Columns &columns);
};

// The best version that this processor runs.
const OrderKernels &order_kernels();

}  // namespace spikecore::sbc
