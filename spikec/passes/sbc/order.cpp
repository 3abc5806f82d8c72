// Greedy OBS ordering, left-looking: the inverse stays as it is, a row keeps only the factor of what it has pruned.
#include "order.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "workers.hpp"

namespace spikecore::sbc {

namespace {

class Row {
public:
    explicit Row(const OrderTask &task) : task_(task), factor_(task.size * task.size) {}

    void operator()(std::size_t index) {
        const std::size_t size = task_.size;
        float *losses = task_.losses + index * size;
        std::fill(losses, losses + size, 0.0F);
        weights_.assign(task_.rows + index * size, task_.rows + (index + 1) * size);
        diagonal_.resize(size);
        left_.clear();
        for (std::size_t j = 0; j < size; ++j) {
            diagonal_[j] = task_.inverse[j * size + j];
            if (task_.alive[j] != 0) left_.push_back(j);
        }
        pivots_ = 0;
        while (!left_.empty()) batch(losses);
    }

private:
    void batch(float *losses) {
        const std::size_t count = std::min(task_.block, left_.size());
        for (const std::size_t j : left_) losses[j] = weights_[j] * weights_[j] / diagonal_[j];
        std::partial_sort(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(count), left_.end(),
                          [&](std::size_t a, std::size_t b) {
                              return losses[a] != losses[b] ? losses[a] < losses[b] : a < b;
                          });
        const std::vector<std::size_t> chosen(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(count));
        for (const std::size_t p : chosen) {
            left_.erase(left_.begin());
            eliminate(p);
        }
    }

    void eliminate(std::size_t p) {
        const std::size_t size = task_.size;
        float *u = factor_.data() + pivots_ * size;
        const float *given = task_.inverse + p * size;
        for (const std::size_t j : left_) u[j] = given[j];
        for (std::size_t k = 0; k < pivots_; ++k) {
            const float *from = factor_.data() + k * size;
            for (const std::size_t j : left_) u[j] -= from[p] * from[j];
        }
        const float scale = 1.0F / std::sqrt(diagonal_[p]), step = weights_[p] * scale;
        for (const std::size_t j : left_) {
            u[j] *= scale;
            weights_[j] -= step * u[j];
            diagonal_[j] = std::max(diagonal_[j] - u[j] * u[j], 1e-6F * task_.inverse[j * size + j]);
        }
        ++pivots_;
    }

    const OrderTask task_;
    std::vector<float> factor_, weights_, diagonal_;
    std::vector<std::size_t> left_;
    std::size_t pivots_ = 0;
};

}  // namespace

void order(const OrderTask &task, unsigned threads) {
    share(task.count, threads, [&]() { return Row(task); });
}

std::size_t order_thread_bytes(std::size_t size) { return 4 * size * size; }

}  // namespace spikecore::sbc
