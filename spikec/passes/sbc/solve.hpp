#pragma once

// The best values of the weights that stay, given which ones go.

#include <cstddef>
#include <cstdint>

namespace spikecore::sbc {

struct SolveTask {
    const double *damped;      // (size, size), symmetric positive definite
    const double *inverse;     // its inverse, or null: then every row is solved over what it keeps
    const double *rows;        // (count, size)
    const std::uint8_t *keep;  // (count, size)
    double *out;               // (count, size), written
    std::size_t size, count;
};

// Whether a row is solved over what it loses (by the inverse) rather than over what it keeps.
bool solves_pruned(std::size_t kept, std::size_t pruned);

// w_K + (H_KK)^-1 H_KP w_P, or w - G_:P (G_PP)^-1 w_P, which is the same; what goes is exactly 0.
void keep_solve(const SolveTask &task, unsigned threads);

}  // namespace spikecore::sbc
