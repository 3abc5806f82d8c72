#pragma once

// A delay: out[t] = in[t - steps], zero before; one number of steps for all entries, or one for each.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "stage.hpp"

namespace spikecore {

class Delay final : public Stage {
public:
    // `steps` has one entry, or `size`.
    Delay(std::size_t size, std::vector<std::int32_t> steps);
    std::unique_ptr<Kernel> kernel() const override;

    const std::vector<std::int32_t> &steps() const { return steps_; }

private:
    std::vector<std::int32_t> steps_;
};

}  // namespace spikecore
