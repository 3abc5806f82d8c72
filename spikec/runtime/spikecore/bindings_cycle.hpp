// What the module's entry calls to add the spike-core simulator.
#pragma once

#include <nanobind/nanobind.h>

void bind_cycle(nanobind::module_ &m);
