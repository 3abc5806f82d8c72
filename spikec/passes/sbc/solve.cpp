// The best values of kept weights by one symmetric solve a row.
#include "solve.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "lanes.hpp"
#include "workers.hpp"

namespace spikecore::sbc {

namespace {

using Indices = std::vector<std::size_t>;

using Doubles = double __attribute__((vector_size(64), may_alias, aligned(8)));
constexpr std::size_t kDoubles = 8;

// Four registers of sums, so that an addition need not wait for the one before.
SPIKEC_INLINE double dot(const double *a, const double *b, std::size_t size) {
    Doubles sums[4] = {};
    std::size_t i = 0;
    for (; i + 4 * kDoubles <= size; i += 4 * kDoubles)
        for (std::size_t v = 0; v < 4; ++v)
            sums[v] += reinterpret_cast<const Doubles *>(a + i)[v] * reinterpret_cast<const Doubles *>(b + i)[v];
    for (; i + kDoubles <= size; i += kDoubles)
        sums[0] += *reinterpret_cast<const Doubles *>(a + i) * *reinterpret_cast<const Doubles *>(b + i);
    const Doubles whole = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double sum = 0;
    for (std::size_t v = 0; v < kDoubles; ++v) sum += whole[v];
    for (; i < size; ++i) sum += a[i] * b[i];
    return sum;
}

// Solves A x = b in place for a symmetric positive definite A (lower triangle used, overwritten by its factor).
SPIKEC_INLINE bool solve_any(double *a, double *b, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
        double *row = a + i * size;
        for (std::size_t j = 0; j < i; ++j) row[j] = (row[j] - dot(row, a + j * size, j)) / a[j * size + j];
        const double left = row[i] - dot(row, row, i);
        if (!(left > 0)) return false;
        row[i] = std::sqrt(left);
        b[i] = (b[i] - dot(row, b, i)) / row[i];
    }
    for (std::size_t i = size; i-- > 0;) {
        b[i] /= a[i * size + i];
        for (std::size_t j = 0; j < i; ++j) b[j] -= a[i * size + j] * b[i];
    }
    return true;
}

struct Kernels {
    bool (*solve)(double *a, double *b, std::size_t size);
    double (*dot)(const double *a, const double *b, std::size_t size);
};

#define SPIKEC_VERSION(name, target)                                                                        \
    target bool solve_##name(double *a, double *b, std::size_t size) { return solve_any(a, b, size); }      \
    target double dot_##name(const double *a, const double *b, std::size_t size) { return dot(a, b, size); } \
    constexpr Kernels k_##name{solve_##name, dot_##name};

SPIKEC_VERSION(plain, )
#if defined(SPIKEC_X86)
SPIKEC_VERSION(avx2, SPIKEC_AVX2)
SPIKEC_VERSION(avx512, SPIKEC_AVX512)
#else
constexpr Kernels k_avx2 = k_plain, k_avx512 = k_plain;
#endif

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
        vector_.assign(task_.size, 0.0);
        for (const std::size_t p : pruned_) vector_[p] = w[p];
        right_.clear();
        for (const std::size_t k : kept_) right_.push_back(over(task_.damped, k));
        solve();
        for (std::size_t i = 0; i < kept_.size(); ++i) out[kept_[i]] += right_[i];
    }

    void by_pruned(const double *w, double *out) {
        take(task_.inverse, pruned_);
        right_.clear();
        for (const std::size_t p : pruned_) right_.push_back(w[p]);
        solve();
        vector_.assign(task_.size, 0.0);
        for (std::size_t i = 0; i < pruned_.size(); ++i) vector_[pruned_[i]] = right_[i];
        for (const std::size_t k : kept_) out[k] -= over(task_.inverse, k);
    }

    // One row of a matrix times the vector.
    double over(const double *matrix, std::size_t row) const {
        return kernels_.dot(matrix + row * task_.size, vector_.data(), task_.size);
    }

    // The lower triangle of the matrix over some columns.
    void take(const double *matrix, const Indices &which) {
        square_.resize(which.size() * which.size());
        for (std::size_t i = 0; i < which.size(); ++i)
            for (std::size_t j = 0; j <= i; ++j)
                square_[i * which.size() + j] = matrix[which[i] * task_.size + which[j]];
    }

    void solve() {
        if (!kernels_.solve(square_.data(), right_.data(), right_.size()))
            throw std::invalid_argument("the damped Hessian is not positive definite");
    }

    const SolveTask task_;
    Indices kept_, pruned_;
    const Kernels kernels_ = best_version(k_avx512, k_avx2, k_plain);
    std::vector<double> square_, right_, vector_;
};

}  // namespace

bool solves_pruned(std::size_t kept, std::size_t pruned) { return pruned < kept; }

void keep_solve(const SolveTask &task, unsigned threads) {
    share(task.count, threads, [&]() { return Row(task); });
}

}  // namespace spikecore::sbc
