// The membranes of a spike core: weights of a step added in any order, one saturation, and the fire pass.
#include <algorithm>

#include "cycle.hpp"

// The add and the fire pass are worth a second version for wider registers, chosen when the program starts.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define SPIKEC_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define SPIKEC_CLONES
#endif

namespace spikecore::cycle {

namespace {

SPIKEC_CLONES
void add_rows(std::int32_t *__restrict sums, const std::int8_t *const *rows, std::size_t size) {
    const std::int8_t *__restrict a = rows[0], *__restrict b = rows[1], *__restrict c = rows[2], *__restrict d = rows[3];
    const std::int8_t *__restrict e = rows[4], *__restrict f = rows[5], *__restrict g = rows[6], *__restrict h = rows[7];
    for (std::size_t i = 0; i < size; ++i) {
        const auto sum = static_cast<std::int16_t>(a[i] + b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i]);
        sums[i] += sum;
    }
}

SPIKEC_CLONES
void add_row(std::int32_t *__restrict sums, const std::int8_t *__restrict row, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) sums[i] += row[i];
}

// One neuron's fire pass; every choice is a constant of the loop.
struct Rule {
    std::int32_t top, low;
    std::int32_t at;    // added to the threshold: 1 fires above, 0 at it
    std::int32_t hard, soft;  // all ones where so
    std::int32_t shift, clear;
    std::uint32_t keep;
};

template <typename Wide>
inline __attribute__((always_inline)) void fire_all(const Rule rule, std::size_t size, std::int32_t *__restrict sums,
                                                    std::int32_t *__restrict states, std::uint8_t *__restrict spiked,
                                                    const std::int32_t *__restrict threshold,
                                                    const std::int32_t *__restrict bias,
                                                    const std::int32_t *__restrict amount,
                                                    const std::int32_t *__restrict initial) {
    for (std::size_t i = 0; i < size; ++i) {
        const std::int32_t v = std::min(std::max(sums[i], rule.low), rule.top);
        const std::int32_t fired = -static_cast<std::int32_t>(v >= threshold[i] + rule.at);
        const std::int32_t less = std::min(std::max(v - amount[i], rule.low), rule.top);
        const std::int32_t after = (amount[i] & rule.hard) | (less & rule.soft);
        const std::int32_t chosen = fired & (rule.hard | rule.soft);
        const std::int32_t r = (after & chosen) | (v & ~chosen);
        const std::int32_t from = (initial[i] & rule.clear) | (r & ~rule.clear);
        const std::int32_t sign = from >> 31;
        const auto size_of = static_cast<std::uint32_t>((from ^ sign) - sign);
        std::uint32_t kept;
        if (rule.keep != 0 || rule.shift == 0)
            kept = static_cast<std::uint32_t>((static_cast<Wide>(size_of) * rule.keep) >> 12);
        else
            kept = size_of - (size_of >> rule.shift);
        const auto next = static_cast<std::int32_t>(kept);
        sums[i] = ((next ^ sign) - sign) + bias[i];
        states[i] = r;
        spiked[i] = static_cast<std::uint8_t>(fired & 1);
    }
}

SPIKEC_CLONES
void fire_narrow(const Rule &rule, std::size_t size, std::int32_t *sums, std::int32_t *states, std::uint8_t *spiked,
                 const std::int32_t *threshold, const std::int32_t *bias, const std::int32_t *amount,
                 const std::int32_t *initial) {
    fire_all<std::uint32_t>(rule, size, sums, states, spiked, threshold, bias, amount, initial);
}

void fire_wide(const Rule &rule, std::size_t size, std::int32_t *sums, std::int32_t *states, std::uint8_t *spiked,
               const std::int32_t *threshold, const std::int32_t *bias, const std::int32_t *amount,
               const std::int32_t *initial) {
    fire_all<std::uint64_t>(rule, size, sums, states, spiked, threshold, bias, amount, initial);
}

Rule rule_of(const Core &core, bool clear) {
    const std::int32_t half = std::int32_t{1} << (core.state_bits - 1);
    Rule rule{};
    rule.top = half - 1;
    rule.low = -half;
    rule.at = core.at_threshold ? 0 : 1;
    rule.hard = core.reset == Reset::value ? -1 : 0;
    rule.soft = core.reset == Reset::subtract ? -1 : 0;
    rule.clear = clear ? -1 : 0;
    if (core.shift && core.decay != 0) {
        rule.shift = core.decay;
    } else {  // a shift by nothing keeps everything
        rule.keep = static_cast<std::uint32_t>(4096 - core.decay);
    }
    return rule;
}

}  // namespace

Neurons::Neurons(const Core &core)
    : core_(core), sums_(core.neurons(), 0), states_(core.neurons()), spiked_(core.neurons()) {
    fire(true);
}

void Neurons::add(const std::vector<std::uint32_t> &rows) {
    const std::size_t size = core_.neurons();
    std::size_t at = 0;
    for (; at + 8 <= rows.size(); at += 8) {
        const std::int8_t *eight[8];
        for (std::size_t k = 0; k < 8; ++k) eight[k] = core_.weights.data() + rows[at + k] * size;
        add_rows(sums_.data(), eight, size);
    }
    for (; at < rows.size(); ++at) add_row(sums_.data(), core_.weights.data() + rows[at] * size, size);
}

void Neurons::fire(bool clear) {
    const Rule rule = rule_of(core_, clear);
    const auto pass = core_.state_bits <= 20 ? fire_narrow : fire_wide;
    pass(rule, core_.neurons(), sums_.data(), states_.data(), spiked_.data(), core_.threshold.data(), core_.bias.data(),
         core_.amount.data(), core_.initial.data());
}

}  // namespace spikecore::cycle
