// X^T Z for sparse X: rows of Z are added where X has a spike.
//
// A panel of Z (some rows by 64 columns) stays in the nearest cache while the spikes of every column of X pick rows
// from it. Columns with equally many spikes come one after another, so that the processor foresees the ends of loops.
#include "spikes.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "lanes.hpp"
#include "workers.hpp"

namespace spikecore::sbc {

namespace {

constexpr std::size_t kWide = 64;    // columns of a panel: four registers of sixteen floats
constexpr std::size_t kChunk = 128;  // rows of a panel: 32 KB
constexpr std::size_t kTerms = 256;  // that a float sum has at most
constexpr std::size_t kRegisters = kWide / kLanes;

// The spikes of a chunk of rows, column by column. Columns are in blocks of 64, within them by their number of spikes.
struct Spikes {
    std::vector<std::uint32_t> column, first;  // a column, and where its spikes begin
    std::vector<std::uint8_t> row;             // in the chunk
    std::vector<float> value;                  // empty where every spike is 1
    std::size_t most = 0;                      // spikes of a column
};

// One chunk of rows by one panel of columns.
struct Piece {
    const float *panel;
    const Spikes *spikes;
    std::size_t columns;  // of X: the sum has an upper triangle only
    float *sums;          // (columns, 64)
};

template <bool Graded>
SPIKEC_INLINE void add_columns(const Piece &piece) {
    const std::uint32_t *first = piece.spikes->first.data();
    const std::uint8_t *row = piece.spikes->row.data();
    const float *value = piece.spikes->value.data();
    for (std::size_t i = 0; i < piece.columns; ++i) {
        Lanes *sums = reinterpret_cast<Lanes *>(piece.sums + piece.spikes->column[i] * kWide);
        Lanes sum[kRegisters];
        for (std::size_t v = 0; v < kRegisters; ++v) sum[v] = sums[v];
        for (std::uint32_t n = first[i]; n < first[i + 1]; ++n) {
            const Lanes *z = reinterpret_cast<const Lanes *>(piece.panel + row[n] * kWide);
            for (std::size_t v = 0; v < kRegisters; ++v) sum[v] += Graded ? z[v] * value[n] : z[v];
        }
        for (std::size_t v = 0; v < kRegisters; ++v) sums[v] = sum[v];
    }
}

SPIKEC_INLINE void add_any(const Piece &piece) {
    if (piece.spikes->value.empty())
        add_columns<false>(piece);
    else
        add_columns<true>(piece);
}

// Adds float sums to double ones, and begins anew.
SPIKEC_INLINE void flush_any(float *__restrict sums, double *__restrict into) {
    for (std::size_t c = 0; c < kWide; ++c) into[c] += static_cast<double>(sums[c]);
    std::fill(sums, sums + kWide, 0.0F);
}

// Part of a recording: some steps by the columns of a panel.
struct Filter {
    std::size_t steps, width, stride;
    float a_mem, a_syn, gain;
    float *panel;  // (steps, 64), written
};

SPIKEC_INLINE void widen(const std::uint8_t *from, Lanes *to) {
    using Bytes = std::uint8_t __attribute__((vector_size(kLanes)));
    Bytes bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    *to = __builtin_convertvector(bytes, Lanes);
}

SPIKEC_INLINE void widen(const float *from, Lanes *to) { std::memcpy(to, from, sizeof *to); }

// The columns of one step, zeros behind the last.
template <typename Value>
SPIKEC_INLINE void load(const Value *row, std::size_t width, Lanes *to) {
    Value values[kWide] = {};
    const bool whole = width == kWide;
    if (!whole) std::memcpy(values, row, width * sizeof(Value));
    for (std::size_t v = 0; v < kRegisters; ++v) widen((whole ? row : values) + v * kLanes, to + v);
}

// z = M^T M x: the membrane forward in time, then backward.
template <typename Value>
SPIKEC_INLINE void filter_any(const Value *given, const Filter &filter) {
    Lanes *panel = reinterpret_cast<Lanes *>(filter.panel);
    Lanes u[kRegisters] = {}, v[kRegisters] = {}, x[kRegisters];
    for (std::size_t t = 0; t < filter.steps; ++t) {
        __builtin_prefetch(given + (t + 16) * filter.stride);
        load(given + t * filter.stride, filter.width, x);
        for (std::size_t r = 0; r < kRegisters; ++r) {
            u[r] = filter.a_syn * u[r] + filter.gain * x[r];
            v[r] = filter.a_mem * v[r] + u[r];
            panel[t * kRegisters + r] = v[r];
        }
    }
    for (std::size_t r = 0; r < kRegisters; ++r) u[r] = v[r] = Lanes{};
    for (std::size_t t = filter.steps; t-- > 0;) {
        for (std::size_t r = 0; r < kRegisters; ++r) {
            u[r] = filter.a_syn * u[r] + filter.gain * panel[t * kRegisters + r];
            v[r] = filter.a_mem * v[r] + u[r];
            panel[t * kRegisters + r] = v[r];
        }
    }
}

struct Kernels {
    void (*bytes)(const std::uint8_t *given, const Filter &filter);
    void (*floats)(const float *given, const Filter &filter);
    void (*add)(const Piece &piece);
    void (*flush)(float *sums, double *into);
};

#define SPIKEC_VERSION(name, target)                                                                                 \
    target void bytes_##name(const std::uint8_t *given, const Filter &filter) { filter_any(given, filter); }         \
    target void floats_##name(const float *given, const Filter &filter) { filter_any(given, filter); }               \
    target void add_##name(const Piece &piece) { add_any(piece); }                                                   \
    target void flush_##name(float *sums, double *into) { flush_any(sums, into); }                                   \
    constexpr Kernels k_##name{bytes_##name, floats_##name, add_##name, flush_##name};

SPIKEC_VERSION(plain, )
#if defined(SPIKEC_X86)
SPIKEC_VERSION(avx2, SPIKEC_AVX2)
SPIKEC_VERSION(avx512, SPIKEC_AVX512)
#else
constexpr Kernels k_avx2 = k_plain, k_avx512 = k_plain;
#endif

// Calls `found` with the index of every byte that is not zero, 64 at a time.
template <typename Found>
void visit(const std::uint8_t *bytes, std::size_t size, const Found &found) {
    constexpr std::uint64_t kLow = 0x7f7f7f7f7f7f7f7f;
    std::size_t j = 0;
    for (; j + 64 <= size; j += 64) {
        std::uint64_t mask = 0;
        for (std::size_t w = 0; w < 8; ++w) {
            std::uint64_t word;
            std::memcpy(&word, bytes + j + 8 * w, sizeof word);
            const std::uint64_t high = ((((word & kLow) + kLow) | word) & ~kLow) >> 7;  // 1 in each byte that is not 0
            mask |= (high * 0x0102040810204080 >> 56) << (8 * w);
        }
        for (; mask != 0; mask &= mask - 1) found(j + static_cast<std::size_t>(std::countr_zero(mask)));
    }
    for (; j < size; ++j)
        if (bytes[j] != 0) found(j);
}

template <typename Values>
auto at(Values &values, std::size_t i) {
    return values.begin() + static_cast<std::ptrdiff_t>(i);
}

// What finds the spikes of a chunk; used again for the next chunk.
class Finder {
public:
    Finder(const SpikeTask &task, bool contiguous) : task_(task), contiguous_(contiguous) {}

