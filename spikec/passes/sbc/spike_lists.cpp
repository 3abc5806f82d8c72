// Spikes are found 64 bytes at a time, along what is contiguous: a row of a matrix, or the places of a window's column
// in neighbouring windows. Each column of a block of 64 has room for all rows; so one pass over the bytes is enough.
#include "spike_lists.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <variant>

namespace spikecore::sbc {

namespace {

constexpr std::size_t kRoom = kChunk + kTurn;
constexpr std::size_t kRow = kLanes * sizeof(float);  // bytes of a row in a part of a panel
static_assert(kChunk * kRow <= UINT16_MAX);

std::uint16_t place_of(std::size_t row) { return static_cast<std::uint16_t>(row * kRow); }

}  // namespace

Finder::Finder(const SpikeTask &task, const std::uint8_t *marks, std::size_t readable, bool contiguous,
               std::uint64_t *bits)
    : task_(task),
      marks_(marks),
      readable_(readable),
      contiguous_(contiguous),
      bits_(bits),
      rows_((kWide + 1) * kRoom) {}

Lists Finder::operator()(std::size_t start, std::size_t end) {
    Lists lists;
    lists.column.resize(task_.size);
    lists.first.reserve(task_.size + 1);
    lists.row.reserve(most_);
    start_ = start;
    zeros_ = end - start;
    marked_ = 0;
    for (std::size_t block = 0; block < task_.size; block += kWide) {
        std::fill(counts_, counts_ + kWide + 1, std::uint16_t{0});
        contiguous_ ? along_rows(block, start, end) : along_columns(block, start, end);
        arrange(block, std::min(kWide, task_.size - block), lists);
    }
    lists.first.push_back(static_cast<std::uint32_t>(lists.row.size()));
    most_ = std::max(most_, lists.row.size());
    if (marked_ > 1) add_values(lists);
    return lists;
}

// Which of `width` neighbouring elements are spikes.
std::uint64_t Finder::find(std::size_t place, std::size_t width) const {
    if (place + kWide > readable_) {
        std::uint8_t bytes[kWide] = {};
        std::memcpy(bytes, marks_ + place, width);
        return kernels_.find(bytes);
    }
    const std::uint64_t found = kernels_.find(marks_ + place);
    return width == kWide ? found : found & ((std::uint64_t{1} << width) - 1);
}

void Finder::along_rows(std::size_t block, std::size_t start, std::size_t end) {
    constexpr std::size_t kAhead = 32;
    const std::size_t width = std::min(kWide, task_.size - block);
    const auto column = static_cast<std::size_t>(task_.columns[block]);
    std::uint64_t *bits = bits_ == nullptr ? nullptr : bits_ + block / kWide * task_.count;
    std::uint16_t *rows = rows_.data();
    unsigned marked = 0;
    std::uint32_t next[kWide + 1];
    for (std::size_t j = 0; j <= kWide; ++j) next[j] = static_cast<std::uint32_t>(j * kRoom);
    for (std::size_t n = start; n < end; ++n) {
        const std::size_t place = static_cast<std::size_t>(task_.rows[n]) + column;
        __builtin_prefetch(marks_ + place + kAhead * task_.size);
        __builtin_prefetch(marks_ + place + kAhead * task_.size + kWide - 1);
        const std::uint64_t found = find(place, width);
        if (bits != nullptr) bits[n] = found;
        // Four at a time, of which those too many go where nobody reads: how many there are is hard to foresee.
        for (std::uint64_t mask = found; mask != 0;) {
            for (std::size_t k = 0; k < 4; ++k) {
                const auto j = static_cast<std::size_t>(std::countr_zero(mask));
                marked |= marks_[place + j % kWide];
                rows[next[j]] = place_of(n - start);
                next[j] += mask != 0;
                mask &= mask - 1;
            }
        }
    }
    marked_ |= static_cast<std::uint8_t>(marked);
    for (std::size_t j = 0; j < kWide; ++j) counts_[j] = static_cast<std::uint16_t>(next[j] - j * kRoom);
}

void Finder::along_columns(std::size_t block, std::size_t start, std::size_t end) {
    const std::size_t count = std::min(kWide, task_.size - block);
    for (std::size_t n = start; n < end;) {
        std::size_t run = 1;  // rows that are neighbours in memory
        while (run < kWide && n + run < end && task_.rows[n + run] == task_.rows[n + run - 1] + 1) ++run;
        const auto first = static_cast<std::size_t>(task_.rows[n]);
        for (std::size_t j = 0; j < count; ++j) {
            const std::size_t place = first + static_cast<std::size_t>(task_.columns[block + j]);
            std::uint16_t *rows = rows_.data() + j * kRoom;
            if (run == 1) {
                marked_ |= marks_[place];
                rows[counts_[j]] = place_of(n - start);
                counts_[j] = static_cast<std::uint16_t>(counts_[j] + (marks_[place] != 0));
                continue;
            }
            for (std::uint64_t mask = find(place, run); mask != 0; mask &= mask - 1) {
                const auto k = static_cast<std::size_t>(std::countr_zero(mask));
                marked_ |= marks_[place + k];
                rows[counts_[j]++] = place_of(n - start + k);
            }
        }
        n += run;
    }
}

// Sorts the columns of a block by their turns, by counting, and adds their lists.
void Finder::arrange(std::size_t block, std::size_t count, Lists &lists) {
    constexpr std::size_t kMost = kChunk / kTurn + 1;
    std::uint32_t places[kMost + 1] = {};
    for (std::size_t j = 0; j < count; ++j) {
        std::uint16_t *rows = rows_.data() + j * kRoom;
        while (counts_[j] % kTurn != 0) rows[counts_[j]++] = place_of(zeros_);
        ++places[counts_[j] / kTurn + 1];
    }
    for (std::size_t n = 0; n < kMost; ++n) places[n + 1] += places[n];
    for (std::size_t j = 0; j < count; ++j)
        lists.column[block + places[counts_[j] / kTurn]++] = static_cast<std::uint32_t>(block + j);
    for (std::size_t i = block; i < block + count; ++i) {
        const std::size_t column = lists.column[i];
        const std::uint16_t *rows = rows_.data() + (column - block) * kRoom;
        lists.first.push_back(static_cast<std::uint32_t>(lists.row.size()));
        lists.row.insert(lists.row.end(), rows, rows + counts_[column - block]);
    }
}

void Finder::add_values(Lists &lists) const {
    lists.value.resize(lists.row.size());
    std::visit(
        [&](const auto *given) {
            for (std::size_t i = 0; i < task_.size; ++i)
                for (std::uint32_t n = lists.first[i]; n < lists.first[i + 1]; ++n) {
                    const std::size_t row = lists.row[n] / kRow;
                    if (row != zeros_)
                        lists.value[n] =
                            static_cast<float>(given[task_.rows[start_ + row] + task_.columns[lists.column[i]]]);
                }
        },
        task_.given);
}

}  // namespace spikecore::sbc
