#include "linear.hpp"

#include <algorithm>
#include <set>

#include "events.hpp"

namespace spikecore {

namespace {

// The longest that a connection may hold an input back: beyond it a plan asks for memory without reason.
constexpr std::size_t kMostSteps = 1 << 20;

class LinearKernel final : public Kernel {
public:
    explicit LinearKernel(const Linear &stage)
        : stage_(stage), history_(stage.inputs(), deepest(stage)), acc_(stage.outputs()), total_(stage.outputs()) {}

    void begin() override { history_.clear(); }

    void step(std::int64_t, const std::int32_t *in, std::int32_t *out) override {
        const SumRule &sum = stage_.sum();
        history_.push(in, sum.graded);
        std::fill(total_.begin(), total_.end(), 0);
        for (const auto &bucket : stage_.buckets()) {
            const auto &events = history_.back(bucket.steps);
            if (events.empty()) continue;
            std::fill(acc_.begin(), acc_.end(), 0);
            bucket.synapses.scatter(events, acc_.data());
            add_shifted();
        }
        for (std::size_t i = 0; i < total_.size(); ++i) out[i] = wrapped(total_[i], sum.width);
    }

private:
    static std::size_t deepest(const Linear &stage) {
        std::size_t depth = 0;
        for (const auto &bucket : stage.buckets()) depth = std::max(depth, bucket.steps);
        return depth;
    }

    void add_shifted() {
        const SumRule &sum = stage_.sum();
        if (sum.exponent.size() == 1) {
            const std::int32_t e = sum.exponent[0];
            for (std::size_t i = 0; i < total_.size(); ++i) total_[i] += shifted(acc_[i], e);
            return;
        }
        const std::size_t out = stage_.out();
        for (std::size_t from = 0; from < total_.size(); from += out) {
            for (std::size_t i = 0; i < out; ++i) total_[from + i] += shifted(acc_[from + i], sum.exponent[i]);
        }
    }

    const Linear &stage_;
    EventHistory history_;
    std::vector<Accumulator> acc_;
    std::vector<Accumulator> total_;
};

// Turns (out, columns) into (columns, out), keeping only the synapses of one delay.
std::vector<std::int32_t> by_input(const LinearDescription &given, std::int32_t delay) {
    std::vector<std::int32_t> turned(given.weights.size(), 0);
    for (std::size_t i = 0; i < given.out; ++i) {
        for (std::size_t j = 0; j < given.columns; ++j) {
            const std::size_t from = i * given.columns + j;
            if (given.delays.empty() || given.delays[from] == delay) turned[j * given.out + i] = given.weights[from];
        }
    }
    return turned;
}

}  // namespace

Linear::Linear(LinearDescription given)
    : Stage(product(given.rows, given.columns), product(given.rows, given.out)),
      out_(given.out),
      sum_(std::move(given.sum)) {
    require(given.weights.size() == product(given.out, given.columns), "the weights are not (out, columns)");
    require(given.delays.empty() || given.delays.size() == given.weights.size(), "the delays are not (out, columns)");
    sum_.check(given.out);
    std::set<std::int32_t> delays(given.delays.begin(), given.delays.end());
    if (delays.empty()) delays.insert(0);
    require(*delays.begin() >= 0, "a delay is negative");
    require(given.latency + static_cast<std::size_t>(*delays.rbegin()) <= kMostSteps, "a delay is over 2**20 steps");
    for (const std::int32_t delay : delays) {
        const std::size_t steps = given.latency + static_cast<std::size_t>(delay);
        buckets_.push_back({steps, Synapses(by_input(given, delay), given.columns, given.out)});
    }
}

std::unique_ptr<Kernel> Linear::kernel() const { return std::make_unique<LinearKernel>(*this); }

}  // namespace spikecore
