#pragma once

// The fixed neuron: a population in integers of stated widths, as `spikec/compiler/fixed.py` defines it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "stage.hpp"

namespace spikecore {

enum class Overflow { wrap, saturate };
enum class Reset { value, subtract, none };

// A state of `bits` bits and what happens beyond them.
struct Width {
    int bits = 32;
    Overflow overflow = Overflow::wrap;
    bool symmetric = false;
};

// Parameters by kind, one array each, one value a neuron; an array of one value serves all.
struct NeuronDescription {
    std::size_t size = 0;
    std::vector<std::int64_t> threshold;  // in the units of v
    std::vector<std::int64_t> amount;     // what a subtracting reset takes away, in the units of v
    std::vector<std::int64_t> bias;       // in the units of v, within 32 bits
    std::vector<std::int64_t> v_decay;
    std::vector<std::int64_t> u_decay;  // empty: u is the input and remembers nothing
    std::vector<std::int64_t> v_reset;
    std::vector<std::int64_t> v_min;  // empty: none
    std::vector<std::int64_t> u_init;
    std::vector<std::int64_t> v_init;
    bool shift_decay = false;  // take x >> d away, else keep (2**decay_bits - d) / 2**decay_bits
    int decay_bits = 12;
    int input_exp = 0;
    Width u;
    Width v;
    bool at_threshold = false;  // fires at the threshold itself (>=)
    Reset reset = Reset::value;
    bool membrane = false;  // sends v, else spikes
    std::int64_t start = 0;
    std::int64_t reset_interval = 0;  // 0: never
    std::int64_t reset_offset = 0;    // below reset_interval
};

struct NarrowNeuron;

// Gives a description whose arrays are filled up to `size`, and whose decay constants are the factor that is kept (of
// 2**decay_bits), or the shift (63 where nothing is taken away). Throws std::invalid_argument where a value is out of
// range.
NeuronDescription prepared(NeuronDescription given);

class Neuron final : public Stage {
public:
    explicit Neuron(NeuronDescription given);
    std::unique_ptr<Kernel> kernel() const override;
    bool has_states() const override { return true; }

private:
    NeuronDescription given_;
    std::shared_ptr<const NarrowNeuron> narrow_;  // null where 32 bits do not do
};

}  // namespace spikecore
