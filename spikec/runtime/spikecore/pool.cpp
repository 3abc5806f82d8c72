#include "pool.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

namespace spikecore {

namespace {

// The entries of the map that a window covers: [first, last).
std::pair<std::size_t, std::size_t> covered(const Axis &axis, std::size_t window) {
    const std::size_t start = window * axis.stride;
    const std::size_t first = start > axis.before ? start - axis.before : 0;
    const std::size_t end = start + axis.kernel;
    const std::size_t last = end > axis.before ? std::min(end - axis.before, axis.size) : 0;
    return {std::min(first, last), last};
}

class PoolKernel final : public Kernel {
public:
    explicit PoolKernel(const Pool &stage)
        : stage_(stage), high_(stage.axes()[0].windows()), wide_(stage.axes()[1].windows()) {}

    void step(std::int64_t, const std::int32_t *in, std::int32_t *out) override {
        const Axis &y = stage_.axes()[0];
        const Axis &x = stage_.axes()[1];
        for (std::size_t channel = 0; channel < stage_.channels(); ++channel, in += y.size * x.size) {
            for (std::size_t oy = 0; oy < high_; ++oy) {
                const auto rows = covered(y, oy);
                for (std::size_t ox = 0; ox < wide_; ++ox) {
                    const auto columns = covered(x, ox);
                    *out++ = stage_.largest() ? largest(in, rows, columns) : total(in, rows, columns);
                }
            }
        }
    }

private:
    using Range = std::pair<std::size_t, std::size_t>;

    std::int32_t largest(const std::int32_t *in, Range rows, Range columns) const {
        std::int32_t top = std::numeric_limits<std::int32_t>::min();
        for (std::size_t i = rows.first; i < rows.second; ++i) {
            const std::int32_t *row = in + i * stage_.axes()[1].size;
            for (std::size_t k = columns.first; k < columns.second; ++k) top = std::max(top, row[k]);
        }
        return top;
    }

    std::int32_t total(const std::int32_t *in, Range rows, Range columns) const {
        std::uint32_t sum = 0;
        for (std::size_t i = rows.first; i < rows.second; ++i) {
            const std::int32_t *row = in + i * stage_.axes()[1].size;
            for (std::size_t k = columns.first; k < columns.second; ++k) sum += static_cast<std::uint32_t>(row[k]);
        }
        return static_cast<std::int32_t>(sum);
    }

    const Pool &stage_;
    std::size_t high_;
    std::size_t wide_;
};

std::size_t entries(const std::array<Axis, 2> &axes) { return product(axes[0].size, axes[1].size); }

std::size_t windows(const std::array<Axis, 2> &axes) { return product(axes[0].windows(), axes[1].windows()); }

}  // namespace

Pool::Pool(std::size_t channels, std::array<Axis, 2> axes, bool largest)
    : Stage(product(channels, entries(axes)), product(channels, windows(axes))),
      channels_(channels),
      axes_(axes),
      largest_(largest) {
    for (const Axis &axis : axes) {
        require(axis.dilation == 1, "a pool has no dilation");
        require(!largest || (axis.before < axis.kernel && axis.after < axis.kernel),
                "a window of the pool may lie in the padding alone");
    }
}

std::unique_ptr<Kernel> Pool::kernel() const { return std::make_unique<PoolKernel>(*this); }

}  // namespace spikecore
