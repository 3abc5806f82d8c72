#include "stage.hpp"

#include <algorithm>

namespace spikecore {

namespace {

class IdentityKernel final : public Kernel {
public:
    explicit IdentityKernel(std::size_t size) : size_(size) {}
    void step(std::int64_t, const std::int32_t *in, std::int32_t *out) override { std::copy_n(in, size_, out); }

private:
    std::size_t size_;
};

}  // namespace

Stage::Stage(std::size_t inputs, std::size_t outputs) : inputs_(inputs), outputs_(outputs) {
    require(inputs < kMostEntries && outputs < kMostEntries, "a tensor has 2**31 entries or more");
}

std::unique_ptr<Kernel> Identity::kernel() const { return std::make_unique<IdentityKernel>(inputs()); }

std::size_t product(std::size_t a, std::size_t b) {
    require(a == 0 || b < kMostEntries / a, "a tensor has 2**31 entries or more");
    return a * b;
}

}  // namespace spikecore
