#pragma once

// X^T Z for sparse X: the Hessian of spikes without a dense product.

#include <cstddef>

namespace spikecore::sbc {

struct SpikeTask {
    const float *given;  // (count, size), mostly zeros
    const float *z;      // (count, size)
    double *into;        // (size, size), added to: the upper triangle with the diagonal
    std::size_t count, size;
};

// Adds the upper triangle of X^T Z; sums of a few hundred rows are float, then they are double.
void spike_hessian(const SpikeTask &task, unsigned threads);

}  // namespace spikecore::sbc
