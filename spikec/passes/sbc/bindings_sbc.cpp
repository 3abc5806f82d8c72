// The kernels of SBC as Python sees them.
#include "bindings_sbc.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "lanes.hpp"
#include "order.hpp"
#include "solve.hpp"
#include "spikes.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace spikecore::sbc;

namespace {

template <typename Value, std::size_t Axes>
using In = nb::ndarray<const Value, nb::ndim<Axes>, nb::c_contig, nb::device::cpu>;
template <typename Value, std::size_t Axes>
using Out = nb::ndarray<Value, nb::ndim<Axes>, nb::c_contig, nb::device::cpu>;

template <typename Array>
void shaped(const Array &array, std::size_t rows, std::size_t columns) {
    if (array.shape(0) != rows || array.shape(1) != columns)
        throw nb::value_error("the arrays do not have one size");
}

void bound_order(const In<float, 2> &inverse, const In<float, 2> &rows, const In<std::uint8_t, 1> &alive,
                 std::size_t block, const Out<float, 2> &losses, unsigned threads) {
    const std::size_t size = alive.size(), count = rows.shape(0);
    shaped(inverse, size, size);
    shaped(rows, count, size);
    shaped(losses, count, size);
    if (block == 0) throw nb::value_error("a batch has at least one column");
    const nb::gil_scoped_release release;
    order({inverse.data(), rows.data(), alive.data(), losses.data(), size, count, block}, threads);
}

void bound_blocks(const In<float, 2> &inverse, const In<float, 2> &rows, const In<std::uint8_t, 1> &alive,
                  std::size_t n, std::size_t m, const Out<float, 2> &losses, const Out<std::uint8_t, 2> &keep,
                  unsigned threads) {
    const std::size_t size = alive.size(), count = rows.shape(0);
    shaped(inverse, size, size);
    shaped(rows, count, size);
    shaped(losses, count, size);
    shaped(keep, count, size);
    if (m == 0 || n > m || size % m != 0) throw nb::value_error("the columns are not whole blocks of m that keep n");
    const nb::gil_scoped_release release;
    order({inverse.data(), rows.data(), alive.data(), losses.data(), size, count, 1, m, m - n, keep.data()}, threads);
}

void bound_across(const In<float, 3> &inverses, const In<std::uint8_t, 2> &alive, const In<std::int64_t, 1> &which,
                  const In<float, 1> &scales, const In<float, 2> &rows, std::size_t n, std::size_t m,
                  const Out<std::uint8_t, 2> &keep, unsigned threads) {
    const std::size_t kinds = inverses.shape(0), size = inverses.shape(2), count = rows.shape(0);
    if (inverses.shape(1) != size || which.size() != count || scales.size() != count)
        throw nb::value_error("the arrays do not have one size");
    shaped(alive, kinds, size);
    shaped(rows, count, size);
    shaped(keep, count, size);
    if (m == 0 || n > m) throw nb::value_error("a block of m rows cannot keep n");
    for (std::size_t r = 0; r < count; ++r)
        if (which.data()[r] < 0 || static_cast<std::size_t>(which.data()[r]) >= kinds)
            throw nb::value_error("a row has no inverse");
    const nb::gil_scoped_release release;
    order_across({inverses.data(), alive.data(), which.data(), scales.data(), rows.data(), keep.data(), size, count, m,
                  n},
                 threads);
}

void bound_solve(const In<double, 2> &damped, const std::optional<In<double, 2>> &inverse, const In<double, 2> &rows,
                 const In<std::uint8_t, 2> &keep, const Out<double, 2> &out, unsigned threads) {
    const std::size_t size = damped.shape(0), count = rows.shape(0);
    shaped(damped, size, size);
    shaped(rows, count, size);
    shaped(keep, count, size);
    shaped(out, count, size);
    if (inverse) shaped(*inverse, size, size);
    const double *known = inverse ? inverse->data() : nullptr;
    const nb::gil_scoped_release release;
    keep_solve({damped.data(), known, rows.data(), keep.data(), out.data(), size, count}, threads);
}

template <typename Value>
void bound_spikes(const In<Value, 1> &given, const In<float, 1> &z, const In<std::int64_t, 1> &rows,
                  const In<std::int64_t, 1> &columns, const Out<double, 2> &into, unsigned threads) {
    const std::size_t count = rows.size(), size = columns.size();
    shaped(into, size, size);
    if (count != 0 && size != 0) {
        const auto [low_row, high_row] = std::minmax_element(rows.data(), rows.data() + count);
        const auto [low, high] = std::minmax_element(columns.data(), columns.data() + size);
        const auto most = static_cast<std::int64_t>(std::min(given.size(), z.size()));
        if (*low_row < 0 || *low < 0 || *high_row >= most || *high >= most - *high_row)
            throw nb::value_error("an entry is not in the data");
    }
    const nb::gil_scoped_release release;
    spike_hessian({given.data(), z.data(), rows.data(), columns.data(), into.data(), count, size, 1, 0, 0, 1},
                  threads);
}

template <typename Value>
void bound_responses(const In<Value, 3> &given, double a_mem, double a_syn, float gain, const Out<double, 2> &into,
                     unsigned threads) {
    const std::size_t steps = given.shape(1), count = given.shape(0) * steps, size = given.shape(2);
    shaped(into, size, size);
    if (steps == 0) return;
    std::vector<std::int64_t> rows, columns;
    for (std::size_t n = 0; n < count; ++n) rows.push_back(static_cast<std::int64_t>(n * size));
    for (std::size_t j = 0; j < size; ++j) columns.push_back(static_cast<std::int64_t>(j));
    const nb::gil_scoped_release release;
    spike_hessian({given.data(), nullptr, rows.data(), columns.data(), into.data(), count, size, steps, a_mem, a_syn,
                   gain},
                  threads);
}

void bound_mirror(const Out<double, 2> &into, unsigned threads) {
    shaped(into, into.shape(0), into.shape(0));
    const nb::gil_scoped_release release;
    mirror(into.data(), into.shape(0), threads);
}

}  // namespace

