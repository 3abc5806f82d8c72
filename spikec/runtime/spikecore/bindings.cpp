// The core as Python sees it: the only file that knows both.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings_cycle.hpp"
#include "convolution.hpp"
#include "delay.hpp"
#include "engine.hpp"
#include "linear.hpp"
#include "neuron.hpp"
#include "plan.hpp"
#include "pool.hpp"
#include "spikec/passes/sbc/bindings_sbc.hpp"
#include "stage.hpp"
#include "version.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace spikecore;

namespace {

using Int32s = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Int64s = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Given = nb::ndarray<const std::int32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Trace = nb::ndarray<std::int32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using StagePtr = std::shared_ptr<Stage>;

// size, kernel, stride, zeros before, zeros after, dilation
using AxisTuple = std::tuple<std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, std::size_t>;

template <typename Array>
auto values(const Array &array) {
    return std::vector<std::remove_const_t<typename Array::Scalar>>(array.data(), array.data() + array.size());
}

SumRule sum_rule(const Int32s &exponent, bool graded, int width) { return {graded, width, values(exponent)}; }

std::array<Axis, 2> both(const std::vector<AxisTuple> &given) {
    require(given.size() == 1 || given.size() == 2, "there are one or two spatial axes");
    std::array<Axis, 2> axes;
    for (std::size_t i = 0; i < given.size(); ++i) {
        const auto &[size, kernel, stride, before, after, dilation] = given[i];
        axes[i + 2 - given.size()] = {size, kernel, stride, before, after, dilation};
    }
    return axes;
}

StagePtr linear(std::size_t rows, std::size_t columns, std::size_t out, const Int32s &weights, const Int32s &delays,
                std::size_t latency, const Int32s &exponent, bool graded, int width) {
    const SumRule sum = sum_rule(exponent, graded, width);
    return std::make_shared<Linear>(
        LinearDescription{rows, columns, out, values(weights), values(delays), latency, sum});
}

StagePtr convolution(std::size_t in_channels, std::size_t out_channels, std::size_t groups,
                     const std::vector<AxisTuple> &axes, const Int32s &weights, std::size_t latency,
                     const Int32s &exponent, bool graded, int width) {
    const SumRule sum = sum_rule(exponent, graded, width);
    return std::make_shared<Convolution>(
        ConvolutionDescription{in_channels, out_channels, groups, both(axes), values(weights), latency, sum});
}

Width width(int bits, bool saturates, bool symmetric) {
    return {bits, saturates ? Overflow::saturate : Overflow::wrap, symmetric};
}

Reset reset_of(const std::string &name) {
    require(name == "value" || name == "subtract" || name == "none", "a reset is value, subtract or none");
    return name == "value" ? Reset::value : name == "subtract" ? Reset::subtract : Reset::none;
}

StagePtr neuron(std::size_t size, const Int64s &threshold, const Int64s &amount, const Int64s &bias,
                const Int64s &v_decay, const Int64s &u_decay, const Int64s &v_reset, const Int64s &v_min,
                const Int64s &u_init, const Int64s &v_init, bool shift_decay, int decay_bits, int input_exp, int u_bits,
                bool u_saturates, int v_bits, bool v_saturates, bool symmetric, bool at_threshold,
                const std::string &reset, bool membrane, std::int64_t start, std::int64_t reset_interval,
                std::int64_t reset_offset) {
    NeuronDescription given;
    given.size = size;
    given.threshold = values(threshold);
    given.amount = values(amount);
    given.bias = values(bias);
    given.v_decay = values(v_decay);
    given.u_decay = values(u_decay);
    given.v_reset = values(v_reset);
    given.v_min = values(v_min);
    given.u_init = values(u_init);
    given.v_init = values(v_init);
    given.shift_decay = shift_decay;
    given.decay_bits = decay_bits;
    given.input_exp = input_exp;
    given.u = width(u_bits, u_saturates, symmetric);
    given.v = width(v_bits, v_saturates, symmetric);
    given.at_threshold = at_threshold;
    given.reset = reset_of(reset);
    given.membrane = membrane;
    given.start = start;
    given.reset_interval = reset_interval;
    given.reset_offset = reset_offset;
    return std::make_shared<Neuron>(std::move(given));
}

Variable variable_of(const std::string &name) {
    require(name == "s" || name == "u" || name == "v", "a variable is s, u or v");
    return name == "s" ? Variable::s : name == "u" ? Variable::u : Variable::v;
}

using RecordTuple = std::tuple<std::size_t, std::string, Trace>;

void run_plan(const Plan &plan, const Given &given, const std::vector<RecordTuple> &wanted, unsigned threads) {
    const std::size_t samples = given.shape(0);
    const std::size_t steps = given.shape(1);
    require(given.shape(2) == plan.stage(plan.input()).inputs(), "the input does not have the size of the network's");
    std::vector<Record> records;
    for (const auto &[node, variable, trace] : wanted) {
        require(node < plan.size(), "a record is of a node that the plan does not have");
        require(trace.shape(0) == samples && trace.shape(1) == steps &&
                    trace.shape(2) == plan.stage(node).outputs(),
                "a record is not (samples, steps, entries of its node)");
        records.push_back({node, variable_of(variable), trace.data()});
    }
    const nb::gil_scoped_release release;
    run(plan, given.data(), samples, steps, records, threads);
}

}  // namespace

