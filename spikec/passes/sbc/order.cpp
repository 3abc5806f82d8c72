// The orderings: each row by itself, or rows that share what a block of them may lose.
#include "order.hpp"

#include <algorithm>
#include <deque>
#include <limits>
#include <vector>

#include "order_row.hpp"
#include "workers.hpp"

namespace spikecore::sbc {

namespace {

// Neighbouring rows, of which each column keeps `kept`: they are pruned together, always the least score of all.
class Together {
public:
    explicit Together(const AcrossTask &task) : task_(task), losses_(task.size) {
        const OrderTask each{nullptr, nullptr, nullptr, nullptr, task.size, task.count, 1};
        for (std::size_t r = 0; r < std::min(task.group, task.count); ++r) rows_.emplace_back(each);
    }

    void operator()(std::size_t index) {
        const std::size_t first = index * task_.group, size = task_.size;
        const std::size_t count = std::min(task_.group, task_.count - first);
        std::fill_n(task_.keep + first * size, count * size, std::uint8_t{1});
        if (count <= task_.kept) return;
        gone_.assign(size, 0);
        for (std::size_t r = 0; r < count; ++r) {
            const std::size_t which = task_.which[first + r];
            rows_[r].start(task_.inverses + which * size * size, task_.alive + which * size,
                           task_.rows + (first + r) * size, losses_.data());
        }
        for (std::size_t r = 0; r < count; ++r)
            for (std::size_t column = 0; column < size; ++column)
                if (task_.alive[task_.which[first + r] * size + column] == 0) leave(first, count, r, column);
        for (std::size_t r = least(first, count); r != count; r = least(first, count)) {
            const std::uint32_t column = rows_[r].least().second;
            rows_[r].prune_least();
            leave(first, count, r, column);
        }
    }

private:
    // A weight leaves its column, unless that has lost all that it may; once it has, the rest of it stays.
    void leave(std::size_t first, std::size_t count, std::size_t row, std::size_t column) {
        if (gone_[column] == count - task_.kept) return;
        task_.keep[(first + row) * task_.size + column] = 0;
        if (++gone_[column] != count - task_.kept) return;
        for (std::size_t r = 0; r < count; ++r) rows_[r].hold(static_cast<std::uint32_t>(column));
    }

    // The row whose next weight is the cheapest, the first of equals; `count` if nothing is left.
    std::size_t least(std::size_t first, std::size_t count) {
        std::size_t best = count;
        float lowest = 0;
        for (std::size_t r = 0; r < count; ++r) {
            if (!rows_[r].any()) continue;
            const float weight = task_.scales[first + r];
            const float cost = std::min(std::numeric_limits<float>::max(), weight * rows_[r].least().first);
            if (best != count && cost >= lowest) continue;
            best = r;
            lowest = cost;
        }
        return best;
    }

    const AcrossTask task_;
    std::deque<Row> rows_;
    std::vector<float> losses_;      // nobody reads them
    std::vector<std::size_t> gone_;  // rows that each column has lost
};

}  // namespace

void order(const OrderTask &task, unsigned threads) {
    share(task.count, threads, [&]() { return Row(task); });
}

void order_across(const AcrossTask &task, unsigned threads) {
    share((task.count + task.group - 1) / task.group, threads, [&]() { return Together(task); });
}

std::size_t order_thread_bytes(std::size_t size, std::size_t block) {
    const std::size_t room = panels_of(size) * kPanel;
    return sizeof(float) * (factor_size(size) + held_of(size, block) * (size + room) + 16 * (size + room));
}

}  // namespace spikecore::sbc
