// Drives a verilated snn_probe: pushes the tokens of a file, pops what comes out, records every push and pop.
//
//   harness TOKENS RECORDS everything gap period limit [stream from to WAVES.vcd]
//
// TOKENS, in little-endian 32-bit words: the number of streams, then for each its tokens, its ends of steps, and the
// tokens, IN_WORDS words each. Before each stream the design is reset; cycle 0 is the first one without reset.
// RECORDS: stream, queue * 2 + (0 push, 1 pop), cycle (64 bits), WORDS words of the token.
// The source pushes at most every `gap` cycles, the sink pops at most every `period`; `limit` cycles end a stream.
#include "Vsnn_probe.h"
#include "queues.inc"
#include "verilated.h"
#ifdef SPIKEC_WAVES
#include "verilated_vcd_c.h"
#endif

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

namespace {

template <typename T>
void put(const T &value, std::uint32_t *to) {
    std::memcpy(to, &value, sizeof(T));
}

template <typename T>
void take(T &value, const std::uint32_t *from) {
    std::memcpy(&value, from, sizeof(T));
}

struct Record {
    std::uint32_t stream, queue;
    std::uint64_t cycle;
    std::uint32_t token[WORDS];
};

template <typename T>
bool bit(const T &value, unsigned at) {
    std::uint32_t words[(sizeof(T) + 3) / 4] = {};
    put(value, words);
    return words[at / 32] >> (at % 32) & 1;
}

std::vector<std::uint32_t> read_words(const char *path) {
    std::ifstream file(path, std::ios::binary);
    file.seekg(0, std::ios::end);
    std::vector<std::uint32_t> words(static_cast<std::size_t>(file.tellg()) / 4);
    file.seekg(0);
    file.read(reinterpret_cast<char *>(words.data()), static_cast<std::streamsize>(words.size() * 4));
    return words;
}

struct Options {
    bool everything;
    std::uint64_t gap, period, limit;
    long stream = -1;
    std::uint64_t from = 0, to = 0;
};

}  // namespace

int main(int argc, char **argv) {
    if (argc < 7) return 2;
    const auto words = read_words(argv[1]);
    std::FILE *out = std::fopen(argv[2], "wb");
    Options options{std::atoi(argv[3]) != 0, std::strtoull(argv[4], nullptr, 10), std::strtoull(argv[5], nullptr, 10),
                    std::strtoull(argv[6], nullptr, 10)};
    auto context = std::make_unique<VerilatedContext>();
    auto top = std::make_unique<Vsnn_probe>(context.get());
#ifdef SPIKEC_WAVES
    if (argc < 11) return 2;
    options.stream = std::atol(argv[7]);
    options.from = std::strtoull(argv[8], nullptr, 10);
    options.to = std::strtoull(argv[9], nullptr, 10);
    context->traceEverOn(true);
    VerilatedVcdC waves;
    top->trace(&waves, 99);
    waves.open(argv[10]);
#endif
    std::size_t at = 1;
    int status = 0;
    std::vector<std::uint64_t> spent;
    const auto begin = std::chrono::steady_clock::now();
    for (std::uint32_t stream = 0; stream < words[0] && status == 0; ++stream) {
        const std::uint32_t tokens = words[at], ends = words[at + 1];
        const std::uint32_t *given = words.data() + at + 2;
        at += 2 + static_cast<std::size_t>(tokens) * IN_WORDS;
        top->in_push = 0;
        top->out_pop = 0;
        top->rst = 1;
        for (int k = 0; k < 32; ++k) {  // long enough for the pipeline to run empty
            top->clk = 0;
            top->eval();
            top->clk = 1;
            top->eval();
        }
        top->rst = 0;
        std::uint32_t next = 0, seen = 0;
        std::uint64_t may_push = 0, may_pop = 0, cycle = 0;
        for (; seen < ends; ++cycle) {
            if (cycle >= options.limit) {
                status = 3;
                break;
            }
            top->clk = 0;
            const bool push = next < tokens && cycle >= may_push && top->in_room;
            const bool pop = top->out_some && cycle >= may_pop;
            top->in_push = push;
            top->out_pop = pop;
            if (push) {
                std::uint32_t padded[IN_WORDS + 2] = {};
                std::memcpy(padded, given + static_cast<std::size_t>(next) * IN_WORDS, IN_WORDS * 4);
                take(top->in_token, padded);
                ++next;
                may_push = cycle + options.gap;
            }
            top->eval();
            if (pop) {
                may_pop = cycle + options.period;
                seen += bit(top->out_token, OUT_WIDTH - 2);
            }
            auto record = [&](std::uint32_t queue, bool popped, const auto &token) {
                Record made{};
                made.stream = stream;
                made.queue = queue * 2 + popped;
                made.cycle = cycle;
                put(token, made.token);
                std::fwrite(&made, sizeof made, 1, out);
            };
            if (options.everything) {
#define QUEUE(number, pushed, popped)                                      \
    if (bit(top->pushes, number)) record(number, false, top->pushed);      \
    if (bit(top->pops, number)) record(number, true, top->popped);
                QUEUES
#undef QUEUE
            } else if (pop) {
                record(OUT_QUEUE, true, top->out_token);
            }
#ifdef SPIKEC_WAVES
            if (options.stream == static_cast<long>(stream) && cycle >= options.from && cycle < options.to)
                waves.dump(cycle * 10);
#endif
            top->clk = 1;
            top->eval();
#ifdef SPIKEC_WAVES
            if (options.stream == static_cast<long>(stream) && cycle >= options.from && cycle < options.to)
                waves.dump(cycle * 10 + 5);
#endif
        }
        spent.push_back(cycle);
    }
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
    std::printf("{\"status\": %d, \"seconds\": %.6f, \"cycles\": [", status, wall.count());
    for (std::size_t k = 0; k < spent.size(); ++k)
        std::printf("%s%llu", k ? ", " : "", static_cast<unsigned long long>(spent[k]));
    std::printf("]}\n");
#ifdef SPIKEC_WAVES
    waves.close();
#endif
    std::fclose(out);
    return 0;
}
