#include "synapses.hpp"

#include <algorithm>
#include <limits>

#include "stage.hpp"

namespace spikecore {

namespace {

template <typename W>
bool holds(std::int32_t low, std::int32_t high) {
    return low >= std::numeric_limits<W>::min() && high <= std::numeric_limits<W>::max();
}

}  // namespace

void SumRule::check(std::size_t channels) const {
    require(width >= 1 && width <= 32, "a sum is 1 to 32 bits wide");
    require(exponent.size() == 1 || exponent.size() == channels, "there is one exponent, or one for each output");
}

Weights narrowest(const std::vector<std::int32_t> &values) {
    std::int32_t low = 0;
    std::int32_t high = 0;
    for (const std::int32_t value : values) {
        low = std::min(low, value);
        high = std::max(high, value);
    }
    if (holds<std::int8_t>(low, high)) return std::vector<std::int8_t>(values.begin(), values.end());
    if (holds<std::int16_t>(low, high)) return std::vector<std::int16_t>(values.begin(), values.end());
    return values;
}

Synapses::Synapses(const std::vector<std::int32_t> &by_input, std::size_t inputs, std::size_t outputs)
    : inputs_(inputs), outputs_(outputs) {
    require(by_input.size() == product(inputs, outputs), "the weights do not have the size of their matrix");
    const auto zeros = static_cast<std::size_t>(std::count(by_input.begin(), by_input.end(), 0));
    const std::size_t used = by_input.size() - zeros;
    if (used >= by_input.size() / 8) {
        weights_ = narrowest(by_input);
        return;
    }
    std::vector<std::int32_t> kept;
    kept.reserve(used);
    target_.reserve(used);
    first_.reserve(inputs + 1);
    first_.push_back(0);
    for (std::size_t j = 0; j < inputs; ++j) {
        for (std::size_t i = 0; i < outputs; ++i) {
            const std::int32_t weight = by_input[j * outputs + i];
            if (weight == 0) continue;
            kept.push_back(weight);
            target_.push_back(static_cast<std::uint32_t>(i));
        }
        first_.push_back(static_cast<std::uint32_t>(kept.size()));
    }
    weights_ = narrowest(kept);
}

void Synapses::scatter(const std::vector<Event> &events, Accumulator *acc) const {
    std::visit(
        [&](const auto &weights) {
            for (const Event event : events) {
                const std::size_t row = event.index < inputs_ ? 0 : event.index / inputs_;
                const std::size_t j = event.index - row * inputs_;
                Accumulator *to = acc + row * outputs_;
                if (first_.empty()) {
                    add_row(to, weights.data() + j * outputs_, outputs_, event.value);
                    continue;
                }
                const auto x = static_cast<Accumulator>(event.value);
                for (std::uint32_t k = first_[j]; k < first_[j + 1]; ++k) {
                    to[target_[k]] += x * static_cast<Accumulator>(static_cast<std::int32_t>(weights[k]));
                }
            }
        },
        weights_);
}

}  // namespace spikecore
