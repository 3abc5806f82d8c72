#pragma once

// Convolutions over one or two spatial axes, by events: an input adds to the outputs whose windows it lies in.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "stage.hpp"
#include "sum.hpp"
#include "synapses.hpp"

namespace spikecore {

// A window that slides over one spatial axis.
struct Axis {
    std::size_t size = 1;  // entries of the input
    std::size_t kernel = 1;
    std::size_t stride = 1;
    std::size_t before = 0;  // zeros before the first entry
    std::size_t after = 0;   // zeros behind the last
    std::size_t dilation = 1;

    // Gives how many windows fit; throws std::invalid_argument where none does.
    std::size_t windows() const;
};

struct ConvolutionDescription {
    std::size_t in_channels = 0;
    std::size_t out_channels = 0;
    std::size_t groups = 1;
    std::array<Axis, 2> axes;            // y, x; one axis alone is x, and y is as it begins
    std::vector<std::int32_t> weights;  // (out, in / groups, kernel y, kernel x)
    std::size_t latency = 0;
    SumRule sum;
};

class Convolution final : public Stage {
public:
    explicit Convolution(ConvolutionDescription given);
    std::unique_ptr<Kernel> kernel() const override;

    const ConvolutionDescription &description() const { return given_; }
    const Weights &weights() const { return weights_; }

    // Gives for each entry and tap of an axis, (size, kernel), the window that they belong to; kNoWindow where none.
    const std::vector<std::uint32_t> &window_table(std::size_t axis) const { return tables_[axis]; }

    static constexpr std::uint32_t kNoWindow = ~std::uint32_t{0};

private:
    ConvolutionDescription given_;  // its weights are moved from
    Weights weights_;               // (in, kernel y, kernel x, out / groups): what one input adds, channels together
    std::array<std::vector<std::uint32_t>, 2> tables_;
};

}  // namespace spikecore
