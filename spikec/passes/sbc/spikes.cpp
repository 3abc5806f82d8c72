// X^T Z for sparse X: rows of Z are added where X has a spike.
#include "spikes.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "workers.hpp"

namespace spikecore::sbc {

namespace {

constexpr std::size_t kColumns = 64;
constexpr std::size_t kRows = 256;

}  // namespace

void spike_hessian(const SpikeTask &task, unsigned threads) {
    const std::size_t panels = (task.size + kColumns - 1) / kColumns;
    share(panels, threads, [&]() {
        return [&](std::size_t panel) {
            const std::size_t first = panel * kColumns, last = std::min(first + kColumns, task.size);
            for (std::size_t start = 0; start < task.count; start += kRows) {
                const std::size_t end = std::min(start + kRows, task.count);
                for (std::size_t j = 0; j < last; ++j) {
                    float sums[kColumns] = {};
                    for (std::size_t n = start; n < end; ++n) {
                        const float x = task.given[n * task.size + j];
                        if (x == 0) continue;
                        for (std::size_t c = first; c < last; ++c) sums[c - first] += x * task.z[n * task.size + c];
                    }
                    for (std::size_t c = std::max(first, j); c < last; ++c)
                        task.into[j * task.size + c] += static_cast<double>(sums[c - first]);
                }
            }
        };
    });
}

}  // namespace spikecore::sbc