    Spikes operator()(std::size_t start, std::size_t end) {
        std::visit([&](const auto *given) { contiguous_ ? by_rows(given, start, end) : by_columns(given, start, end); },
                   task_.given);
        return arranged();
    }

private:
    // A matrix: spikes are found along its rows, then sorted by column.
    template <typename Value>
    void by_rows(const Value *given, std::size_t start, std::size_t end) {
        const std::size_t size = task_.size;
        places_.clear();
        first_.assign(size + 1, 0);
        bytes_.resize(size);
        std::uint8_t beyond = 0;
        for (std::size_t n = start; n < end; ++n) {
            const Value *row = given + task_.rows[n] + task_.columns[0];
            const std::uint8_t *bytes = bytes_.data();
            if constexpr (std::is_same_v<Value, std::uint8_t>)
                bytes = row;
            else
                for (std::size_t j = 0; j < size; ++j) bytes_[j] = row[j] == 0 ? 0 : row[j] == 1 ? 1 : 2;
            for (std::size_t j = 0; j < size; ++j) beyond |= bytes[j];
            visit(bytes, size, [&](std::size_t j) {
                places_.push_back({static_cast<std::uint32_t>(j), static_cast<std::uint8_t>(n - start)});
                ++first_[j + 1];
            });
        }
        graded_ = beyond > 1;
        for (std::size_t j = 0; j < size; ++j) first_[j + 1] += first_[j];
        next_.assign(first_.begin(), first_.end() - 1);
        row_.resize(places_.size());
        for (const auto &[column, n] : places_) row_[next_[column]++] = n;
        value_.clear();
        if (!graded_) return;
        value_.resize(places_.size());
        next_.assign(first_.begin(), first_.end() - 1);
        for (const auto &[column, n] : places_)
            value_[next_[column]++] = static_cast<float>(given[task_.rows[start + n] + task_.columns[column]]);
    }

