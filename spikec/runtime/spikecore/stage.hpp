#pragma once

// What a node of a plan is: a stage (parameters, shared by all threads) and its kernel (what one thread remembers).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace spikecore {

// Entries of one tensor stay below this, so that an index fits in 32 bits.
inline constexpr std::size_t kMostEntries = std::size_t{1} << 31;

// The state of one node in one thread. All buffers hold one sample, in C order.
class Kernel {
public:
    Kernel() = default;
    Kernel(const Kernel &) = delete;
    Kernel &operator=(const Kernel &) = delete;
    virtual ~Kernel() = default;

    // Goes back to the state before step 0 of a sample.
    virtual void begin() {}

    // Computes step t (0, 1, ... in order) from the summed input; `in` and `out` do not overlap.
    virtual void step(std::int64_t t, const std::int32_t *in, std::int32_t *out) = 0;

    // Write the states after the last step, one value an output; only where the stage has them.
    virtual void write_u(std::int32_t *) const {}
    virtual void write_v(std::int32_t *) const {}
};

// The parameters of one node, never changed after construction.
class Stage {
public:
    Stage(std::size_t inputs, std::size_t outputs);
    Stage(const Stage &) = delete;
    Stage &operator=(const Stage &) = delete;
    virtual ~Stage() = default;

    // Makes the state of one thread; it refers to this stage, which must outlive it.
    virtual std::unique_ptr<Kernel> kernel() const = 0;

    // Says whether its kernel has the states u and v.
    virtual bool has_states() const { return false; }

    std::size_t inputs() const { return inputs_; }
    std::size_t outputs() const { return outputs_; }

private:
    std::size_t inputs_;
    std::size_t outputs_;
};

// Passes its input on: the network's input and outputs, and ops that only change a shape.
class Identity final : public Stage {
public:
    explicit Identity(std::size_t size) : Stage(size, size) {}
    std::unique_ptr<Kernel> kernel() const override;
};

// Throws std::invalid_argument unless a description is sound.
inline void require(bool sound, const std::string &message) {
    if (!sound) throw std::invalid_argument(message);
}

// Multiplies two sizes; throws std::invalid_argument where the tensor would be too large.
std::size_t product(std::size_t a, std::size_t b);

}  // namespace spikecore
