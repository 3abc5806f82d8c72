#include "plan.hpp"

#include <utility>

namespace spikecore {

Plan::Plan(Stages stages, Sources sources, std::size_t input)
    : stages_(std::move(stages)), sources_(std::move(sources)), input_(input) {
    require(stages_.size() == sources_.size(), "there is not one list of sources for each stage");
    require(input_ < stages_.size(), "the input is not a stage of the plan");
    for (const auto &stage : stages_) require(stage != nullptr, "a stage is missing");
    for (std::size_t node = 0; node < stages_.size(); ++node) {
        for (const std::size_t source : sources_[node]) {
            require(source < stages_.size(), "a source is not a stage of the plan");
            require(stages_[source]->outputs() == stages_[node]->inputs(),
                    "a source does not make as many entries as its reader takes");
        }
    }
    require(sources_[input_].empty(), "the input reads another stage");
}

}  // namespace spikecore
