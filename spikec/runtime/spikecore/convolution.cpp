#include "convolution.hpp"

#include <algorithm>
#include <utility>

#include "events.hpp"

namespace spikecore {

namespace {

constexpr std::size_t kMostSteps = 1 << 20;

class ConvolutionKernel final : public Kernel {
public:
    explicit ConvolutionKernel(const Convolution &stage)
        : given_(stage.description()),
          weights_(stage.weights()),
          windows_y_(stage.window_table(0).data()),
          windows_x_(stage.window_table(1).data()),
          high_(given_.axes[0].windows()),
          wide_(given_.axes[1].windows()),
          history_(stage.inputs(), given_.latency),
          acc_(stage.outputs()) {}

    void begin() override { history_.clear(); }

    void step(std::int64_t, const std::int32_t *in, std::int32_t *out) override {
        history_.push(in, given_.sum.graded);
        const auto &events = history_.back(given_.latency);
        if (events.empty()) {
            std::fill(out, out + acc_.size(), 0);
            return;
        }
        std::fill(acc_.begin(), acc_.end(), 0);
        std::visit([&](const auto &weights) { scatter(events, weights.data()); }, weights_);
        finish(out);
    }

private:
    template <typename W>
    void scatter(const std::vector<Event> &events, const W *weights) {
        const Axis &y = given_.axes[0];
        const Axis &x = given_.axes[1];
        const std::size_t made = given_.out_channels / given_.groups;
        const std::size_t share = given_.in_channels / given_.groups;
        const auto wide = static_cast<std::uint32_t>(x.size);
        const auto map = static_cast<std::uint32_t>(y.size) * wide;
        for (const Event event : events) {
            const auto channel = static_cast<std::uint32_t>(event.index / map);
            const auto at = static_cast<std::uint32_t>(event.index - channel * map);
            const std::uint32_t *rows = windows_y_ + at / wide * y.kernel;
            const std::uint32_t *columns = windows_x_ + at % wide * x.kernel;
            const W *taps = weights + channel * y.kernel * x.kernel * made;
            Accumulator *to = acc_.data() + channel / share * made;
            for (std::size_t i = 0; i < y.kernel; ++i) {
                if (rows[i] == Convolution::kNoWindow) continue;
                for (std::size_t k = 0; k < x.kernel; ++k) {
                    if (columns[k] == Convolution::kNoWindow) continue;
                    const std::size_t window = rows[i] * wide_ + columns[k];
                    add_row(to + window * given_.out_channels, taps + (i * x.kernel + k) * made, made, event.value);
                }
            }
        }
    }

    // The accumulators are (y, x, channel), the output is (channel, y, x).
    void finish(std::int32_t *out) const {
        const std::size_t map = high_ * wide_;
        for (std::size_t channel = 0; channel < given_.out_channels; ++channel) {
            const std::int32_t e = given_.sum.exponent_of(channel);
            const Accumulator *from = acc_.data() + channel;
            for (std::size_t at = 0; at < map; ++at) {
                *out++ = wrapped(shifted(from[at * given_.out_channels], e), given_.sum.width);
            }
        }
    }

    const ConvolutionDescription &given_;
    const Weights &weights_;
    const std::uint32_t *windows_y_;
    const std::uint32_t *windows_x_;
    std::size_t high_;
    std::size_t wide_;
    EventHistory history_;
    std::vector<Accumulator> acc_;
};

std::vector<std::int32_t> by_input(const ConvolutionDescription &given) {
    const std::size_t taps = product(given.axes[0].kernel, given.axes[1].kernel);
    const std::size_t share = given.in_channels / given.groups;
    const std::size_t made = given.out_channels / given.groups;
    require(given.weights.size() == product(product(given.out_channels, share), taps),
            "the weights are not (out, in / groups, kernel)");
    std::vector<std::int32_t> turned(given.weights.size());
    for (std::size_t o = 0; o < given.out_channels; ++o) {
        for (std::size_t c = 0; c < share; ++c) {
            for (std::size_t tap = 0; tap < taps; ++tap) {
                const std::size_t channel = o / made * share + c;
                turned[(channel * taps + tap) * made + o % made] = given.weights[(o * share + c) * taps + tap];
            }
        }
    }
    return turned;
}

std::vector<std::uint32_t> window_table_of(const Axis &axis) {
    const std::size_t windows = axis.windows();
    std::vector<std::uint32_t> table(product(axis.size, axis.kernel), Convolution::kNoWindow);
    for (std::size_t at = 0; at < axis.size; ++at) {
        for (std::size_t tap = 0; tap < axis.kernel; ++tap) {
            const std::size_t reach = at + axis.before;
            if (reach < tap * axis.dilation) continue;
            const std::size_t start = reach - tap * axis.dilation;
            if (start % axis.stride != 0 || start / axis.stride >= windows) continue;
            table[at * axis.kernel + tap] = static_cast<std::uint32_t>(start / axis.stride);
        }
    }
    return table;
}

const ConvolutionDescription &checked(const ConvolutionDescription &given) {
    require(given.groups > 0 && given.in_channels % given.groups == 0 && given.out_channels % given.groups == 0,
            "the groups of a convolution do not divide its channels");
    require(given.in_channels > 0 && given.out_channels > 0, "a convolution has no channels");
    require(given.latency <= kMostSteps, "a latency is over 2**20 steps");
    given.sum.check(given.out_channels);
    return given;
}

std::size_t map_in(const ConvolutionDescription &given) { return product(given.axes[0].size, given.axes[1].size); }

std::size_t map_out(const ConvolutionDescription &given) {
    return product(given.axes[0].windows(), given.axes[1].windows());
}

}  // namespace

std::size_t Axis::windows() const {
    require(size > 0 && kernel > 0 && stride > 0 && dilation > 0, "a window has a size, stride or dilation of 0");
    require(size < kMostEntries && before < kMostEntries && after < kMostEntries, "an axis has 2**31 entries or more");
    const std::size_t reach = product(dilation, kernel - 1) + 1;
    const std::size_t padded = size + before + after;
    require(reach <= padded, "a window is larger than the map that it slides over");
    return (padded - reach) / stride + 1;
}

Convolution::Convolution(ConvolutionDescription given)
    : Stage(product(checked(given).in_channels, map_in(given)), product(given.out_channels, map_out(given))),
      given_(std::move(given)),
      weights_(narrowest(by_input(given_))),
      tables_{window_table_of(given_.axes[0]), window_table_of(given_.axes[1])} {
    given_.weights.clear();
}

std::unique_ptr<Kernel> Convolution::kernel() const { return std::make_unique<ConvolutionKernel>(*this); }

}  // namespace spikecore
