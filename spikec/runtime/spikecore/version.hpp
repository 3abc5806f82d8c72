#pragma once

// The version of the core: the same as that of the package, which a test checks.

namespace spikecore {

const char *version() noexcept;

}  // namespace spikecore
