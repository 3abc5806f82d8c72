// How tokens move: for each token one step of max and plus, in place of all the cycles between.
#include "cycle_flow.hpp"

#include <algorithm>
#include <bit>

namespace spikecore::cycle {

namespace {

void put_bits(std::vector<std::uint64_t> &words, std::size_t at, unsigned bits, std::uint64_t value) {
    words[at / 64] |= value << (at % 64);
    if (at % 64 + bits > 64) words[at / 64 + 1] |= value >> (64 - at % 64);
}

// `bits` bits from `at` on, at most 32.
std::uint64_t get_bits(const std::uint64_t *words, std::size_t at, unsigned bits) {
    std::uint64_t value = words[at / 64] >> (at % 64);
    if (at % 64 + bits > 64) value |= words[at / 64 + 1] << (64 - at % 64);
    return value & ((1ULL << bits) - 1);
}

}  // namespace

void Tokens::push(std::uint64_t cycle, std::uint32_t of_kind, std::uint32_t of_group, const std::uint64_t *content) {
    kind.push_back(of_kind);
    group.push_back(of_group);
    if (content != nullptr)
        payload.insert(payload.end(), content, content + words);
    else
        payload.insert(payload.end(), words, 0);
    pushed.push_back(cycle);
}

bool Tokens::free_place(std::uint64_t &cycle) const {
    for (const Queue *queue : readers) {
        if (size() < queue->depth) continue;
        const std::size_t must = size() - queue->depth;  // this one must have left
        if (queue->popped.size() <= must) return false;
        cycle = std::max(cycle, queue->popped[must] + 1);
    }
    return true;
}

bool Tokens::free_room(std::uint64_t &cycle, std::uint64_t room) const {
    // Pushes of the pass before may still be under way: they count only once the cycle has passed them.
    std::size_t before = pushed.size();
    while (before > 0 && pushed[before - 1] >= cycle) --before;
    for (bool moved = true; moved;) {
        moved = false;
        while (before < pushed.size() && pushed[before] < cycle) ++before;
        for (const Queue *queue : readers) {
            const std::size_t may = queue->depth - room;
            if (before <= may) continue;
            const std::size_t must = before - may;
            if (queue->popped.size() < must) return false;
            const std::uint64_t at = queue->popped[must - 1] + 1;
            if (at > cycle) {
                cycle = at;
                moved = true;
            }
        }
    }
    return true;
}

Source::Source(Tokens &out, const Network &network, const std::uint8_t *given, std::size_t samples, std::size_t steps,
               std::uint64_t gap, std::vector<std::uint64_t> &starts)
    : out_(out), network_(network), given_(given), samples_(samples), steps_(steps), gap_(gap), starts_(starts) {}

bool Source::advance() {
    bool done = false;
    while (step_ < samples_ * steps_) {
        std::uint32_t kind = end;
        std::uint64_t mask = 0;
        const std::size_t lanes = network_.in_lanes;
        for (; group_ < network_.in_groups && mask == 0; ++group_) {
            const std::uint8_t *bits = given_ + (step_ * network_.in_groups + group_) * lanes;
            for (std::size_t b = 0; b < lanes; ++b) mask |= static_cast<std::uint64_t>(bits[b] != 0) << b;
        }
        if (mask != 0)
            kind = spikes;
        else if ((step_ + 1) % steps_ == 0)
            kind = end_clear;
        std::uint64_t cycle = may_;
        if (!out_.free_place(cycle)) {
            if (mask != 0) --group_;  // look at this group again
            return done;
        }
        const auto group = static_cast<std::uint32_t>(mask != 0 ? group_ - 1 : 0);
        out_.push(cycle, kind, group, &mask);
        if (fresh_) starts_.push_back(cycle);
        fresh_ = mask == 0;
        may_ = cycle + gap_;
        done = true;
        if (mask == 0) {
            ++step_;
            group_ = 0;
        }
    }
    return done;
}

CoreProcess::CoreProcess(const Core &core, Queue &in, Tokens &out, CoreCounts &counts)
    : core_(core), in_(in), out_(out), counts_(counts), neurons_(core), content_(out.words), ready_(core.fire - 1) {
    counts_.passes = 1;
    counts_.firing = core.fire - 1;
}

bool CoreProcess::advance() {
    bool done = false;
    for (;;) {
        if (!waiting_) {
            if (!in_.some()) return done;
            const std::size_t token = in_.next();
            const std::uint64_t cycle = std::max(ready_, in_.from->pushed[token] + 1);
            counts_.idle += cycle - ready_;
            in_.popped.push_back(cycle);
            ready_ = cycle;
            done = true;
            if (in_.from->kind[token] == spikes) {
                walk(token, cycle);
                continue;
            }
            waiting_ = true;
        }
        std::uint64_t cycle = ready_ + 1;
        if (!out_.free_room(cycle, core_.room())) return done;
        counts_.stalled += cycle - ready_ - 1;
        fire(in_.from->kind[in_.next() - 1], cycle);
        waiting_ = false;
        done = true;
    }
}

void CoreProcess::walk(std::size_t token, std::uint64_t cycle) {
    std::uint64_t mask = in_.from->payload[token];
    const auto base = static_cast<std::uint32_t>(in_.from->group[token] * core_.in_lanes);
    const auto count = static_cast<std::uint64_t>(std::popcount(mask));
    for (; mask != 0; mask &= mask - 1) {
        const std::uint32_t row = base + static_cast<std::uint32_t>(std::countr_zero(mask));
        rows_.push_back(row);
        counts_.synapses += core_.row_synapses[row];
    }
    ready_ = cycle + count * core_.walk;
    counts_.spikes += count;
    counts_.walking += count * core_.row_words;
    counts_.padding += count * (core_.walk - core_.row_words);
}

void CoreProcess::fire(std::uint32_t kind, std::uint64_t cycle) {
    neurons_.add(rows_);  // the order of additions does not matter: their width is proved not to overflow
    rows_.clear();
    neurons_.fire(kind == end_clear);
    const std::uint8_t *spiked = neurons_.spiked().data();
    for (std::size_t group = 0; group < core_.groups; ++group) {
        std::uint64_t mask = 0;
        for (std::size_t p = 0; p < core_.lanes; ++p)
            mask |= static_cast<std::uint64_t>(spiked[group * core_.lanes + p]) << p;
        counts_.sent += static_cast<std::uint64_t>(std::popcount(mask));
        if (core_.membrane) {
            std::fill(content_.begin(), content_.end(), 0);
            for (std::size_t p = 0; p < core_.lanes; ++p) {
                const auto bits = static_cast<unsigned>(core_.state_bits);
                const std::uint64_t value =
                    static_cast<std::uint64_t>(neurons_.states()[group * core_.lanes + p]) & ((1ULL << bits) - 1);
                put_bits(content_, p * bits, bits, value);
            }
            out_.push(cycle + group + latency, values, static_cast<std::uint32_t>(group), content_.data());
        } else if (mask != 0) {
            out_.push(cycle + group + latency, spikes, static_cast<std::uint32_t>(group), &mask);
        }
    }
    out_.push(cycle + core_.groups + latency, kind, 0, nullptr);
    ready_ = cycle - 1 + core_.fire;
    ++counts_.passes;
    counts_.firing += core_.fire;
}

bool Join::advance() {
    bool done = false;
    for (;;) {
        Queue &queue = *in_[turn_];
        if (!queue.some()) return done;
        const std::size_t token = queue.next();
        std::uint64_t cycle = std::max(may_, queue.from->pushed[token] + 1);
        if (!out_.free_place(cycle)) return done;
        const std::uint32_t kind = queue.from->kind[token];
        const bool ends = (kind & 1) != 0;
        if (!ends || turn_ + 1 == in_.size()) {
            const std::uint32_t group = ends ? 0 : queue.from->group[token] + bases_[turn_];
            out_.push(cycle, kind, group, queue.from->payload.data() + token * queue.from->words);
        }
        queue.popped.push_back(cycle);
        may_ = cycle + 1;
        if (ends) turn_ = turn_ + 1 == in_.size() ? 0 : turn_ + 1;
        done = true;
    }
}

Counter::Counter(const Network &network, Queue &in, Tokens &out)
    : network_(network),
      in_(in),
      out_(out),
      counts_(network.out_groups * network.out_lanes, 0),
      content_(out.words),
      may_(network.out_groups) {}  // a reset clears a group a cycle

bool Counter::advance() {
    bool done = false;
    for (;;) {
        if (sending_) {
            const std::size_t before = group_;
            const bool all = send();
            done |= all || group_ != before;
            if (!all) return done;
        }
        if (!in_.some()) return done;
        const std::size_t token = in_.next();
        const std::uint64_t cycle = std::max(may_, in_.from->pushed[token] + 1);
        in_.popped.push_back(cycle);
        may_ = cycle + 1;
        done = true;
        if (in_.from->kind[token] == spikes)
            add(token);
        else
            sending_ = in_.from->kind[token] == end_clear;
    }
}

void Counter::add(std::size_t token) {
    const auto most = static_cast<std::uint32_t>((1ULL << network_.count_bits) - 1);
    std::uint32_t *own = counts_.data() + in_.from->group[token] * network_.out_lanes;
    for (std::uint64_t mask = in_.from->payload[token]; mask != 0; mask &= mask - 1) {
        std::uint32_t &count = own[std::countr_zero(mask)];
        count += count != most;
    }
}

bool Counter::send() {
    for (; group_ <= network_.out_groups; ++group_) {
        if (!out_.free_place(may_)) return false;
        if (group_ == network_.out_groups) {
            out_.push(may_, end_clear, 0, nullptr);
        } else {
            std::fill(content_.begin(), content_.end(), 0);
            std::uint32_t *own = counts_.data() + group_ * network_.out_lanes;
            for (std::size_t p = 0; p < network_.out_lanes; ++p)
                put_bits(content_, p * network_.count_bits, network_.count_bits, own[p]);
            std::fill_n(own, network_.out_lanes, 0);
            out_.push(may_, values, static_cast<std::uint32_t>(group_), content_.data());
        }
        ++may_;
    }
    group_ = 0;
    sending_ = false;
    return true;
}

Sink::Sink(const Network &network, Queue &in, std::uint64_t period, StreamResult &result, std::size_t steps)
    : network_(network), in_(in), period_(period), result_(result) {
    result_.outputs.assign(steps * network.out_groups * network.out_lanes, 0);
}

bool Sink::advance() {
    bool done = false;
    while (in_.some()) {
        const std::size_t token = in_.next();
        const std::uint64_t cycle = std::max(may_, in_.from->pushed[token] + 1);
        in_.popped.push_back(cycle);
        may_ = cycle + period_;
        result_.cycles = cycle + 1;
        if ((in_.from->kind[token] & 1) != 0) {
            result_.ends.push_back(cycle);
            ++step_;
        } else {
            take(token);
        }
        done = true;
    }
    return done;
}

void Sink::take(std::size_t token) {
    const std::uint64_t *payload = in_.from->payload.data() + token * in_.from->words;
    const std::size_t group = in_.from->group[token], lanes = network_.out_lanes;
    std::int32_t *out = result_.outputs.data() + (step_ * network_.out_groups + group) * lanes;
    const Core &core = network_.cores.back();
    for (std::size_t p = 0; p < lanes; ++p) {
        if (network_.count_bits != 0) {
            out[p] = static_cast<std::int32_t>(get_bits(payload, p * network_.count_bits, network_.count_bits));
            continue;
        }
        if (!core.membrane) {
            out[p] = static_cast<std::int32_t>(payload[0] >> p & 1);
            continue;
        }
        const auto bits = static_cast<unsigned>(core.state_bits);
        const std::uint64_t value = get_bits(payload, p * bits, bits);
        const auto raised = static_cast<std::int32_t>(static_cast<std::uint32_t>(value) << (32 - bits));
        out[p] = raised >> (32 - bits);
    }
}

}  // namespace spikecore::cycle
