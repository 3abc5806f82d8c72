// The best values of kept weights by one symmetric solve a row.
#include "solve.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "workers.hpp"

namespace spikecore::sbc {

namespace {

using Indices = std::vector<std::size_t>;

double dot(const double *a, const double *b, std::size_t size) {
    double sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum += a[i] * b[i];
    return sum;
}

// Solves A x = b in place for a symmetric positive definite A (lower triangle used, overwritten by its factor).
void solve(std::vector<double> &a, std::vector<double> &b) {
    const std::size_t size = b.size();
    for (std::size_t i = 0; i < size; ++i) {
        double *row = a.data() + i * size;
        for (std::size_t j = 0; j < i; ++j)
            row[j] = (row[j] - dot(row, a.data() + j * size, j)) / a[j * size + j];
        const double left = row[i] - dot(row, row, i);
        if (!(left > 0)) throw std::invalid_argument("the damped Hessian is not positive definite");
        row[i] = std::sqrt(left);
        b[i] = (b[i] - dot(row, b.data(), i)) / row[i];
    }
    for (std::size_t i = size; i-- > 0;) {
        b[i] /= a[i * size + i];
        for (std::size_t j = 0; j < i; ++j) b[j] -= a[i * size + j] * b[i];
    }
}

class Row {
public:
    explicit Row(const SolveTask &task) : task_(task) {}

    void operator()(std::size_t index) {
        const std::size_t size = task_.size;
        const double *w = task_.rows + index * size;
        const std::uint8_t *keep = task_.keep + index * size;
        double *out = task_.out + index * size;
        kept_.clear();
        pruned_.clear();
        for (std::size_t j = 0; j < size; ++j) (keep[j] != 0 ? kept_ : pruned_).push_back(j);
        for (std::size_t j = 0; j < size; ++j) out[j] = keep[j] != 0 ? w[j] : 0.0;
        if (kept_.empty() || pruned_.empty()) return;
        if (task_.inverse != nullptr && solves_pruned(kept_.size(), pruned_.size()))
            by_pruned(w, out);
        else
            by_kept(w, out);
    }

private:
    void by_kept(const double *w, double *out) {
        take(task_.damped, kept_);
        right_.assign(kept_.size(), 0.0);
        for (std::size_t i = 0; i < kept_.size(); ++i) right_[i] = over(task_.damped, kept_[i], w);
        solve(square_, right_);
        for (std::size_t i = 0; i < kept_.size(); ++i) out[kept_[i]] += right_[i];
    }

    void by_pruned(const double *w, double *out) {
        take(task_.inverse, pruned_);
        right_.clear();
        for (const std::size_t p : pruned_) right_.push_back(w[p]);
        solve(square_, right_);
        solution_.assign(task_.size, 0.0);
        for (std::size_t i = 0; i < pruned_.size(); ++i) solution_[pruned_[i]] = right_[i];
        for (const std::size_t k : kept_) out[k] -= over(task_.inverse, k, solution_.data());
    }

    // The sum over pruned columns of one row of a matrix times a vector.
    double over(const double *matrix, std::size_t row, const double *vector) const {
        double sum = 0;
        for (const std::size_t p : pruned_) sum += matrix[row * task_.size + p] * vector[p];
        return sum;
    }

    void take(const double *matrix, const Indices &which) {
        square_.resize(which.size() * which.size());
        double *to = square_.data();
        for (const std::size_t i : which)
            for (const std::size_t j : which) *to++ = matrix[i * task_.size + j];
    }

    const SolveTask task_;
    Indices kept_, pruned_;
    std::vector<double> square_, right_, solution_;
};

}  // namespace

bool solves_pruned(std::size_t kept, std::size_t pruned) { return pruned < kept; }

void keep_solve(const SolveTask &task, unsigned threads) {
    share(task.count, threads, [&]() { return Row(task); });
}

}  // namespace spikecore::sbc
