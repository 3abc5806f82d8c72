// The core as Python sees it: the only file that knows both.

#include <nanobind/nanobind.h>

#include "version.hpp"

NB_MODULE(_spikecore, m) {
    m.doc() = "The compiled core of spikec.";
    m.attr("__version__") = spikecore::version();
}
