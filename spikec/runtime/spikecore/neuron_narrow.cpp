// The neuron's step in 32-bit lanes, in loops that a compiler turns into vector instructions.
//
// A multiplying decay is computed in doubles: state * kept is below 2**53, so the product is exact, and the conversion
// back goes toward zero, as the specification demands.

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "neuron_kernels.hpp"

namespace spikecore {

namespace {

using Lanes = std::vector<std::int32_t>;

constexpr std::int64_t kLow = std::numeric_limits<std::int32_t>::min();
constexpr std::int64_t kHigh = std::numeric_limits<std::int32_t>::max();
constexpr int kMostExactBits = 20;  // 2**31 * 2**20 is below 2**53

struct Saturate {
    std::int32_t low;
    std::int32_t high;
    std::int32_t operator()(std::uint32_t sum) const { return std::clamp(static_cast<std::int32_t>(sum), low, high); }
};

// Brings back once, by 2**bits, what left (-2**(bits - 1), 2**(bits - 1)]; bits is at most 31.
struct WrapOnce {
    std::int32_t half;
    std::int32_t operator()(std::uint32_t sum) const {
        const auto x = static_cast<std::int32_t>(sum);
        const std::uint32_t turn = static_cast<std::uint32_t>(half) * 2;
        return static_cast<std::int32_t>(sum - (x > half ? turn : 0) + (x <= -half ? turn : 0));
    }
};

// Calls `work` with the bound of a width.
template <typename Work>
void bounded(const Width &width, const Work &work) {
    const std::int64_t half = std::int64_t{1} << (width.bits - 1);
    if (width.overflow == Overflow::wrap) {
        work(WrapOnce{static_cast<std::int32_t>(half)});
    } else {
        const std::int64_t low = width.symmetric ? 1 - half : -half;
        work(Saturate{static_cast<std::int32_t>(low), static_cast<std::int32_t>(half - 1)});
    }
}

std::uint32_t multiplied(std::int32_t x, double kept) {
    return static_cast<std::uint32_t>(static_cast<std::int32_t>(static_cast<double>(x) * kept));
}

std::uint32_t halved(std::int32_t x, std::int64_t shift) {
    const std::int64_t wide = x;
    const std::int64_t taken = (wide < 0 ? -wide : wide) >> shift;
    return static_cast<std::uint32_t>(wide < 0 ? wide + taken : wide - taken);
}

class NarrowKernel final : public Kernel {
public:
    NarrowKernel(const NarrowNeuron &narrow, const NeuronDescription &given)
        : n_(narrow), p_(given), u_(given.size), v_(given.size) {}

    void begin() override {
        std::transform(p_.u_init.begin(), p_.u_init.end(), u_.begin(), lane);
        std::transform(p_.v_init.begin(), p_.v_init.end(), v_.begin(), lane);
    }

    void step(std::int64_t t, const std::int32_t *in, std::int32_t *out) override {
        if (t == p_.start) begin();
        if (p_.reset_interval > 0 && t % p_.reset_interval == p_.reset_offset) {
            std::fill(u_.begin(), u_.end(), 0);
            std::fill(v_.begin(), v_.end(), 0);
        }
        bounded(p_.u, [&](const auto &bound) { gather(bound, in, u_.data()); });
        bounded(p_.v, [&](const auto &bound) { integrate(bound, u_.data(), v_.data()); });
        fire(out, v_.data());
        if (p_.membrane) std::copy(v_.begin(), v_.end(), out);
        if (t < p_.start) std::fill_n(out, p_.size, 0);
    }

    void write_u(std::int32_t *to) const override { std::copy(u_.begin(), u_.end(), to); }
    void write_v(std::int32_t *to) const override { std::copy(v_.begin(), v_.end(), to); }

private:
    static std::int32_t lane(std::int64_t x) { return static_cast<std::int32_t>(x); }

    template <typename Bound>
    void gather(Bound bound, const std::int32_t *in, std::int32_t *u) const {
        const std::size_t size = p_.size;
        // A shift by 32 or more leaves nothing; in two it is defined.
        const int first = std::min(p_.input_exp, 31);
        const int second = std::min(p_.input_exp - first, 1);
        const auto input = [=](std::size_t i) { return static_cast<std::uint32_t>(in[i]) << first << second; };
        if (p_.u_decay.empty()) {
            for (std::size_t i = 0; i < size; ++i) u[i] = bound(input(i));
        } else if (p_.shift_decay) {
            for (std::size_t i = 0; i < size; ++i) u[i] = bound(halved(u[i], p_.u_decay[i]) + input(i));
        } else {
            const double *kept = n_.u_kept.data();
            for (std::size_t i = 0; i < size; ++i) u[i] = bound(multiplied(u[i], kept[i]) + input(i));
        }
    }

