#pragma once

// The two ways to compute a neuron's step: in 64 bits, always right, and in 32, quick where the values allow it.

#include <cstdint>
#include <memory>
#include <vector>

#include "neuron.hpp"
#include "stage.hpp"

namespace spikecore {

// What the 32-bit kernel reads beside the description: parameters by kind, one value a neuron, as wide as its lanes.
struct NarrowNeuron {
    std::vector<std::int32_t> above;  // fires where v > above
    std::vector<std::int32_t> bias;
    std::vector<std::int32_t> v_reset;
    std::vector<std::int32_t> v_min;
    std::vector<double> v_kept;  // the part of v that a multiplying decay keeps
    std::vector<double> u_kept;
};

// Gives what the 32-bit kernel needs, or null where 32 bits would not give the values that 64 do.
std::shared_ptr<const NarrowNeuron> narrowed(const NeuronDescription &given);

// Both refer to what they are given, which must outlive them; `given` is prepared.
std::unique_ptr<Kernel> narrow_kernel(const NarrowNeuron &narrow, const NeuronDescription &given);
std::unique_ptr<Kernel> wide_kernel(const NeuronDescription &given);

}  // namespace spikecore
