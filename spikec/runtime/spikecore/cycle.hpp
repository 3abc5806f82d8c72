// The spike-core simulator: tokens, queues and cores of a design, exact in every cycle, without a loop over cycles.
#pragma once

#include <cstdint>
#include <vector>

namespace spikecore::cycle {

constexpr std::uint64_t latency = 9;  // from the issue of a group in a fire pass to the push of its token

enum Kind : std::uint32_t { spikes = 0, end = 1, values = 2, end_clear = 3 };
enum class Reset { none, value, subtract };

// A core; neurons are physical: address * lanes + lane.
struct Core {
    std::size_t rows, in_lanes, lanes, groups, row_words;
    std::uint64_t walk, fire;
    int state_bits;
    bool shift;
    int decay;
    bool at_threshold;
    Reset reset;
    bool membrane;
    std::vector<std::int8_t> weights;  // (rows, groups * lanes), zero where a block keeps nothing
    std::vector<std::int32_t> threshold, bias, amount, initial;
    std::vector<std::uint32_t> row_synapses;  // weights other than zero in each row

    std::size_t neurons() const { return groups * lanes; }
    std::uint64_t room() const { return groups + 1 + latency; }
};

struct Link {
    std::vector<std::size_t> sources, targets;  // cores; none: the input, the output
    std::size_t depth;
    unsigned group_bits, payload_bits;
};

struct Edges {
    std::uint64_t gap, period;  // the source pushes at most every `gap` cycles, the sink pops every `period`
};

struct CoreCounts {
    std::uint64_t spikes = 0, synapses = 0, sent = 0, passes = 0;
    std::uint64_t walking = 0, padding = 0, firing = 0, stalled = 0, idle = 0;

    void add(const CoreCounts &other);
};

struct QueueCounts {
    std::uint64_t tokens = 0, high = 0;
};

// One push or pop, as the harness of the co-simulation writes it; `words` words of the token follow.
struct Record {
    std::uint32_t stream, queue;  // queue * 2 + (0 push, 1 pop)
    std::uint64_t cycle;
};

struct StreamResult {
    std::uint64_t cycles = 0;                // until the last token has left
    std::vector<std::uint64_t> ends;         // cycle in which each end of step left; of sample, where spikes are counted
    std::vector<std::uint64_t> starts;       // cycle in which each step's first token entered
    std::vector<std::int32_t> outputs;       // (steps, or samples of counts; groups * lanes of the last layer)
    std::vector<CoreCounts> cores;
    std::vector<QueueCounts> queues;
    std::vector<std::uint32_t> records;      // 4 + words 32-bit words each, in order of cycle, queue, push and pop
};

struct Network {
    std::vector<Core> cores;
    std::vector<Link> links;
    std::size_t in_lanes, in_groups, out_lanes, out_groups;
    unsigned count_bits;       // of a counter behind the last link; 0: none
    std::size_t record_words;  // 32-bit words of a token in a record
};

// Run one stream from reset: `samples` samples of `steps` steps, spikes (samples * steps, in_groups * in_lanes).
StreamResult run_stream(const Network &network, const std::uint8_t *given, std::size_t samples, std::size_t steps,
                        const Edges &edges, bool traced, std::uint32_t stream);

// The membranes of a core, as a value that steps.
class Neurons {
   public:
    explicit Neurons(const Core &core);
    void add(const std::vector<std::uint32_t> &rows);
    // Fire; spikes() and states() hold until the next call.
    void fire(bool clear);
    const std::vector<std::uint8_t> &spiked() const { return spiked_; }
    const std::vector<std::int32_t> &states() const { return states_; }

   private:
    const Core &core_;
    std::vector<std::int32_t> sums_, states_;
    std::vector<std::uint8_t> spiked_;
};

}  // namespace spikecore::cycle
