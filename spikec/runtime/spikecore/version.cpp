#include "version.hpp"

namespace spikecore {

const char *version() noexcept { return "0.1.0"; }

}  // namespace spikecore
