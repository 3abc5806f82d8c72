#pragma once

// The inputs of a connection as events: which entries were not zero, now and in the steps that it looks back.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spikecore {

struct Event {
    std::uint32_t index;  // entry of the input, in C order
    std::int32_t value;   // what it counts as: 1 for a spike, else the message
};

// A ring of the event lists of the present step and of the `depth` steps before it.
class EventHistory {
public:
    EventHistory(std::size_t size, std::size_t depth) : size_(size), steps_(depth + 1) {}

    void clear() {
        for (auto &events : steps_) events.clear();
    }

    // Takes in the input of the present step; `graded` keeps values, else whatever is not zero counts as 1.
    void push(const std::int32_t *in, bool graded) {
        now_ = now_ + 1 == steps_.size() ? 0 : now_ + 1;
        auto &events = steps_[now_];
        events.clear();
        for (std::size_t j = 0; j < size_; ++j) {
            if (in[j] != 0) events.push_back({static_cast<std::uint32_t>(j), graded ? in[j] : 1});
        }
    }

    // Gives the events of `steps` steps ago, at most `depth`; none before the first step of the sample.
    const std::vector<Event> &back(std::size_t steps) const {
        return steps_[now_ >= steps ? now_ - steps : now_ + steps_.size() - steps];
    }

private:
    std::size_t size_;
    std::size_t now_ = 0;
    std::vector<std::vector<Event>> steps_;
};

}  // namespace spikecore
