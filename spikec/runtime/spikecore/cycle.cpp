// One stream through a network: its queues and processes set up, run until the last token has left, and recorded.
#include "cycle.hpp"

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "cycle_flow.hpp"

namespace spikecore::cycle {

void CoreCounts::add(const CoreCounts &other) {
    spikes += other.spikes;
    synapses += other.synapses;
    sent += other.sent;
    passes += other.passes;
    walking += other.walking;
    padding += other.padding;
    firing += other.firing;
    stalled += other.stalled;
    idle += other.idle;
}

namespace {

struct Named {
    Queue queue;
    const Link *link;
};

// The queues in the order of spikec.compiler.queues, and what feeds them.
class Flow {
   public:
    Flow(const Network &network, const std::uint8_t *given, std::size_t samples, std::size_t steps, const Edges &edges,
         StreamResult &result)
        : network_(network), result_(result) {
        result_.cores.resize(network.cores.size());
        outputs_.resize(network.cores.size());
        std::vector<Queue *> into(network.cores.size(), nullptr);
        Tokens &first = tokens(network.links.front());
        processes_.push_back(std::make_unique<Source>(first, network, given, samples, steps, edges.gap, result.starts));
        for (const Link &link : network.links) connect(link, link.sources.empty() ? &first : nullptr, into);
        for (std::size_t k = 0; k < network.cores.size(); ++k)
            processes_.push_back(
                std::make_unique<CoreProcess>(network.cores[k], *into[k], *outputs_[k], result.cores[k]));
        if (network.count_bits != 0) count(network);
        const std::size_t sent = network.count_bits != 0 ? samples : samples * steps;
        processes_.push_back(std::make_unique<Sink>(network, *last_, edges.period, result, sent));
    }

    void run() {
        for (bool moved = true; moved;) {
            moved = false;
            for (auto &process : processes_) moved |= process->advance();
        }
        for (const auto &named : queues_)
            if (named->queue.some()) throw std::runtime_error("a token is left in a queue: the design blocks");
    }

    void measure() {
        for (const auto &named : queues_) {
            const Queue &queue = named->queue;
            QueueCounts counts{queue.from->size(), 0};
            for (std::size_t pushes = 0, pops = 0; pushes < queue.from->size(); ++pushes) {
                while (pops < queue.popped.size() && queue.popped[pops] <= queue.from->pushed[pushes]) ++pops;
                counts.high = std::max<std::uint64_t>(counts.high, pushes + 1 - pops);
            }
            result_.queues.push_back(counts);
        }
    }

    void record(std::uint32_t stream) {
        struct Key {
            std::uint64_t cycle;
            std::uint32_t queue;
            std::size_t token;
        };
        std::vector<Key> keys;
        for (std::size_t q = 0; q < queues_.size(); ++q) {
            const Queue &queue = queues_[q]->queue;
            const auto number = static_cast<std::uint32_t>(q * 2);
            for (std::size_t k = 0; k < queue.from->size(); ++k) {
                keys.push_back({queue.from->pushed[k], number, k});
                keys.push_back({queue.popped[k], number + 1, k});
            }
        }
        std::sort(keys.begin(), keys.end(), [](const Key &a, const Key &b) {
            return a.cycle != b.cycle ? a.cycle < b.cycle : a.queue < b.queue;
        });
        for (const Key &key : keys) {
            // Harness and simulator stop with the last token out; nothing else can be under way.
            result_.records.insert(result_.records.end(),
                                   {stream, key.queue, static_cast<std::uint32_t>(key.cycle),
                                    static_cast<std::uint32_t>(key.cycle >> 32)});
            write_token(*queues_[key.queue / 2], key.token);
        }
    }

   private:
    Tokens &tokens(const Link &link) {
        made_.push_back(std::make_unique<Tokens>());
        made_.back()->words = (link.payload_bits + 63) / 64;
        return *made_.back();
    }

    Queue *queue(Tokens &from, const Link &link) {
        queues_.push_back(std::make_unique<Named>(Named{{&from, link.depth, {}}, &link}));
        from.readers.push_back(&queues_.back()->queue);
        return &queues_.back()->queue;
    }

    void connect(const Link &link, Tokens *from, std::vector<Queue *> &into) {
        for (const std::size_t source : link.sources) outputs_[source] = &tokens(link);
        if (from == nullptr) from = outputs_[link.sources.front()];
        if (link.sources.size() > 1) {
            std::vector<Queue *> before;
            std::vector<std::uint32_t> bases;
            std::uint32_t base = 0;
            for (const std::size_t source : link.sources) {
                before.push_back(queue(*outputs_[source], link));
                bases.push_back(base);
                base += static_cast<std::uint32_t>(network_.cores[source].groups);
            }
            from = &tokens(link);
            processes_.push_back(std::make_unique<Join>(std::move(before), std::move(bases), *from));
        }
        for (const std::size_t target : link.targets) into[target] = queue(*from, link);
        if (link.targets.empty()) last_ = queue(*from, link);
    }

    void count(const Network &network) {
        counts_ = network.links.back();
        counts_.payload_bits = static_cast<unsigned>(network.out_lanes) * network.count_bits;
        Tokens &out = tokens(counts_);
        processes_.push_back(std::make_unique<Counter>(network, *last_, out));
        last_ = queue(out, counts_);
    }

    void write_token(const Named &named, std::size_t token) {
        const Tokens &from = *named.queue.from;
        std::vector<std::uint64_t> words(network_.record_words / 2 + 1, 0);
        std::copy_n(from.payload.data() + token * from.words, from.words, words.begin());
        const unsigned at = named.link->payload_bits;
        const std::uint64_t top =
            from.group[token] | static_cast<std::uint64_t>(from.kind[token]) << named.link->group_bits;
        words[at / 64] |= top << (at % 64);
        if (at % 64 != 0) words[at / 64 + 1] |= top >> (64 - at % 64);
        for (std::size_t k = 0; k < network_.record_words; ++k)
            result_.records.push_back(static_cast<std::uint32_t>(words[k / 2] >> (k % 2 * 32)));
    }

    const Network &network_;
    StreamResult &result_;
    std::vector<std::unique_ptr<Tokens>> made_;
    std::vector<std::unique_ptr<Named>> queues_;
    std::vector<std::unique_ptr<Process>> processes_;
    std::vector<Tokens *> outputs_;
    Queue *last_ = nullptr;
    Link counts_;  // from the counter to the output
};

}  // namespace

StreamResult run_stream(const Network &network, const std::uint8_t *given, std::size_t samples, std::size_t steps,
                        const Edges &edges, bool traced, std::uint32_t stream) {
    StreamResult result;
    Flow flow(network, given, samples, steps, edges, result);
    flow.run();
    flow.measure();
    if (traced) flow.record(stream);
    return result;
}

}  // namespace spikecore::cycle
