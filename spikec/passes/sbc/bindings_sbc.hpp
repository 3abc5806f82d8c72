#pragma once

// What the module's entry calls to add the kernels of SBC.

#include <nanobind/nanobind.h>

void bind_sbc(nanobind::module_ &m);