void bind_sbc(nb::module_ &m) {
    m.def("sbc_versions", []() { return best_known(); });
    m.def("sbc_use_version", [](int most) { best_allowed = most; }, "most"_a);
    m.def("sbc_order", &bound_order, nb::kw_only(), "inverse"_a, "rows"_a, "alive"_a, "block"_a, "losses"_a,
          "threads"_a);
    m.def("sbc_order_blocks", &bound_blocks, nb::kw_only(), "inverse"_a, "rows"_a, "alive"_a, "n"_a, "m"_a,
          "losses"_a, "keep"_a, "threads"_a);
    m.def("sbc_order_across", &bound_across, nb::kw_only(), "inverses"_a, "alive"_a, "which"_a, "scales"_a, "rows"_a,
          "n"_a, "m"_a, "keep"_a, "threads"_a);
    m.def("sbc_order_thread_bytes", &order_thread_bytes, "size"_a, "block"_a);
    m.def("sbc_keep_solve", &bound_solve, nb::kw_only(), "damped"_a, "inverse"_a.none(), "rows"_a, "keep"_a, "out"_a,
          "threads"_a);
    m.def("sbc_solves_pruned", &solves_pruned, "kept"_a, "pruned"_a);
    m.def("sbc_spike_hessian", &bound_spikes<std::uint8_t>, nb::kw_only(), "given"_a, "z"_a, "rows"_a, "columns"_a,
          "into"_a, "threads"_a);
    m.def("sbc_response_hessian", &bound_responses<std::uint8_t>, nb::kw_only(), "given"_a, "a_mem"_a, "a_syn"_a,
          "gain"_a, "into"_a, "threads"_a);
    m.def("sbc_response_hessian", &bound_responses<float>, nb::kw_only(), "given"_a, "a_mem"_a, "a_syn"_a, "gain"_a,
          "into"_a, "threads"_a);
    m.def("sbc_mirror", &bound_mirror, nb::kw_only(), "into"_a, "threads"_a);
    m.def("sbc_spike_hessian", &bound_spikes<float>, nb::kw_only(), "given"_a, "z"_a, "rows"_a, "columns"_a, "into"_a,
          "threads"_a);
}
