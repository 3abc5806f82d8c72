#include "convolution.hpp"

#include <algorithm>
#include <utility>

#include "events.hpp"

namespace spikecore {

namespace {

constexpr std::size_t kMostSteps = 1 << 20;

// Gives the window that holds entry `at` under tap `tap`, or `windows` if there is none.
std::size_t window_of(const Axis &axis, std::size_t windows, std::size_t at, std::size_t tap) {
    const std::size_t reach = at + axis.before;
    if (reach < tap * axis.dilation) return windows;
    const std::size_t start = reach - tap * axis.dilation;
    return start % axis.stride == 0 ? std::min(start / axis.stride, windows) : windows;
}

class ConvolutionKernel final : public Kernel {
public:
    explicit ConvolutionKernel(const Convolution &stage)
        : given_(stage.description()),
          weights_(stage.weights()),
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
        const std::size_t map = y.size * x.size;
        for (const Event event : events) {
            const std::size_t channel = event.index / map;
            const std::size_t at_y = event.index % map / x.size;
            const std::size_t at_x = event.index % x.size;
            const W *taps = weights + channel * y.kernel * x.kernel * made;
            Accumulator *to = acc_.data() + channel / share * made;
            for (std::size_t i = 0; i < y.kernel; ++i) {
                const std::size_t oy = window_of(y, high_, at_y, i);
                if (oy == high_) continue;
                for (std::size_t k = 0; k < x.kernel; ++k) {
                    const std::size_t ox = window_of(x, wide_, at_x, k);
                    if (ox == wide_) continue;
                    const W *row = taps + (i * x.kernel + k) * made;
                    add_row(to + (oy * wide_ + ox) * given_.out_channels, row, made, event.value);
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
      weights_(narrowest(by_input(given_))) {
    given_.weights.clear();
}

std::unique_ptr<Kernel> Convolution::kernel() const { return std::make_unique<ConvolutionKernel>(*this); }

}  // namespace spikecore