    template <typename Bound>
    void integrate(Bound bound, const std::int32_t *u, std::int32_t *v) const {
        const std::size_t size = p_.size;
        const std::int32_t *bias = n_.bias.data();
        const auto added = [=](std::size_t i) {
            return static_cast<std::uint32_t>(u[i]) + static_cast<std::uint32_t>(bias[i]);
        };
        if (p_.shift_decay) {
            for (std::size_t i = 0; i < size; ++i) v[i] = bound(halved(v[i], p_.v_decay[i]) + added(i));
        } else {
            const double *kept = n_.v_kept.data();
            for (std::size_t i = 0; i < size; ++i) v[i] = bound(multiplied(v[i], kept[i]) + added(i));
        }
    }

    void fire(std::int32_t *out, std::int32_t *v) const {
        const std::size_t size = p_.size;
        const std::int32_t *above = n_.above.data();
        for (std::size_t i = 0; i < size; ++i) out[i] = v[i] > above[i];
        if (p_.reset == Reset::value) {
            const std::int32_t *to = n_.v_reset.data();
            for (std::size_t i = 0; i < size; ++i) v[i] = out[i] != 0 ? to[i] : v[i];
        } else if (p_.reset == Reset::subtract) {
            subtract(out, v);
        }
        if (n_.v_min.empty()) return;
        const std::int32_t *least = n_.v_min.data();
        for (std::size_t i = 0; i < size; ++i) v[i] = std::max(v[i], least[i]);
    }

    // Saturates (a wrapping potential with this reset is left to the wide kernel).
    void subtract(const std::int32_t *out, std::int32_t *v) const {
        const std::int64_t half = std::int64_t{1} << (p_.v.bits - 1);
        for (std::size_t i = 0; i < p_.size; ++i) {
            if (out[i] == 0) continue;
            v[i] = lane(std::clamp(v[i] - p_.amount[i], p_.v.symmetric ? 1 - half : -half, half - 1));
        }
    }

    const NarrowNeuron &n_;
    const NeuronDescription &p_;
    Lanes u_;
    Lanes v_;
};

bool fits(const std::vector<std::int64_t> &values) {
    return std::all_of(values.begin(), values.end(), [](std::int64_t x) { return x >= kLow && x <= kHigh; });
}

bool fits(const Width &width) { return width.overflow == Overflow::saturate || width.bits <= 31; }

bool fits(const NeuronDescription &given) {
    const bool exact = given.shift_decay || given.decay_bits <= kMostExactBits;
    const bool resets = given.reset != Reset::subtract || given.v.overflow == Overflow::saturate;
    const bool crossed = std::all_of(given.threshold.begin(), given.threshold.end(), [](auto x) { return x > kLow; });
    return exact && resets && crossed && fits(given.u) && fits(given.v) && fits(given.bias) && fits(given.v_reset) &&
           fits(given.v_min) && fits(given.u_init) && fits(given.v_init);
}

Lanes lanes(const std::vector<std::int64_t> &values) { return {values.begin(), values.end()}; }

std::vector<double> parts(const std::vector<std::int64_t> &kept, int bits) {
    std::vector<double> made(kept.size());
    const auto whole = static_cast<double>(std::int64_t{1} << bits);
    std::transform(kept.begin(), kept.end(), made.begin(), [=](auto k) { return static_cast<double>(k) / whole; });
    return made;
}

}  // namespace

std::shared_ptr<const NarrowNeuron> narrowed(const NeuronDescription &given) {
    if (!fits(given)) return nullptr;
    auto made = std::make_shared<NarrowNeuron>();
    made->above.reserve(given.size);
    for (const std::int64_t th : given.threshold) {
        made->above.push_back(static_cast<std::int32_t>(std::min(given.at_threshold ? th - 1 : th, kHigh)));
    }
    made->bias = lanes(given.bias);
    made->v_reset = lanes(given.v_reset);
    made->v_min = lanes(given.v_min);
    if (!given.shift_decay) {
        made->v_kept = parts(given.v_decay, given.decay_bits);
        made->u_kept = parts(given.u_decay, given.decay_bits);
    }
    return made;
}

std::unique_ptr<Kernel> narrow_kernel(const NarrowNeuron &narrow, const NeuronDescription &given) {
    return std::make_unique<NarrowKernel>(narrow, given);
}

}  // namespace spikecore
