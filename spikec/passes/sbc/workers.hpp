#pragma once

// Threads that take the next item that nobody has; an item's result must not depend on who takes it.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace spikecore::sbc {

// How many threads work on `items`; 0 asks for one a core.
inline unsigned workers(std::size_t items, unsigned threads) {
    const unsigned wanted = threads != 0 ? threads : std::max(1U, std::thread::hardware_concurrency());
    return static_cast<unsigned>(std::max<std::size_t>(1, std::min<std::size_t>(wanted, items)));
}

// Calls `make()` once a thread for its memory, and what that gives with each item.
template <typename Make>
void share(std::size_t items, unsigned threads, const Make &make) {
    if (items == 0) return;
    std::atomic<std::size_t> next{0};
    std::mutex guard;
    std::exception_ptr failure;
    const auto work = [&]() {
        try {
            auto each = make();
            for (std::size_t item = next++; item < items; item = next++) each(item);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(guard);
            failure = std::current_exception();
            next = items;
        }
    };
    std::vector<std::thread> others;
    const unsigned count = workers(items, threads);
    try {
        for (unsigned i = 1; i < count; ++i) others.emplace_back(work);
    } catch (...) {  // a thread less is slower, not wrong
    }
    work();
    for (std::thread &other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace spikecore::sbc
