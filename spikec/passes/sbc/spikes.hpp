#pragma once

// X^T Z for sparse X: the Hessian of spikes without a dense product.

#include <cstddef>
#include <cstdint>
#include <variant>

namespace spikecore::sbc {

// Entry (n, j) of X and of Z is at rows[n] + columns[j] of their data: a matrix, or the windows of a convolution on a
// padded image, which need not be written out.
struct SpikeTask {
    std::variant<const std::uint8_t *, const float *> given;  // X, mostly zeros
    const float *z;
    const std::int64_t *rows;     // (count)
    const std::int64_t *columns;  // (size)
    double *into;                 // (size, size), added to: the upper triangle with the diagonal
    std::size_t count, size;
};

// Adds the upper triangle of X^T Z: sums of at most 256 terms are float, then they are double.
void spike_hessian(const SpikeTask &task, unsigned threads);

}  // namespace spikecore::sbc