    // Windows: neighbouring rows are often neighbours in memory, neighbouring columns are not.
    template <typename Value>
    void by_columns(const Value *given, std::size_t start, std::size_t end) {
        first_.assign(1, 0);
        row_.clear();
        value_.clear();
        for (std::size_t j = 0; j < task_.size; ++j) {
            const Value *column = given + task_.columns[j];
            for (std::size_t n = start; n < end; ++n) {
                const Value value = column[task_.rows[n]];
                if (value == 0) continue;
                row_.push_back(static_cast<std::uint8_t>(n - start));
                value_.push_back(static_cast<float>(value));
            }
            first_.push_back(static_cast<std::uint32_t>(row_.size()));
        }
        graded_ = std::any_of(value_.begin(), value_.end(), [](float value) { return value != 1; });
    }

    // Sorts the columns of each block by their number of spikes, which are few: by counting.
    Spikes arranged() {
        Spikes spikes;
        spikes.column.resize(task_.size);
        spikes.first.reserve(task_.size + 1);
        spikes.row.reserve(row_.size());
        for (std::size_t block = 0; block < task_.size; block += kWide) {
            const std::size_t end = std::min(block + kWide, task_.size);
            std::uint32_t places[kChunk + 2] = {};
            for (std::size_t j = block; j < end; ++j) ++places[first_[j + 1] - first_[j] + 1];
            for (std::size_t n = 0; n <= kChunk; ++n) places[n + 1] += places[n];
            for (std::size_t j = block; j < end; ++j)
                spikes.column[block + places[first_[j + 1] - first_[j]]++] = static_cast<std::uint32_t>(j);
        }
        for (const std::uint32_t j : spikes.column) {
            spikes.first.push_back(static_cast<std::uint32_t>(spikes.row.size()));
            spikes.row.insert(spikes.row.end(), at(row_, first_[j]), at(row_, first_[j + 1]));
            if (graded_) spikes.value.insert(spikes.value.end(), at(value_, first_[j]), at(value_, first_[j + 1]));
            spikes.most = std::max<std::size_t>(spikes.most, first_[j + 1] - first_[j]);
        }
        spikes.first.push_back(static_cast<std::uint32_t>(spikes.row.size()));
        return spikes;
    }

    const SpikeTask &task_;
    const bool contiguous_;
    std::vector<std::pair<std::uint32_t, std::uint8_t>> places_;  // column and row
    std::vector<std::uint32_t> first_, next_;
    std::vector<std::uint8_t> bytes_, row_;
    std::vector<float> value_;
    bool graded_ = false;
};

class Sum {
public:
    explicit Sum(const SpikeTask &task) : task_(task) {
        for (std::size_t j = 0; j + 1 < task.size; ++j)
            if (task.columns[j + 1] != task.columns[j] + 1) contiguous_ = false;
        const std::size_t steps = task.z == nullptr ? task.steps : 1;
        unit_ = steps > kChunk ? steps : kChunk / steps * steps;
        pieces_ = (unit_ + kChunk - 1) / kChunk;
        chunks_.resize((task.count + unit_ - 1) / unit_ * pieces_);
    }

