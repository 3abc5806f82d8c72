#pragma once

// Runs a plan over samples and steps, samples shared out over threads; the result does not depend on their number.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan.hpp"

namespace spikecore {

enum class Variable { s, u, v };

// Where one variable of one node is written: int32 (samples, steps, outputs of the node).
struct Record {
    std::size_t node = 0;
    Variable variable = Variable::s;
    std::int32_t *data = nullptr;
};

// Runs every sample from its initial state.
//
// `given` is (samples, steps, entries of the input). `threads` 0 means one for each core. Throws std::invalid_argument
// where a record asks for a state that its node does not have.
void run(const Plan &plan, const std::int32_t *given, std::size_t samples, std::size_t steps,
         const std::vector<Record> &records, unsigned threads);

}  // namespace spikecore
