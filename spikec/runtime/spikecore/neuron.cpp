#include "neuron.hpp"

#include <string>
#include <utility>

#include "neuron_kernels.hpp"

namespace spikecore {

namespace {

using Array = std::vector<std::int64_t>;

// States and what is added to them stay below this, so that no product with a decay constant leaves 64 bits.
constexpr std::int64_t kMostState = std::int64_t{1} << 32;
constexpr int kMostDecayBits = 28;

// Fills an array up to the population; `most` bounds the magnitude of its values.
void fill(Array &values, std::size_t size, std::int64_t most, const std::string &name) {
    require(values.size() == 1 || values.size() == size, name + " has neither one value nor one for each neuron");
    for (const std::int64_t x : values) require(x >= -most && x <= most, name + " is out of range");
    if (values.size() != size) values.assign(size, values[0]);
}

// Turns decay constants into what the kernel uses: the factor that is kept, or the shift; 63 takes nothing away.
void prepare(Array &decay, const NeuronDescription &given, const std::string &name) {
    fill(decay, given.size, kMostState, name);
    const std::int64_t one = std::int64_t{1} << given.decay_bits;
    for (std::int64_t &d : decay) {
        if (given.shift_decay) {
            d = d < 1 || d > 63 ? 63 : d;
        } else {
            require(d >= 0 && d <= one, name + " is out of range");
            d = one - d;
        }
    }
}

void check(const NeuronDescription &given) {
    require(given.decay_bits >= 0 && given.decay_bits <= kMostDecayBits, "decay_bits is out of range");
    require(given.input_exp >= 0, "input_exp is negative");
    for (const Width &width : {given.u, given.v}) {
        require(width.bits >= 1 && width.bits <= 32, "a state is 1 to 32 bits wide");
    }
    require(given.reset_interval >= 0, "reset_interval is negative");
    require(given.reset_interval == 0 || (given.reset_offset >= 0 && given.reset_offset < given.reset_interval),
            "reset_offset is out of range");
}

}  // namespace

NeuronDescription prepared(NeuronDescription given) {
    check(given);
    constexpr std::int64_t any = std::int64_t{1} << 62;
    fill(given.threshold, given.size, any, "threshold");
    fill(given.amount, given.size, kMostState, "reset_amount");
    fill(given.bias, given.size, kMostState, "bias");
    fill(given.v_reset, given.size, kMostState, "v_reset");
    fill(given.u_init, given.size, kMostState, "u_init");
    fill(given.v_init, given.size, kMostState, "v_init");
    if (!given.v_min.empty()) fill(given.v_min, given.size, kMostState, "v_min");
    prepare(given.v_decay, given, "v_decay");
    if (!given.u_decay.empty()) prepare(given.u_decay, given, "u_decay");
    return given;
}

Neuron::Neuron(NeuronDescription given)
    : Stage(given.size, given.size), given_(prepared(std::move(given))), narrow_(narrowed(given_)) {}

std::unique_ptr<Kernel> Neuron::kernel() const {
    return narrow_ ? narrow_kernel(*narrow_, given_) : wide_kernel(given_);
}

}  // namespace spikecore
