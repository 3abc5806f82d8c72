// X^T Z for sparse X: rows of Z are added where X has a spike.
//
// A part of a panel of Z (512 rows by 16 columns) stays in the nearest cache while the spikes of every column of X pick
// rows from it; the sum of a column stays in a register. What is filtered or copied is a panel, four parts, at a time.
#include "spikes.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <variant>
#include <vector>

#include "lanes.hpp"
#include "spike_kernels.hpp"
#include "spike_lists.hpp"
#include "workers.hpp"

namespace spikecore::sbc {

namespace {

constexpr std::size_t kChunks = 16;  // whose float sums are added as floats

// Columns of a panel that are neighbours in Z and lie in one part.
struct Run {
    std::size_t from, to, size;
};

class Sum {
public:
    explicit Sum(const SpikeTask &task) : task_(task) {
        for (std::size_t j = 0; j + 1 < task.size; ++j)
            if (task.columns[j + 1] != task.columns[j] + 1) contiguous_ = false;
        unit_ = task.steps > kChunk ? task.steps : kChunk / task.steps * task.steps;
        pieces_ = (unit_ + kChunk - 1) / kChunk;
        apart_ = (unit_ + 1) * kLanes;
        chunks_.resize((task.count + unit_ - 1) / unit_ * pieces_);
        readable_ = static_cast<std::size_t>(*std::max_element(task.rows, task.rows + task.count) +
                                             *std::max_element(task.columns, task.columns + task.size)) + 1;
        std::visit([&](const auto *given) { mark(given); }, task.given);
        if (task.z == nullptr) bits_.resize((task.size + kWide - 1) / kWide * task.count);
    }

    void run(unsigned threads) {
        share(chunks_.size(), threads, [&]() {
            return [&, find = Finder(task_, marks_, readable_, contiguous_, bits_.empty() ? nullptr : bits_.data())](std::size_t chunk) mutable {
                chunks_[chunk] = find(begin_of(chunk), end_of(chunk));
            };
        });
        const std::size_t panels = (task_.size + kWide - 1) / kWide;
        share(panels, threads, [&]() {
            return [&, panel = Floats(kParts * apart_), sums = Floats(panels * kWide * kWide)](std::size_t item) {
                add(panels - 1 - item, panel.data(), sums.data());  // the longest first
            };
        });
    }

private:
    // Bytes that are 0 for no spike and 1 for a spike of 1.
    template <typename Value>
    void mark(const Value *given) {
        if constexpr (std::is_same_v<Value, std::uint8_t>) {
            marks_ = given;
        } else {
            made_.resize(readable_);
            for (std::size_t i = 0; i < readable_; ++i) made_[i] = given[i] == 0 ? 0 : given[i] == 1 ? 1 : 2;
            marks_ = made_.data();
        }
    }

    // Rows go in units, which are whole recordings where there is a filter, and these in chunks of at most 512.
    std::size_t unit_end(std::size_t unit) const { return std::min((unit + 1) * unit_, task_.count); }
    std::size_t begin_of(std::size_t chunk) const {
        return std::min(chunk / pieces_ * unit_ + chunk % pieces_ * kChunk, unit_end(chunk / pieces_));
    }
    std::size_t end_of(std::size_t chunk) const {
        return std::min(begin_of(chunk) + kChunk, unit_end(chunk / pieces_));
    }

    // Adds one panel of columns over all rows.
    void add(std::size_t index, float *panel, float *sums) const {
        const std::size_t first = index * kWide, end = std::min(first + kWide, task_.size);
        const std::size_t parts = (end - first + kLanes - 1) / kLanes;
        const std::vector<Run> runs = runs_of(first, end);
        std::fill(sums, sums + kWide * end, 0.0F);
        for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            if (chunk % pieces_ == 0) take(chunk / pieces_, first, end, runs, panel);
            const std::size_t size = end_of(chunk) - begin_of(chunk);
            for (std::size_t p = 0; p < parts; ++p)
                add_part(panel + p * apart_ + chunk % pieces_ * kChunk * kLanes, size,
                         {nullptr, &chunks_[chunk], end, sums + p * end * kLanes});
            if ((chunk + 1) % kChunks == 0) flush(first, end, sums);
        }
        flush(first, end, sums);
    }

    // The row behind the chunk is zeros meanwhile: lists are filled up with it.
    void add_part(float *part, std::size_t size, Piece piece) const {
        Lanes *behind = reinterpret_cast<Lanes *>(part) + size;
        const Lanes next = *behind;
        *behind = Lanes{};
        piece.part = part;
        kernels_.add(piece);
        *behind = next;
    }

    void take(std::size_t unit, std::size_t first, std::size_t end, const std::vector<Run> &runs, float *panel) const {
        const std::size_t start = unit * unit_, stop = unit_end(unit);
        bool graded = false;
        for (std::size_t piece = 0; piece < pieces_; ++piece)
            graded = graded || !chunks_[unit * pieces_ + piece].value.empty();
        for (std::size_t n = start; n < stop; n += task_.steps) {
            float *to = panel + (n - start) * kLanes;
            if (task_.z == nullptr)
                filter(n, graded, first, end, to);
            else
                copy(n, runs, to);
        }
    }