NB_MODULE(_spikecore, m) {
    m.doc() = "The compiled core of spikec.";
    m.attr("__version__") = version();

    nb::class_<Stage>(m, "Stage", "What one node of a plan computes.");
    m.def("identity", [](std::size_t size) -> StagePtr { return std::make_shared<Identity>(size); }, "size"_a);
    m.def("linear", &linear, nb::kw_only(), "rows"_a, "columns"_a, "out"_a, "weights"_a, "delays"_a, "latency"_a,
          "exponent"_a, "graded"_a, "width"_a);
    m.def("convolution", &convolution, nb::kw_only(), "in_channels"_a, "out_channels"_a, "groups"_a, "axes"_a,
          "weights"_a, "latency"_a, "exponent"_a, "graded"_a, "width"_a);
    m.def(
        "pool",
        [](std::size_t channels, const std::vector<AxisTuple> &axes, bool largest) -> StagePtr {
            return std::make_shared<Pool>(channels, both(axes), largest);
        },
        nb::kw_only(), "channels"_a, "axes"_a, "largest"_a);
    m.def(
        "delay",
        [](std::size_t size, const Int32s &steps) -> StagePtr { return std::make_shared<Delay>(size, values(steps)); },
        nb::kw_only(), "size"_a, "steps"_a);
    m.def("neuron", &neuron, nb::kw_only(), "size"_a, "threshold"_a, "amount"_a, "bias"_a, "v_decay"_a, "u_decay"_a,
          "v_reset"_a, "v_min"_a, "u_init"_a, "v_init"_a, "shift_decay"_a, "decay_bits"_a, "input_exp"_a, "u_bits"_a,
          "u_saturates"_a, "v_bits"_a, "v_saturates"_a, "symmetric"_a, "at_threshold"_a, "reset"_a, "membrane"_a,
          "start"_a, "reset_interval"_a, "reset_offset"_a);

    nb::class_<Plan>(m, "Plan", "The stages of one graph in execution order, and what each of them reads.")
        .def(
            "__init__",
            [](Plan *self, const std::vector<StagePtr> &stages, Plan::Sources sources, std::size_t input) {
                new (self) Plan(Plan::Stages(stages.begin(), stages.end()), std::move(sources), input);
            },
            "stages"_a, "sources"_a, "input"_a)
        .def("run", &run_plan, "inputs"_a, "records"_a, "threads"_a);
    bind_cycle(m);
    bind_sbc(m);
}
