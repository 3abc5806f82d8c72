#pragma once

// One row of greedy OBS ordering, left-looking: the inverse stays as it is, a row keeps only the factor of what it has pruned.
//
// A column is pruned by a row of the factor, u = (G_p: - U_:p^T U) / sqrt(variance). The product over all earlier
// rows is done ahead of time for the columns that are likely to go next (the candidates), many at once, so that it
// runs at the speed of a matrix product; only the rows since then are applied one by one.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "lanes.hpp"
#include "order.hpp"
#include "order_kernels.hpp"

namespace spikecore::sbc {

inline constexpr std::size_t kMostFresh = 32;
inline constexpr std::size_t kDeep = 128;  // rows of a panel that are used at once: 24 KB

inline constexpr std::uint32_t kNone = static_cast<std::uint32_t>(-1);
inline constexpr float kMost = std::numeric_limits<float>::max();  // of a score: infinity is for pruned columns
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
// A variance never falls below this share of what it was: less is rounding.
inline constexpr float kLeastShare = 1.0F / (1 << 23);

inline std::size_t panels_of(std::size_t columns) { return (columns + kPanel - 1) / kPanel; }

// Rows that panel p of the factor can come to have: it is dropped before more columns than this are pruned.
inline std::size_t depth_of(std::size_t panel, std::size_t size) {
    const std::size_t before = panel * kPanel;
    return std::min(size, size + 2 * kPanel - std::min(before, size));
}

inline std::size_t factor_size(std::size_t size) {
    std::size_t sum = 0;
    for (std::size_t p = 0; p < panels_of(size); ++p) sum += depth_of(p, size) * kPanel;
    return sum;
}

// Candidates that are made ready at once, and those that are held, for batches of `block` columns.
inline std::size_t fresh_of(std::size_t size, std::size_t block) {
    const std::size_t wanted = std::max(std::clamp<std::size_t>(size / 32, kTogether, kMostFresh), block);
    return (wanted + kTogether - 1) / kTogether * kTogether;
}

inline std::size_t held_of(std::size_t size, std::size_t block) { return 6 * fresh_of(size, block); }

// One row's elimination; used again for the next row.
class Row {
public:
    explicit Row(const OrderTask &task)
        : task_(task),
          room_(panels_of(task.size) * kPanel),
          fresh_(fresh_of(task.size, task.block)),
          slots_(held_of(task.size, task.block)),
          factor_(factor_size(task.size)),
          candidates_(slots_ * room_ + kPanel),
          packed_(task.size * slots_),
          columns_(5 * room_ + panels_of(task.size)),
          whole_(task.size),
          ids_(room_),
          slot_of_(room_) {
        for (std::size_t p = 0, at = 0; p < panels_of(task.size); ++p) {
            offsets_.push_back(at);
            at += depth_of(p, task.size) * kPanel;
        }
        float *at = columns_.data();
        least_ = at + 2 * room_;
        bar_ = at + 3 * room_;
        view_ = {at, at + room_, least_, bar_, at + 4 * room_, at + 5 * room_, 0};
    }

    void operator()(std::size_t index) {
        inverse_ = task_.inverse;
        alive_ = task_.alive;
        losses_ = task_.losses + index * task_.size;
        std::fill(losses_, losses_ + task_.size, 0.0F);
        if (task_.group != 0) begin_groups(task_.keep + index * task_.size);
        begin(task_.rows + index * task_.size);
        while (left_ != 0) batch();
    }

    // For a caller that goes through several rows at once, each with an inverse and live columns of its own.
    void start(const float *inverse, const std::uint8_t *alive, const float *weights, float *losses) {
        inverse_ = inverse;
        alive_ = alive;
        losses_ = losses;
        begin(weights);
        stale_ = true;
    }

    bool any() const { return left_ != 0; }

    // The smallest score of what is left, and its column.
    std::pair<float, std::uint32_t> least() {
        if (stale_) {
            kernels_.score(view_);
            const std::uint32_t at = smallest();
            head_ = {view_.score[at], ids_[at]};
            stale_ = false;
        }
        return head_;
    }

    void prune_least() {
        batch();
        stale_ = true;
    }

