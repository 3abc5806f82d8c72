// The spike-core simulator as Python sees it.
#include "bindings_cycle.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "cycle.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace spikecore::cycle;

namespace {

using Int8s = nb::ndarray<const std::int8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Int32s = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using UInt32s = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Given = nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using LinkTuple = std::tuple<std::vector<std::size_t>, std::vector<std::size_t>, std::size_t, unsigned, unsigned>;

template <typename Array>
auto values_of(const Array &array) {
    return std::vector<std::remove_const_t<typename Array::Scalar>>(array.data(), array.data() + array.size());
}

Core core(std::size_t rows, std::size_t in_lanes, std::size_t lanes, std::size_t groups, std::size_t row_words,
          std::uint64_t walk, std::uint64_t fire, int state_bits, bool shift, int decay, bool at_threshold,
          const std::string &reset, bool membrane, const Int8s &weights, const Int32s &threshold, const Int32s &bias,
          const Int32s &amount, const Int32s &initial, const UInt32s &row_synapses) {
    const std::size_t size = groups * lanes;
    if (weights.size() != rows * size || threshold.size() != size || bias.size() != size || amount.size() != size ||
        initial.size() != size || row_synapses.size() != rows)
        throw nb::value_error("the arrays of a core do not have its size");
    const Reset kind = reset == "value" ? Reset::value : reset == "subtract" ? Reset::subtract : Reset::none;
    return {rows, in_lanes, lanes, groups, row_words, walk, fire, state_bits, shift, decay, at_threshold, kind, membrane,
            values_of(weights), values_of(threshold), values_of(bias), values_of(amount), values_of(initial),
            values_of(row_synapses)};
}

Network network(const std::vector<Core> &cores, const std::vector<LinkTuple> &links, std::size_t in_lanes,
                std::size_t in_groups, std::size_t out_lanes, std::size_t out_groups, unsigned count_bits,
                std::size_t record_words) {
    Network made{cores, {}, in_lanes, in_groups, out_lanes, out_groups, count_bits, record_words};
    for (const auto &[sources, targets, depth, group_bits, payload_bits] : links)
        made.links.push_back({sources, targets, depth, group_bits, payload_bits});
    return made;
}

std::vector<StreamResult> run_streams(const Network &network, const Given &given, std::size_t batch,
                                      const Edges &edges, bool traced, unsigned threads) {
    const std::size_t samples = given.shape(0), steps = given.shape(1), width = given.shape(2);
    if (width != network.in_groups * network.in_lanes || batch == 0)
        throw nb::value_error("the input does not have the size of the design's");
    const std::size_t count = (samples + batch - 1) / batch;
    std::vector<StreamResult> results(count);
    std::atomic<std::size_t> next{0};
    std::exception_ptr failed;
    std::mutex guard;
    auto work = [&] {
        for (std::size_t k = next++; k < count; k = next++) {
            try {
                const std::size_t size = std::min(batch, samples - k * batch);
                results[k] = run_stream(network, given.data() + k * batch * steps * width, size, steps, edges, traced,
                                        static_cast<std::uint32_t>(k));
            } catch (...) {
                const std::lock_guard lock(guard);
                failed = std::current_exception();
            }
        }
    };
    {
        const nb::gil_scoped_release release;
        std::vector<std::jthread> others;
        for (unsigned t = 1; t < threads; ++t) others.emplace_back(work);
        work();
    }
    if (failed) std::rethrow_exception(failed);
    return results;
}

template <typename T>
nb::ndarray<nb::numpy, T> array_of(std::vector<T> values) {
    auto *kept = new std::vector<T>(std::move(values));
    const nb::capsule owner(kept, [](void *at) noexcept { delete static_cast<std::vector<T> *>(at); });
    return nb::ndarray<nb::numpy, T>(kept->data(), {kept->size()}, owner);
}

nb::dict to_python(StreamResult &result) {
    std::vector<std::uint64_t> cores, queues;
    for (const CoreCounts &c : result.cores)
        cores.insert(cores.end(), {c.spikes, c.synapses, c.sent, c.passes, c.walking, c.padding, c.firing, c.stalled,
                                   c.idle});
    for (const QueueCounts &q : result.queues) queues.insert(queues.end(), {q.tokens, q.high});
    nb::dict made;
    made["cycles"] = result.cycles;
    made["ends"] = array_of(std::move(result.ends));
    made["starts"] = array_of(std::move(result.starts));
    made["outputs"] = array_of(std::move(result.outputs));
    made["cores"] = array_of(std::move(cores));
    made["queues"] = array_of(std::move(queues));
    made["records"] = array_of(std::move(result.records));
    return made;
}

}  // namespace

void bind_cycle(nb::module_ &m) {
    nb::class_<Core>(m, "CycleCore", "A spike core of the cycle simulator.");
    m.def("cycle_core", &core, nb::kw_only(), "rows"_a, "in_lanes"_a, "lanes"_a, "groups"_a, "row_words"_a, "walk"_a,
          "fire"_a, "state_bits"_a, "shift"_a, "decay"_a, "at_threshold"_a, "reset"_a, "membrane"_a, "weights"_a,
          "threshold"_a, "bias"_a, "amount"_a, "initial"_a, "row_synapses"_a);
    nb::class_<Network>(m, "CycleNetwork", "Cores and the links between them.")
        .def(
            "run",
            [](const Network &network, const Given &given, std::size_t batch, std::uint64_t gap, std::uint64_t period,
               bool traced, unsigned threads) {
                auto results = run_streams(network, given, batch, {gap, period}, traced, threads);
                nb::list made;
                for (StreamResult &result : results) made.append(to_python(result));
                return made;
            },
            "given"_a, "batch"_a, "gap"_a, "period"_a, "traced"_a, "threads"_a);
    m.def("cycle_network", &network, nb::kw_only(), "cores"_a, "links"_a, "in_lanes"_a, "in_groups"_a, "out_lanes"_a,
          "out_groups"_a, "count_bits"_a, "record_words"_a);
}
