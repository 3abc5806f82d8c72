#pragma once

// In which order a row loses its weights: greedy OBS over groups, as a pivoted Cholesky factorisation of the inverse.

#include <cstddef>
#include <cstdint>

namespace spikecore::sbc {

struct OrderTask {
    const float *inverse;       // (size, size), symmetric, positive definite over the live columns
    const float *rows;          // (count, size)
    const std::uint8_t *alive;  // (size), 0 for a column that has no loss
    float *losses;              // (count, size), written
    std::size_t size, count, block;
    std::size_t group = 0, most = 0;  // of every `group` neighbouring columns at most `most` go; 0: any may go
    std::uint8_t *keep = nullptr;     // (count, size), written if there are groups; `size` is a multiple of them
};

// Writes the loss of each weight, w_p^2 / G_pp at the start of its batch; each row by itself, any number of threads.
void order(const OrderTask &task, unsigned threads);

// Rows of which every `group` neighbours keep `kept` in each column, pruned together; they may have several inverses.
struct AcrossTask {
    const float *inverses;        // (kinds, size, size)
    const std::uint8_t *alive;    // (kinds, size), 0 for a column that goes first
    const std::int64_t *which;    // (count), the kind of each row
    const float *scales;          // (count), how much a score of the row counts
    const float *rows;            // (count, size)
    std::uint8_t *keep;           // (count, size), written
    std::size_t size, count, group, kept;
};

// Writes what is kept; the last rows may be fewer than a group. Each group by itself, any number of threads.
void order_across(const AcrossTask &task, unsigned threads);

// Bytes that a thread holds besides the shared inverse.
std::size_t order_thread_bytes(std::size_t size, std::size_t block);

}  // namespace spikecore::sbc