    // A column stays, whatever its score: it is not looked at any more.
    void hold(std::uint32_t column) {
        for (std::size_t i = 0; i < end_; ++i) {
            if (bar_[i] != 0 || ids_[i] != column) continue;
            retire(i);
            --left_;
            stale_ = stale_ || head_.second == column;
            break;
        }
        while (end_ - left_ >= kPanel) drop_panel();
    }

private:
    // Columns of a small first score stand last: the panels that they leave are dropped first.
    void begin(const float *weights) {
        scored_.clear();
        for (std::uint32_t j = 0; j < task_.size; ++j) {
            const float variance = inverse_[j * task_.size + j];
            if (alive_[j] != 0 && !full(j)) scored_.push_back({std::min(kMost, weights[j] * weights[j] / variance), j});
        }
        std::sort(scored_.rbegin(), scored_.rend());
        left_ = scored_.size();
        end_ = panels_of(left_) * kPanel;
        view_.panels = end_ / kPanel;
        for (std::size_t i = 0; i < end_; ++i) {
            const bool real = i < left_;
            ids_[i] = real ? scored_[i].second : 0;
            view_.weights[i] = real ? weights[ids_[i]] : 0.0F;
            view_.variance[i] = real ? inverse_[ids_[i] * task_.size + ids_[i]] : 1.0F;
            least_[i] = kLeastShare * view_.variance[i];
            bar_[i] = real ? 0.0F : kInfinity;
            slot_of_[i] = kNone;
        }
        pivots_ = base_ = 0;
        held_.assign(slots_, kNone);
    }

    // Columns that are not alive are the first to go from their groups.
    void begin_groups(std::uint8_t *keep) {
        keep_ = keep;
        std::fill(keep_, keep_ + task_.size, std::uint8_t{1});
        gone_.assign(task_.size / task_.group, 0);
        for (std::size_t j = 0; j < task_.size; ++j)
            if (alive_[j] == 0 && !full(j)) leave(j);
    }

    bool full(std::size_t j) const { return task_.group != 0 && gone_[j / task_.group] == task_.most; }

    void leave(std::size_t j) {
        keep_[j] = 0;
        ++gone_[j / task_.group];
    }

    // A column left its group; once enough have, the rest of it stays, and is not looked at any more.
    void settle(std::uint32_t column) {
        leave(column);
        if (!full(column)) return;
        for (std::size_t i = 0; i < end_; ++i) {
            if (bar_[i] != 0 || ids_[i] / task_.group != column / task_.group) continue;
            retire(i);
            --left_;
        }
    }

    void retire(std::size_t at) {
        bar_[at] = kInfinity;
        if (slot_of_[at] != kNone) held_[slot_of_[at]] = kNone;
        slot_of_[at] = kNone;
    }

    // Prunes the columns of the smallest scores; their losses are those scores.
    void batch() {
        kernels_.score(view_);
        choose(std::min(task_.block, left_));
        if (std::any_of(chosen_.begin(), chosen_.end(), [&](std::uint32_t at) { return slot_of_[at] == kNone; }))
            refill();
        for (const std::uint32_t at : chosen_) eliminate(at);
        left_ -= chosen_.size();
        if (task_.group != 0)
            for (const std::uint32_t at : chosen_) settle(ids_[at]);
        while (end_ - left_ >= kPanel) drop_panel();
    }

    void choose(std::size_t count) {
        chosen_.clear();
        for (std::size_t n = 0; n < count; ++n) {
            const std::uint32_t at = smallest();
            chosen_.push_back(at);
            losses_[ids_[at]] = view_.score[at];
            view_.score[at] = kInfinity;
            const float *panel = view_.score + at / kPanel * kPanel;
            view_.panel_score[at / kPanel] = *std::min_element(panel, panel + kPanel);
        }
    }

    // Of equal scores the lower column: the result must not depend on where a column stands.
    std::uint32_t smallest() const {
        const float least = *std::min_element(view_.panel_score, view_.panel_score + view_.panels);
        std::uint32_t best = kNone;
        for (std::size_t p = 0; p < view_.panels; ++p) {
            if (view_.panel_score[p] != least) continue;
            for (auto i = static_cast<std::uint32_t>(p * kPanel); i < (p + 1) * kPanel; ++i)
                if (view_.score[i] == least && (best == kNone || ids_[i] < ids_[best])) best = i;
        }
        return best;
    }

