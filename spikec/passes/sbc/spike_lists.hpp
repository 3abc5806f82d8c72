#pragma once

// Where the spikes of some rows of X are, column by column.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "spike_kernels.hpp"
#include "spikes.hpp"

namespace spikecore::sbc {

// Finds the spikes of one chunk of rows after another.
class Finder {
public:
    // `marks` are bytes, 0 where `task.given` is 0, 1 where it is 1; `readable` of them may be read.
    // Written unless null, where columns are contiguous: `bits` (blocks of 64 columns, count).
    Finder(const SpikeTask &task, const std::uint8_t *marks, std::size_t readable, bool contiguous,
           std::uint64_t *bits);

    Lists operator()(std::size_t start, std::size_t end);

private:
    void along_rows(std::size_t block, std::size_t start, std::size_t end);
    void along_columns(std::size_t block, std::size_t start, std::size_t end);
    void arrange(std::size_t block, std::size_t count, Lists &lists);
    void add_values(Lists &lists) const;
    std::uint64_t find(std::size_t place, std::size_t width) const;

    const SpikeTask task_;
    const SpikeKernels &kernels_ = spike_kernels();
    const std::uint8_t *marks_;
    const std::size_t readable_;
    const bool contiguous_;
    std::uint64_t *const bits_;
    std::vector<std::uint16_t> rows_;   // of 64 columns, and of one that nobody reads
    std::uint16_t counts_[kWide + 1] = {};
    std::uint8_t marked_ = 0;            // above 1 where a spike was graded
    std::size_t start_ = 0, zeros_ = 0;  // the first row of the chunk, and how many there are: then come zeros
    std::size_t most_ = 0;               // of the chunks so far, how long the lists are
};

}  // namespace spikecore::sbc
