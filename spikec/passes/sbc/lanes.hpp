#pragma once

// Sixteen floats that an inner loop works on at once, and how its versions for wider registers are named.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <new>

#if !defined(__GNUC__)
#error "the core is built with GCC or Clang"
#endif

// For bodies that are compiled once a version: inlined into a function of each target.
#define SPIKEC_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__)
#define SPIKEC_X86 1
#define SPIKEC_AVX2 __attribute__((target("avx2,fma")))
#define SPIKEC_AVX512 __attribute__((target("avx512f")))
#endif

namespace spikecore::sbc {

using Lanes = float __attribute__((vector_size(64), may_alias));
inline constexpr std::size_t kLanes = 16;

// Floats at the beginning of a register.
class Floats {
public:
    explicit Floats(std::size_t size) : data_(static_cast<float *>(::operator new(size * sizeof(float), kAlign))) {}
    Floats(Floats &&other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    Floats(const Floats &) = delete;
    ~Floats() { ::operator delete(data_, kAlign); }
    float *data() const { return data_; }
    float &operator[](std::size_t i) const { return data_[i]; }

private:
    static constexpr std::align_val_t kAlign{64};
    float *data_;
};

// The versions of a loop, of which the best one that the processor runs is used; 3 at most, or less for a test.
inline std::atomic<int> best_allowed{3};

inline int best_known() {
#if defined(SPIKEC_X86)
    if (__builtin_cpu_supports("avx512f")) return 3;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 2;
#endif
    return 1;
}

template <typename T>
T best_version(T avx512, T avx2, T plain) {
    const int best = std::min(best_allowed.load(), best_known());
    return best == 3 ? avx512 : best == 2 ? avx2 : plain;
}

}  // namespace spikecore::sbc