    // Brings what is held up to date, and makes the likeliest of the other columns ready.
    void refill() {
        update(held_slots(), base_);
        scored_.clear();
        for (const std::uint32_t at : chosen_)
            if (slot_of_[at] == kNone) scored_.push_back({-1.0F, at});
        const std::size_t needed = scored_.size();
        for (std::uint32_t i = 0; i < end_; ++i)
            if (slot_of_[i] == kNone && view_.score[i] < kInfinity) scored_.push_back({view_.score[i], i});
        const std::size_t count = std::min(fresh_, scored_.size());
        if (needed < count) {
            const auto begin = scored_.begin();
            std::nth_element(begin, begin + static_cast<std::ptrdiff_t>(count - 1), scored_.end());
        }
        make_room(count);
        std::vector<std::uint32_t> fresh;
        for (std::uint32_t slot = 0; fresh.size() < count; ++slot) {
            if (held_[slot] != kNone) continue;
            const std::uint32_t at = scored_[fresh.size()].second;
            held_[slot] = at;
            slot_of_[at] = slot;
            bring(slot, at);
            fresh.push_back(slot);
        }
        update(fresh, 0);
        base_ = pivots_;
    }

    std::vector<std::uint32_t> held_slots() const {
        std::vector<std::uint32_t> slots;
        for (std::uint32_t slot = 0; slot < slots_; ++slot)
            if (held_[slot] != kNone) slots.push_back(slot);
        return slots;
    }

    // Lets go of the candidates of the largest scores, but never of those that are chosen.
    void make_room(std::size_t count) {
        std::vector<std::uint32_t> slots = held_slots();
        if (slots.size() + count <= slots_) return;
        const auto rank = [&](std::uint32_t slot) {
            const float score = view_.score[held_[slot]];  // infinite for the chosen
            return std::pair{score == kInfinity ? -1.0F : score, held_[slot]};
        };
        std::sort(slots.begin(), slots.end(), [&](auto a, auto b) { return rank(a) < rank(b); });
        for (std::size_t i = slots_ - count; i < slots.size(); ++i) {
            slot_of_[held_[slots[i]]] = kNone;
            held_[slots[i]] = kNone;
        }
    }

    float *candidate(std::size_t panel, std::size_t slot) const {
        return candidates_.data() + (panel * slots_ + slot) * kPanel;
    }

    float factor(std::size_t k, std::size_t at) const {
        return factor_[offsets_[at / kPanel] + k * kPanel + at % kPanel];
    }

    void bring(std::uint32_t slot, std::uint32_t at) {
        const float *given = inverse_ + ids_[at] * task_.size;
        std::copy(given, given + task_.size, whole_.data());  // a stream, where picking from it would wait each time
        for (std::size_t p = 0; p < view_.panels; ++p) {
            float *to = candidate(p, slot);
            const std::uint32_t *from = ids_.data() + p * kPanel;
            for (std::size_t i = 0; i < kPanel; ++i) to[i] = whole_[from[i]];
        }
    }

    // Applies rows [from, pivots) of the factor to some candidates. Each piece of it is used for all of them while it
    // is in the nearest cache.
    void update(const std::vector<std::uint32_t> &slots, std::size_t from) {
        const std::size_t depth = pivots_ - from;
        if (depth == 0 || slots.empty()) return;
        const std::size_t groups = (slots.size() + kTogether - 1) / kTogether;
        for (std::size_t g = 0; g < groups; ++g) pack(slots, g * kTogether, from);
        for (std::size_t p = 0; p < view_.panels; ++p) {
            rows_.clear();
            for (const std::uint32_t slot : slots) rows_.push_back(candidate(p, slot));
            rows_.resize(groups * kTogether, candidates_.data() + slots_ * room_);  // nobody reads that place
            const float *factor = factor_.data() + offsets_[p] + from * kPanel;
            for (std::size_t k = 0; k < depth; k += kDeep)
                for (std::size_t g = 0; g < groups; ++g)
                    kernels_.update(factor + k * kPanel, packed_.data() + (g * depth + k) * kTogether,
                                    std::min(kDeep, depth - k), rows_.data() + g * kTogether);
        }
    }

