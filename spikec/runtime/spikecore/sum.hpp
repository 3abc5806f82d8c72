#pragma once

// The integer arithmetic of a weighted connection: messages, the exponent on the sum, the width it wraps to.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spikecore {

// Accumulators are unsigned, so that they wrap at 32 bits without overflow; they mean two's complement.
using Accumulator = std::uint32_t;

struct SumRule {
    bool graded = false;                // the input is a message (an integer), else a spike (whatever is not zero)
    int width = 32;                     // bits of the result
    std::vector<std::int32_t> exponent;  // one for all outputs, or one for each

    // Throws std::invalid_argument unless width is 1 to 32 and there is an exponent for each of `channels`, or one.
    void check(std::size_t channels) const;

    std::int32_t exponent_of(std::size_t channel) const { return exponent[exponent.size() == 1 ? 0 : channel]; }
};

// Gives acc << e, or acc >> -e (arithmetic, a floor).
inline Accumulator shifted(Accumulator acc, std::int32_t e) {
    if (e > 0) return e < 32 ? acc << e : 0;
    return static_cast<Accumulator>(static_cast<std::int32_t>(acc) >> (e < -31 ? 31 : -e));
}

// Brings a sum into the two's complement range of `width` bits.
inline std::int32_t wrapped(Accumulator acc, int width) {
    return static_cast<std::int32_t>(acc << (32 - width)) >> (32 - width);
}

}  // namespace spikecore
