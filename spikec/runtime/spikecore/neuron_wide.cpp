// The neuron's step in 64 bits: every setting that the specification knows.

#include <algorithm>
#include <vector>

#include "neuron_kernels.hpp"

namespace spikecore {

namespace {

using Array = std::vector<std::int64_t>;

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

class WideKernel final : public Kernel {
public:
    explicit WideKernel(const NeuronDescription &given)
        : p_(given), u_(p_.size), v_(p_.size), bound_u_(p_.u), bound_v_(p_.v) {}

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

    void write_u(std::int32_t *to) const override { write(u_, to); }
    void write_v(std::int32_t *to) const override { write(v_, to); }

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

    static void write(const Array &state, std::int32_t *to) {
        std::transform(state.begin(), state.end(), to, [](std::int64_t x) { return static_cast<std::int32_t>(x); });
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

}  // namespace

std::unique_ptr<Kernel> wide_kernel(const NeuronDescription &given) { return std::make_unique<WideKernel>(given); }

}  // namespace spikecore