    // The entries of eight candidates in rows [from, pivots), side by side: eight streams wait for memory together.
    void pack(const std::vector<std::uint32_t> &slots, std::size_t first, std::size_t from) {
        const std::size_t depth = pivots_ - from;
        float *to = packed_.data() + first * depth;
        const float *columns[kTogether];
        for (std::size_t r = 0; r < kTogether; ++r) {
            const std::uint32_t at = held_[slots[std::min(first + r, slots.size() - 1)]];
            columns[r] = factor_.data() + offsets_[at / kPanel] + from * kPanel + at % kPanel;
        }
        for (std::size_t k = 0; k < depth; ++k)
            for (std::size_t r = 0; r < kTogether; ++r) to[k * kTogether + r] = columns[r][k * kPanel];
    }

    void eliminate(std::uint32_t at) {
        const std::uint32_t slot = slot_of_[at];
        coefficients_.clear();
        for (std::size_t k = base_; k < pivots_; ++k) coefficients_.push_back(factor(k, at));
        const float scale = 1.0F / std::sqrt(view_.variance[at]);
        kernels_.eliminate({candidate(0, slot), slots_ * kPanel, factor_.data(), offsets_.data(), base_, pivots_,
                            coefficients_.data(), scale, view_.weights[at] * scale},
                           view_);
        ++pivots_;
        retire(at);
    }

    // The live columns of the last panel take the places of pruned ones in the panels before it.
    void drop_panel() {
        const std::size_t last = end_ - kPanel;
        std::size_t hole = last;
        for (std::size_t at = last; at < end_; ++at) {
            if (bar_[at] != 0) continue;
            do --hole;
            while (bar_[hole] == 0);
            move(at, hole);
        }
        end_ = last;
        view_.panels = last / kPanel;
    }

    void move(std::size_t from, std::size_t to) {
        const float *source = factor_.data() + offsets_[from / kPanel] + from % kPanel;
        float *target = factor_.data() + offsets_[to / kPanel] + to % kPanel;
        for (std::size_t k = 0; k < pivots_; ++k) target[k * kPanel] = source[k * kPanel];
        for (std::size_t slot = 0; slot < slots_; ++slot)
            candidate(to / kPanel, slot)[to % kPanel] = candidate(from / kPanel, slot)[from % kPanel];
        for (float *each : {view_.weights, view_.variance, least_, bar_}) each[to] = each[from];
        ids_[to] = ids_[from];
        slot_of_[to] = slot_of_[from];
        if (slot_of_[to] != kNone) held_[slot_of_[to]] = static_cast<std::uint32_t>(to);
    }

    const OrderTask task_;
    const OrderKernels &kernels_ = order_kernels();
    const std::size_t room_, fresh_, slots_;
    const Floats factor_, candidates_, packed_, columns_, whole_;
    std::vector<std::size_t> offsets_;                      // of the panels of the factor
    Columns view_{};                                        // of the columns, by where they stand now
    float *least_ = nullptr, *bar_ = nullptr;
    std::vector<std::uint32_t> ids_, slot_of_;              // the column at a place, and its candidate
    std::vector<std::uint32_t> held_;                       // the place of the candidate in a slot
    std::vector<std::uint32_t> chosen_;                     // the places of this batch
    std::vector<std::pair<float, std::uint32_t>> scored_;
    std::vector<float> coefficients_;
    std::vector<float *> rows_;
    const float *inverse_ = nullptr;
    const std::uint8_t *alive_ = nullptr;
    float *losses_ = nullptr;
    std::pair<float, std::uint32_t> head_{};                // the smallest score, if it is not stale, and its column
    bool stale_ = true;
    std::uint8_t *keep_ = nullptr;
    std::vector<std::size_t> gone_;  // columns that each group has lost
    std::size_t left_ = 0, end_ = 0;  // live columns, and the places in use
    std::size_t pivots_ = 0;          // rows of the factor
    std::size_t base_ = 0;            // rows that have been applied to the candidates
};

}  // namespace spikecore::sbc