    void run(unsigned threads) {
        share(chunks_.size(), threads, [&]() {
            return [&, find = Finder(task_, contiguous_)](std::size_t chunk) mutable {
                chunks_[chunk] = find(begin_of(chunk), end_of(chunk));
            };
        });
        const std::size_t panels = (task_.size + kWide - 1) / kWide;
        share(panels, threads, [&]() {
            return [&, panel = Floats(unit_ * kWide), sums = Floats(panels * kWide * kWide),
                    whole = std::vector<double>(panels * kWide * kWide)](std::size_t item) mutable {
                add(panels - 1 - item, panel.data(), sums.data(), whole.data());  // the longest first
            };
        });
    }

private:
    // Rows go in units, which are whole recordings where there is a filter, and these in chunks of at most 128.
    std::size_t unit_end(std::size_t unit) const { return std::min((unit + 1) * unit_, task_.count); }
    std::size_t begin_of(std::size_t chunk) const {
        return std::min(chunk / pieces_ * unit_ + chunk % pieces_ * kChunk, unit_end(chunk / pieces_));
    }
    std::size_t end_of(std::size_t chunk) const {
        return std::min(begin_of(chunk) + kChunk, unit_end(chunk / pieces_));
    }

    // Adds one panel of columns over all rows.
    void add(std::size_t index, float *panel, float *sums, double *whole) const {
        const std::size_t first = index * kWide, end = std::min(first + kWide, task_.size);
        std::fill(sums, sums + end * kWide, 0.0F);
        std::fill(whole, whole + end * kWide, 0.0);
        std::size_t terms = 0;
        for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            if (chunk % pieces_ == 0) take(chunk / pieces_, first, end, panel);
            const Spikes &spikes = chunks_[chunk];
            if (terms + spikes.most > kTerms) {
                flush(end, sums, whole);
                terms = 0;
            }
            terms += spikes.most;
            kernels_.add({panel + chunk % pieces_ * kChunk * kWide, &spikes, end, sums});
        }
        flush(end, sums, whole);
        for (std::size_t j = 0; j < end; ++j)
            for (std::size_t c = std::max(first, j); c < end; ++c)
                task_.into[j * task_.size + c] += whole[j * kWide + c - first];
    }

    void take(std::size_t unit, std::size_t first, std::size_t end, float *panel) const {
        const std::size_t start = unit * unit_, stop = unit_end(unit);
        for (std::size_t n = start; n < stop; n += task_.z == nullptr ? task_.steps : 1) {
            float *to = panel + (n - start) * kWide;
            if (task_.z == nullptr)
                std::visit([&](const auto *given) { filter(given, n, first, end, to); }, task_.given);
            else
                copy(n, first, end, to);
        }
    }

    template <typename Value>
    void filter(const Value *given, std::size_t n, std::size_t first, std::size_t end, float *to) const {
        const Filter filter{task_.steps, end - first, task_.size, task_.a_mem, task_.a_syn, task_.gain, to};
        const Value *from = given + task_.rows[n] + task_.columns[first];
        if constexpr (std::is_same_v<Value, std::uint8_t>)
            kernels_.bytes(from, filter);
        else
            kernels_.floats(from, filter);
    }

    void copy(std::size_t n, std::size_t first, std::size_t end, float *to) const {
        const float *row = task_.z + task_.rows[n];
        if (contiguous_ && end - first == kWide) {
            const float *ahead = task_.z + task_.rows[std::min(n + kAhead, task_.count - 1)] + task_.columns[first];
            for (std::size_t c = 0; c < kWide; c += kLanes) __builtin_prefetch(ahead + c);
            std::memcpy(to, row + task_.columns[first], kWide * sizeof(float));
            return;
        }
        for (std::size_t c = first; c < end; ++c) to[c - first] = row[task_.columns[c]];
        std::fill(to + (end - first), to + kWide, 0.0F);
    }

    void flush(std::size_t end, float *sums, double *whole) const {
        for (std::size_t j = 0; j < end; ++j) kernels_.flush(sums + j * kWide, whole + j * kWide);
    }

    static constexpr std::size_t kAhead = 16;
    const SpikeTask task_;
    const Kernels kernels_ = best_version(k_avx512, k_avx2, k_plain);
    bool contiguous_ = true;  // columns are neighbours in memory
    std::size_t unit_ = 0, pieces_ = 0;
    std::vector<Spikes> chunks_;
};

}  // namespace

void spike_hessian(const SpikeTask &task, unsigned threads) {
    if (task.count != 0 && task.size != 0) Sum(task).run(threads);
}

}  // namespace spikecore::sbc
