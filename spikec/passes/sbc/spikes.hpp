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
    const float *z;               // or null: then it is M^T M X, X being whole recordings of `steps` rows
    const std::int64_t *rows;     // (count)
    const std::int64_t *columns;  // (size)
    double *into;                 // (size, size), added to: the upper triangle with the diagonal
    std::size_t count, size;
    std::size_t steps = 1;
    double a_mem = 0, a_syn = 0;  // M: u = a_syn u + gain x, v = a_mem v + u
    float gain = 1;
};

// Adds the upper triangle of X^T Z: sums over at most 512 rows are float, in two halves; 16 of these are added as floats,
// what is more as doubles.
void spike_hessian(const SpikeTask &task, unsigned threads);

// Copies the upper triangle of a matrix to the lower one, in place.
void mirror(double *matrix, std::size_t size, unsigned threads);

}  // namespace spikecore::sbc
