#include "engine.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

namespace spikecore {

namespace {

// Everything that one thread remembers: the kernels and the last output of every node.
class State {
public:
    explicit State(const Plan &plan) : plan_(plan), at_(plan.size()) {
        std::size_t total = 0;
        std::size_t widest = 0;
        for (std::size_t node = 0; node < plan.size(); ++node) {
            kernels_.push_back(plan.stage(node).kernel());
            at_[node] = total;
            total += plan.stage(node).outputs();
            widest = std::max(widest, plan.stage(node).inputs());
        }
        values_.resize(total);
        sum_.resize(widest);
    }

    void begin() {
        std::fill(values_.begin(), values_.end(), 0);
        for (auto &kernel : kernels_) kernel->begin();
    }

    void step(std::int64_t t, const std::int32_t *given) {
        for (std::size_t node = 0; node < plan_.size(); ++node) {
            const std::int32_t *in = node == plan_.input() ? given : gathered(node);
            kernels_[node]->step(t, in, values_.data() + at_[node]);
        }
    }

    void write(const Record &record, std::size_t at) const {
        const std::size_t size = plan_.stage(record.node).outputs();
        std::int32_t *to = record.data + at * size;
        if (record.variable == Variable::s) {
            std::copy_n(values_.data() + at_[record.node], size, to);
            return;
        }
        const Kernel &kernel = *kernels_[record.node];
        record.variable == Variable::u ? kernel.write_u(to) : kernel.write_v(to);
    }

private:
    // The sum of a node's sources; a single one is read where it is, unless the node would overwrite it.
    const std::int32_t *gathered(std::size_t node) {
        const auto &sources = plan_.sources(node);
        if (sources.size() == 1 && sources[0] != node) return values_.data() + at_[sources[0]];
        const std::size_t size = plan_.stage(node).inputs();
        std::fill_n(sum_.begin(), size, 0);
        for (const std::size_t source : sources) {
            const std::int32_t *from = values_.data() + at_[source];
            for (std::size_t i = 0; i < size; ++i) sum_[i] += static_cast<std::uint32_t>(from[i]);
        }
        // Signed and unsigned integers of one width may stand for each other.
        return reinterpret_cast<const std::int32_t *>(sum_.data());
    }

    const Plan &plan_;
    std::vector<std::unique_ptr<Kernel>> kernels_;
    std::vector<std::size_t> at_;        // where the output of each node begins
    std::vector<std::int32_t> values_;  // the last output of every node
    std::vector<std::uint32_t> sum_;    // unsigned: sums wrap at 32 bits
};

void check(const Plan &plan, const std::vector<Record> &records) {
    for (const Record &record : records) {
        require(record.node < plan.size(), "a record is of a node that the plan does not have");
        require(record.variable == Variable::s || plan.stage(record.node).has_states(),
                "a record asks for a state that the node does not have");
    }
}

}  // namespace

void run(const Plan &plan, const std::int32_t *given, std::size_t samples, std::size_t steps,
         const std::vector<Record> &records, unsigned threads) {
    check(plan, records);
    const std::size_t entries = plan.stage(plan.input()).inputs();
    std::atomic<std::size_t> next{0};
    std::mutex guard;
    std::exception_ptr failure;

    // Each thread takes the next sample that nobody has; a sample writes to its own part of every record.
    const auto work = [&]() {
        try {
            State state(plan);
            for (std::size_t n = next++; n < samples; n = next++) {
                state.begin();
                for (std::size_t t = 0; t < steps; ++t) {
                    state.step(static_cast<std::int64_t>(t), given + (n * steps + t) * entries);
                    for (const Record &record : records) state.write(record, n * steps + t);
                }
            }
        } catch (...) {
            const std::lock_guard lock(guard);
            failure = std::current_exception();
            next = samples;
        }
    };

    const std::size_t wanted = threads != 0 ? threads : std::max(1U, std::thread::hardware_concurrency());
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < std::min(wanted, samples); ++i) others.emplace_back(work);
    work();
    others.clear();  // joins
    if (failure) std::rethrow_exception(failure);
}

}  // namespace spikecore
