#pragma once

// Pools over one or two spatial axes: the sum or the largest value of each window.

#include <array>
#include <cstddef>
#include <memory>

#include "convolution.hpp"
#include "stage.hpp"

namespace spikecore {

// Sums add zeros for padding; a maximum never takes it, so each of its windows must hold an entry of the map.
class Pool final : public Stage {
public:
    Pool(std::size_t channels, std::array<Axis, 2> axes, bool largest);
    std::unique_ptr<Kernel> kernel() const override;

    std::size_t channels() const { return channels_; }
    const std::array<Axis, 2> &axes() const { return axes_; }
    bool largest() const { return largest_; }

private:
    std::size_t channels_;
    std::array<Axis, 2> axes_;
    bool largest_;
};

}  // namespace spikecore
