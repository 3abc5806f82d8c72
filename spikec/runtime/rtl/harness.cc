// Drives a verilated snn_probe: pushes the tokens of a file, pops what comes out, records every push and pop.
//
//   harness TOKENS LOADS RECORDS everything gap period limit [stream from to WAVES.vcd]
//
// TOKENS, in little-endian 32-bit words: the number of streams, then for each its tokens, its ends of steps, and the
// tokens, IN_WORDS words each. Before each stream the design is reset; cycle 0 is the first one without reset.
// LOADS, of an overlay: the number of images, then for each the stream before which it is loaded, the cycles from byte to
// byte, its bytes, and the bytes, filled up to whole words. A stream behind a load begins without another reset: its
// cycle 0 is the first in which the loader lets the cores run.
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

// An image, and what became of it: cycles from its first byte until the cores run or the loader gives up.
struct Load {
    std::uint32_t stream, gap, bytes;
    const std::uint8_t *image;
    std::uint64_t cycles = 0;
    bool loaded = false, room = false;
    int fault = 0;
};

std::vector<Load> read_loads(const std::vector<std::uint32_t> &words) {
    std::vector<Load> loads;
    std::size_t at = 1;
    for (std::uint32_t k = 0; k < words[0]; ++k) {
        const std::uint32_t bytes = words[at + 2];
        loads.push_back({words[at], words[at + 1], bytes, reinterpret_cast<const std::uint8_t *>(&words[at + 2] + 1)});
        at += 3 + (bytes + 3) / 4;
    }
    return loads;
}

#ifdef OVERLAY
constexpr std::uint64_t PATIENCE = 64;  // cycles after the last byte until a load counts as one that never ends

void stream_image(Vsnn_probe &top, Load &load) {
    auto tick = [&] {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    };
    top.rst = 0;
    top.in_push = 0;
    top.out_pop = 0;
    top.load_valid = 0;
    top.load_start = 1;
    tick();
    top.load_start = 0;
    for (;; ++load.cycles) {
        const std::uint64_t next = load.cycles / load.gap;
        top.load_valid = load.cycles % load.gap == 0 && next < load.bytes;
        top.load_byte = top.load_valid ? load.image[next] : 0;
        top.clk = 0;
        top.eval();
        if (top.loaded || top.failed || load.cycles > std::uint64_t{load.bytes} * load.gap + PATIENCE) break;
        top.clk = 1;
        top.eval();
    }
    top.load_valid = 0;
    load.loaded = top.loaded;
    load.fault = top.fault;
    load.room = top.in_room;
}
#endif

}  // namespace

int main(int argc, char **argv) {
    if (argc < 8) return 2;
    const auto words = read_words(argv[1]), images = read_words(argv[2]);
    auto loads = read_loads(images);
    std::FILE *out = std::fopen(argv[3], "wb");
    Options options{std::atoi(argv[4]) != 0, std::strtoull(argv[5], nullptr, 10), std::strtoull(argv[6], nullptr, 10),
                    std::strtoull(argv[7], nullptr, 10)};
    auto context = std::make_unique<VerilatedContext>();
    auto top = std::make_unique<Vsnn_probe>(context.get());
#ifdef SPIKEC_WAVES
    if (argc < 12) return 2;
    options.stream = std::atol(argv[8]);
    options.from = std::strtoull(argv[9], nullptr, 10);
    options.to = std::strtoull(argv[10], nullptr, 10);
    context->traceEverOn(true);
    VerilatedVcdC waves;
    top->trace(&waves, 99);
    waves.open(argv[11]);
#endif
    std::size_t at = 1;
    int status = 0;
    std::vector<std::uint64_t> spent;
    std::size_t done = 0;  // images that were loaded or refused
    const auto begin = std::chrono::steady_clock::now();
    for (std::uint32_t stream = 0; status == 0; ++stream) {
        bool loaded = false, refused = false;
#ifdef OVERLAY
        for (; done < loads.size() && loads[done].stream == stream; ++done) {
            stream_image(*top, loads[done]);
            loaded = loads[done].loaded;
            refused = !loaded;
        }
#endif
        if (stream >= words[0] || refused) break;
        const std::uint32_t tokens = words[at], ends = words[at + 1];
        const std::uint32_t *given = words.data() + at + 2;
        at += 2 + static_cast<std::size_t>(tokens) * IN_WORDS;
        top->in_push = 0;
        top->out_pop = 0;
        top->rst = !loaded;
        for (int k = 0; k < 32 && !loaded; ++k) {  // long enough for the pipeline to run empty
            top->clk = 0;
            top->eval();
            top->clk = 1;
            top->eval();
        }
        top->rst = 0;
        top->clk = 0;
        top->eval();
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
    std::printf("], \"loads\": [");
    for (std::size_t k = 0; k < done; ++k)
        std::printf("%s[%u, %llu, %d, %d, %d]", k ? ", " : "", loads[k].stream,
                    static_cast<unsigned long long>(loads[k].cycles), loads[k].loaded, loads[k].fault, loads[k].room);
    std::printf("]}\n");
#ifdef SPIKEC_WAVES
    waves.close();
#endif
    std::fclose(out);
    return 0;
}
