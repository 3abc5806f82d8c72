#include "delay.hpp"

#include <algorithm>
#include <utility>

namespace spikecore {

namespace {

constexpr std::int32_t kMostSteps = 1 << 20;

class DelayKernel final : public Kernel {
public:
    explicit DelayKernel(const Delay &stage)
        : stage_(stage), size_(stage.inputs()), slots_(depth(stage) + 1), ring_(product(slots_, size_)) {}

    void begin() override { std::fill(ring_.begin(), ring_.end(), 0); }

    void step(std::int64_t, const std::int32_t *in, std::int32_t *out) override {
        now_ = now_ + 1 == slots_ ? 0 : now_ + 1;
        std::copy_n(in, size_, ring_.data() + now_ * size_);
        const auto &steps = stage_.steps();
        if (steps.size() == 1) {
            std::copy_n(slot(steps[0]), size_, out);
            return;
        }
        for (std::size_t i = 0; i < size_; ++i) out[i] = slot(steps[i])[i];
    }

private:
    static std::size_t depth(const Delay &stage) {
        return stage.steps().empty()
                   ? 0
                   : static_cast<std::size_t>(*std::max_element(stage.steps().begin(), stage.steps().end()));
    }

    const std::int32_t *slot(std::int32_t steps) const {
        const auto back = static_cast<std::size_t>(steps);
        return ring_.data() + (now_ >= back ? now_ - back : now_ + slots_ - back) * size_;
    }

    const Delay &stage_;
    std::size_t size_;
    std::size_t slots_;
    std::size_t now_ = 0;
    std::vector<std::int32_t> ring_;  // (slots, size)
};

}  // namespace

Delay::Delay(std::size_t size, std::vector<std::int32_t> steps) : Stage(size, size), steps_(std::move(steps)) {
    require(steps_.size() == 1 || steps_.size() == size, "there is one delay, or one for each entry");
    for (const std::int32_t d : steps_) require(d >= 0 && d <= kMostSteps, "a delay is negative or over 2**20 steps");
}

std::unique_ptr<Kernel> Delay::kernel() const { return std::make_unique<DelayKernel>(*this); }

}  // namespace spikecore
