#include "neuron.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace spikecore {

namespace {

using Array = std::vector<std::int64_t>;

// States and what is added to them stay below this, so that no product with a decay constant leaves 64 bits.
constexpr std::int64_t kMostState = std::int64_t{1} << 32;
constexpr int kMostDecayBits = 28;

std::int64_t wrap32(std::int64_t x) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(x)); }

std::int64_t magnitude(std::int64_t x) { return x < 0 ? -x : x; }

// Brings a state back into its width: saturates, or wraps once.
class Bound {
public:
    explicit Bound(const Width &width)
        : saturates_(width.overflow == Overflow::saturate),
          half_(std::int64_t{1} << (width.bits - 1)),
          low_(width.symmetric ? 1 - half_ : -half_) {}

    std::int64_t operator()(std::int64_t x) const {
        if (saturates_) return std::clamp(x, low_, half_ - 1);
        return x > half_ ? x - 2 * half_ : x <= -half_ ? x + 2 * half_ : x;
    }

private:
    bool saturates_;
    std::int64_t half_;
    std::int64_t low_;
};

class NeuronKernel final : public Kernel {
public:
    explicit NeuronKernel(const Neuron &stage)
        : p_(stage.description()), u_(p_.size), v_(p_.size), bound_u_(p_.u), bound_v_(p_.v) {}

    void begin() override {
        u_ = p_.u_init;
        v_ = p_.v_init;
    }

    void step(std::int64_t t, const std::int32_t *in, std::int32_t *out) override {
        if (t == p_.start) begin();
        if (p_.reset_interval > 0 && t % p_.reset_interval == p_.reset_offset) {
            std::fill(u_.begin(), u_.end(), 0);
            std::fill(v_.begin(), v_.end(), 0);
        }
        integrate(in);
        fire(out);
        if (t < p_.start) std::fill_n(out, p_.size, 0);
    }

    const std::int64_t *u() const override { return u_.data(); }
    const std::int64_t *v() const override { return v_.data(); }

private:
    void integrate(const std::int32_t *in) {
        if (p_.u_decay.empty()) {
            for (std::size_t i = 0; i < p_.size; ++i) u_[i] = bound_u_(input(in[i]));
        } else if (p_.shift_decay) {
            for (std::size_t i = 0; i < p_.size; ++i) {
                u_[i] = bound_u_(wrap32(halved(u_[i], p_.u_decay[i]) + input(in[i])));
            }
        } else {
            for (std::size_t i = 0; i < p_.size; ++i) {
                u_[i] = bound_u_(wrap32(multiplied(u_[i], p_.u_decay[i]) + input(in[i])));
            }
        }
        if (p_.shift_decay) {
            for (std::size_t i = 0; i < p_.size; ++i) {
                v_[i] = bound_v_(wrap32(halved(v_[i], p_.v_decay[i]) + u_[i] + p_.bias[i]));
            }
        } else {
            for (std::size_t i = 0; i < p_.size; ++i) {
                v_[i] = bound_v_(wrap32(multiplied(v_[i], p_.v_decay[i]) + u_[i] + p_.bias[i]));
            }
        }
    }

    void fire(std::int32_t *out) {
        for (std::size_t i = 0; i < p_.size; ++i) {
            const bool spike = p_.at_threshold ? v_[i] >= p_.threshold[i] : v_[i] > p_.threshold[i];
            out[i] = spike;
            if (!spike) continue;
            if (p_.reset == Reset::value) v_[i] = p_.v_reset[i];
            if (p_.reset == Reset::subtract) v_[i] = bound_v_(v_[i] - p_.amount[i]);
        }
        if (!p_.v_min.empty()) {
            for (std::size_t i = 0; i < p_.size; ++i) v_[i] = std::max(v_[i], p_.v_min[i]);
        }
        if (!p_.membrane) return;
        for (std::size_t i = 0; i < p_.size; ++i) out[i] = static_cast<std::int32_t>(wrap32(v_[i]));
    }

    std::int64_t input(std::int32_t a) const {
        const auto bits = static_cast<std::uint32_t>(a);
        return static_cast<std::int32_t>(p_.input_exp < 32 ? bits << p_.input_exp : 0);
    }

    // Both decays act on the magnitude and so go toward zero.
    std::int64_t multiplied(std::int64_t x, std::int64_t kept) const {
        const std::int64_t left = (magnitude(x) * kept) >> p_.decay_bits;
        return x < 0 ? -left : left;
    }

    static std::int64_t halved(std::int64_t x, std::int64_t shift) {
        const std::int64_t taken = magnitude(x) >> shift;
        return x < 0 ? x + taken : x - taken;
    }

    const NeuronDescription &p_;
    Array u_;
    Array v_;
    Bound bound_u_;
    Bound bound_v_;
};

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

}  // namespace

Neuron::Neuron(NeuronDescription given) : Stage(given.size, given.size), given_(prepared(std::move(given))) {}

std::unique_ptr<Kernel> Neuron::kernel() const { return std::make_unique<NeuronKernel>(*this); }

}  // namespace spikecore
