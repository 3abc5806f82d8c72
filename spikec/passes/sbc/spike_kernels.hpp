#pragma once

// The inner loops of the Hessian of spikes; one version for each kind of vector register.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lanes.hpp"

namespace spikecore::sbc {

inline constexpr std::size_t kParts = 4;               // registers of columns in a panel
inline constexpr std::size_t kWide = kParts * kLanes;  // columns of a panel
inline constexpr std::size_t kChunk = 512;             // rows of a part of a panel: 32 KB, for the nearest cache
inline constexpr std::size_t kTurn = 4;                // spikes that are added in one turn of the loop

// The spikes of a chunk of rows, column by column. Columns are in blocks of 64, within them by their number of spikes,
// so that the processor foresees the ends of loops. What a list lacks to whole turns is filled with a row of zeros.
struct Lists {
    std::vector<std::uint32_t> column, first;  // a column, and where its spikes begin
    std::vector<std::uint16_t> row;            // bytes from the beginning of the part of a panel
    std::vector<float> value;                  // empty where every spike is 1
};

// One chunk of rows by one part of a panel.
struct Piece {
    const float *part;  // (rows of the chunk, 16), then a row of zeros
    const Lists *lists;
    std::size_t columns;  // of X, the first ones: the sum has an upper triangle only
    float *sums;          // (columns, 16)
};

// Part of a recording: some steps by the columns of a panel.
struct Filter {
    std::size_t steps;
    std::size_t stride, width;  // of what is given as values
    double a_mem, a_syn;        // u = a_syn u + gain x, v = a_mem v + u
    float gain;
    float *out;                 // written: step t of register r is at 16 t + r * part
    std::size_t part;
};

struct SpikeKernels {
    void (*bits)(const std::uint64_t *masks, const Filter &filter);  // a bit for each column: spikes of 1
    void (*bytes)(const std::uint8_t *given, const Filter &filter);
    void (*floats)(const float *given, const Filter &filter);
    void (*add)(const Piece &piece);
    // Adds the float sums of a column of X, `apart` from part to part, to 64 double ones, and begins anew.
    void (*flush)(float *sums, std::size_t apart, double *into);
    // Says which of 64 bytes are not 0.
    std::uint64_t (*find)(const std::uint8_t *bytes);
};

// The best version that this processor runs.
const SpikeKernels &spike_kernels();

}  // namespace spikecore::sbc
