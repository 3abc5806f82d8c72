// Tokens in time: streams of tokens, the queues that read them, and the processes that move them.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "cycle.hpp"

namespace spikecore::cycle {

struct Queue;

// What one process sends, in order; every queue behind it gets all of it, in the same cycles.
struct Tokens {
    std::vector<std::uint32_t> kind, group;
    std::vector<std::uint64_t> payload, pushed;
    std::size_t words = 1;  // 64-bit words of a payload
    std::vector<Queue *> readers;

    std::size_t size() const { return kind.size(); }
    void push(std::uint64_t cycle, std::uint32_t of_kind, std::uint32_t of_group, const std::uint64_t *content);
    // First cycle from `cycle` on in which every reader has a free place for the next token; false: not known yet.
    bool free_place(std::uint64_t &cycle) const;
    // The same for `room` free places, counting only what was pushed before that cycle.
    bool free_room(std::uint64_t &cycle, std::uint64_t room) const;
};

struct Queue {
    const Tokens *from;
    std::size_t depth;
    std::vector<std::uint64_t> popped;

    bool some() const { return popped.size() < from->size(); }
    std::size_t next() const { return popped.size(); }
};

class Process {
   public:
    virtual ~Process() = default;
    virtual bool advance() = 0;  // as far as is known; says whether anything was done
};

class Source final : public Process {
   public:
    Source(Tokens &out, const Network &network, const std::uint8_t *given, std::size_t samples, std::size_t steps,
           std::uint64_t gap, std::vector<std::uint64_t> &starts);
    bool advance() override;

   private:
    Tokens &out_;
    const Network &network_;
    const std::uint8_t *given_;
    std::size_t samples_, steps_, step_ = 0, group_ = 0;
    std::uint64_t gap_, may_ = 0;
    bool fresh_ = true;
    std::vector<std::uint64_t> &starts_;
};

class CoreProcess final : public Process {
   public:
    CoreProcess(const Core &core, Queue &in, Tokens &out, CoreCounts &counts);
    bool advance() override;

   private:
    void walk(std::size_t token, std::uint64_t cycle);
    void fire(std::uint32_t kind, std::uint64_t cycle);

    const Core &core_;
    Queue &in_;
    Tokens &out_;
    CoreCounts &counts_;
    Neurons neurons_;
    std::vector<std::uint32_t> rows_;
    std::vector<std::uint64_t> content_;
    std::uint64_t ready_;
    bool waiting_ = false;
};

class Join final : public Process {
   public:
    Join(std::vector<Queue *> in, std::vector<std::uint32_t> bases, Tokens &out)
        : in_(std::move(in)), bases_(std::move(bases)), out_(out) {}
    bool advance() override;

   private:
    std::vector<Queue *> in_;
    std::vector<std::uint32_t> bases_;
    Tokens &out_;
    std::size_t turn_ = 0;
    std::uint64_t may_ = 0;
};

// Counts the spikes of a sample; at its end sends the counts of every group, then the end.
class Counter final : public Process {
   public:
    Counter(const Network &network, Queue &in, Tokens &out);
    bool advance() override;

   private:
    void add(std::size_t token);
    bool send();  // says whether all of it could go

    const Network &network_;
    Queue &in_;
    Tokens &out_;
    std::vector<std::uint32_t> counts_;
    std::vector<std::uint64_t> content_;
    std::size_t group_ = 0;
    std::uint64_t may_;
    bool sending_ = false;
};

class Sink final : public Process {
   public:
    Sink(const Network &network, Queue &in, std::uint64_t period, StreamResult &result, std::size_t steps);
    bool advance() override;

   private:
    void take(std::size_t token);

    const Network &network_;
    Queue &in_;
    std::uint64_t period_, may_ = 0;
    StreamResult &result_;
    std::size_t step_ = 0;
};

}  // namespace spikecore::cycle
