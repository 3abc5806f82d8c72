#pragma once

// A plan: the stages of one graph in execution order and what each of them reads. Built once, shared by threads.

#include <cstddef>
#include <memory>
#include <vector>

#include "stage.hpp"

namespace spikecore {

// Order is schedule: a node reads what nodes before it made in this step; of itself and of nodes behind it, what they
// made in the previous step (zero in the first). What it reads is summed.
class Plan {
public:
    using Stages = std::vector<std::shared_ptr<const Stage>>;
    using Sources = std::vector<std::vector<std::size_t>>;

    // `sources` lists for each stage the stages that it reads; `input` is the stage that is given the network's input.
    // Throws std::invalid_argument unless every source exists and makes as many entries as its reader takes.
    Plan(Stages stages, Sources sources, std::size_t input);

    std::size_t size() const { return stages_.size(); }
    std::size_t input() const { return input_; }
    const Stage &stage(std::size_t node) const { return *stages_[node]; }
    const std::vector<std::size_t> &sources(std::size_t node) const { return sources_[node]; }

private:
    Stages stages_;
    Sources sources_;
    std::size_t input_;
};

}  // namespace spikecore
