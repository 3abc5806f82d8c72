#pragma once

// A fully connected layer: latency, delays of single synapses, the exponent on each sum.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "stage.hpp"
#include "sum.hpp"
#include "synapses.hpp"

namespace spikecore {

struct LinearDescription {
    std::size_t rows = 1;  // how many vectors of `columns` entries the input holds (its leading axes)
    std::size_t columns = 0;
    std::size_t out = 0;
    std::vector<std::int32_t> weights;  // (out, columns)
    std::vector<std::int32_t> delays;   // (out, columns), or empty: none
    std::size_t latency = 0;
    SumRule sum;
};

// out_i[t] = sum_d shift(sum_{j: delay_ij = d} w_ij x_j[t - latency - d]): one matrix for each delay that occurs.
class Linear final : public Stage {
public:
    explicit Linear(LinearDescription given);
    std::unique_ptr<Kernel> kernel() const override;

    struct Bucket {
        std::size_t steps;  // latency and delay together
        Synapses synapses;
    };

    const std::vector<Bucket> &buckets() const { return buckets_; }
    const SumRule &sum() const { return sum_; }
    std::size_t out() const { return out_; }

private:
    std::size_t out_;
    SumRule sum_;
    std::vector<Bucket> buckets_;
};

}  // namespace spikecore
