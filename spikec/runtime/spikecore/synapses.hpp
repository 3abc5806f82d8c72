#pragma once

// Weights laid out for events: for each input the row of what it adds to the outputs, dense or compressed.

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "events.hpp"
#include "sum.hpp"

namespace spikecore {

// Weights in the narrowest integer that holds them all.
using Weights = std::variant<std::vector<std::int8_t>, std::vector<std::int16_t>, std::vector<std::int32_t>>;

Weights narrowest(const std::vector<std::int32_t> &values);

// Adds value * row to acc; `count` weights stand next to each other.
template <typename W>
inline void add_row(Accumulator *acc, const W *row, std::size_t count, std::int32_t value) {
    if (value == 1) {
        for (std::size_t i = 0; i < count; ++i) acc[i] += static_cast<Accumulator>(static_cast<std::int32_t>(row[i]));
        return;
    }
    const auto x = static_cast<Accumulator>(value);
    for (std::size_t i = 0; i < count; ++i) acc[i] += x * static_cast<Accumulator>(static_cast<std::int32_t>(row[i]));
}

// A matrix (inputs, outputs). Rows are compressed where fewer than an eighth of the entries are not zero: below that
// they were measured to be faster.
class Synapses {
public:
    // `by_input` holds inputs * outputs weights, the row of input 0 first.
    Synapses(const std::vector<std::int32_t> &by_input, std::size_t inputs, std::size_t outputs);

    // Adds what the events bring. An event's index is row * inputs + input; its outputs begin at acc[row * outputs].
    void scatter(const std::vector<Event> &events, Accumulator *acc) const;

    bool compressed() const { return !first_.empty(); }

private:
    std::size_t inputs_;
    std::size_t outputs_;
    Weights weights_;
    std::vector<std::uint32_t> first_;   // compressed: where the row of each input begins, and the end of the last
    std::vector<std::uint32_t> target_;  // compressed: the output of each weight
};

}  // namespace spikecore