    void filter(std::size_t n, bool graded, std::size_t first, std::size_t end, float *to) const {
        const Filter filter{task_.steps, task_.size, end - first, task_.a_mem, task_.a_syn, task_.gain, to, apart_};
        const std::int64_t from = task_.rows[n] + task_.columns[first];
        if (!graded)
            kernels_.bits(bits_.data() + first / kWide * task_.count + n, filter);
        else if (std::holds_alternative<const std::uint8_t *>(task_.given))
            kernels_.bytes(std::get<const std::uint8_t *>(task_.given) + from, filter);
        else
            kernels_.floats(std::get<const float *>(task_.given) + from, filter);
    }

    std::vector<Run> runs_of(std::size_t first, std::size_t end) const {
        std::vector<Run> runs;
        for (std::size_t c = first; c < end; ++c) {
            const auto from = static_cast<std::size_t>(task_.columns[c]);
            if ((c - first) % kLanes != 0 && from == runs.back().from + runs.back().size)
                ++runs.back().size;
            else
                runs.push_back({from, (c - first) / kLanes * apart_ + (c - first) % kLanes, 1});
        }
        return runs;
    }

    // Copies a row, a register at a time: what is written behind a run is overwritten by the next run, or not read.
    void copy(std::size_t n, const std::vector<Run> &runs, float *to) const {
        const auto row = static_cast<std::size_t>(task_.rows[n]);
        const float *z = task_.z + row;
        for (const Run &run : runs) {
            __builtin_prefetch(z + run.from + kAhead * runs.size());
            if (run.size > kShort && run.to % kLanes == 0 && row + run.from + kLanes <= readable_)
                std::memcpy(to + run.to, z + run.from, kLanes * sizeof(float));
            else
                for (std::size_t c = 0; c < run.size; ++c) to[run.to + c] = z[run.from + c];
        }
    }

    void flush(std::size_t first, std::size_t end, float *sums) const {
        for (std::size_t j = 0; j < end; ++j) {
            double *into = task_.into + j * task_.size + first;
            float *from = sums + j * kLanes;
            __builtin_prefetch(into + kAhead * task_.size, 1);
            __builtin_prefetch(into + kAhead * task_.size + kWide / 2, 1);
            if (j < first && end - first == kWide) {
                kernels_.flush(from, end * kLanes, into);
                continue;
            }
            for (std::size_t c = 0; c < end - first; ++c) {
                float &sum = from[c / kLanes * end * kLanes + c % kLanes];
                if (j <= first + c) into[c] += static_cast<double>(sum);
                sum = 0;
            }
        }
    }

    static constexpr std::size_t kAhead = 16, kShort = 8;
    const SpikeTask task_;
    const SpikeKernels &kernels_ = spike_kernels();
    bool contiguous_ = true;  // columns are neighbours in memory
    std::size_t unit_ = 0, pieces_ = 0;
    std::size_t apart_ = 0;  // floats from one part of a panel to the next
    std::size_t readable_ = 0;
    const std::uint8_t *marks_ = nullptr;
    std::vector<std::uint8_t> made_;
    std::vector<std::uint64_t> bits_;  // of recordings that are filtered: (panels, count)
    std::vector<Lists> chunks_;
};

}  // namespace

void spike_hessian(const SpikeTask &task, unsigned threads) {
    if (task.count != 0 && task.size != 0) Sum(task).run(threads);
}

// Square by square, through a small one that stays in the nearest cache: both sides are whole lines of memory then.
void mirror(double *matrix, std::size_t size, unsigned threads) {
    constexpr std::size_t kSquare = 64, kApart = kSquare + 8, kLine = 8;
    share((size + kSquare - 1) / kSquare, threads, [&]() {
        return [&, square = std::vector<double>(kSquare * kApart)](std::size_t strip) mutable {
            const std::size_t first = strip * kSquare, last = std::min(first + kSquare, size);
            for (std::size_t left = 0; left < last; left += kSquare) {
                const std::size_t right = std::min(left + kSquare, last);
                for (std::size_t j = left; j < right; ++j) {
                    const double *row = matrix + j * size, *next = matrix + std::min(j + kSquare, size - 1) * size;
                    const double *target = matrix + std::min(first + j - left, last - 1) * size + left;
                    for (std::size_t i = 0; i < last - first; i += kLine) {
                        __builtin_prefetch(next + first + i);
                        __builtin_prefetch(target + i, 1);
                    }
                    for (std::size_t i = first; i < last; ++i) square[(i - first) * kApart + j - left] = row[i];
                }
                for (std::size_t i = first; i < last; ++i)
                    std::copy_n(square.data() + (i - first) * kApart, std::min(right, std::max(left, i)) - left,
                                matrix + i * size + left);
            }
        };
    });
}

}  // namespace spikecore::sbc
