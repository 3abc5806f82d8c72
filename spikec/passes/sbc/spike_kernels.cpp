// The inner loops of the Hessian of spikes.
#include "spike_kernels.hpp"

#include <cstring>

#if defined(SPIKEC_X86)
#include <immintrin.h>
#endif

namespace spikecore::sbc {

namespace {

SPIKEC_INLINE const Lanes &at(const float *part, std::uint16_t row) {
    return *reinterpret_cast<const Lanes *>(reinterpret_cast<const char *>(part) + row);
}

// Each chunk's sum is its own, in two halves: floats are added to sums of their own size, which loses least.
template <bool Graded>
SPIKEC_INLINE void add_columns(const Piece &piece) {
    const Lists &lists = *piece.lists;
    const std::uint16_t *row = lists.row.data();
    const float *value = lists.value.data(), *part = piece.part;
    const std::uint32_t *first = lists.first.data(), *column = lists.column.data();
    float *sums = piece.sums;
    for (const std::uint32_t *end = first + piece.columns; first != end; ++first, ++column) {
        Lanes even{}, odd{};
        for (std::uint32_t n = first[0]; n < first[1]; n += kTurn) {
            for (std::size_t k = 0; k < kTurn; k += 2) {
                const Lanes &one = at(part, row[n + k]), &other = at(part, row[n + k + 1]);
                even += Graded ? one * value[n + k] : one;
                odd += Graded ? other * value[n + k + 1] : other;
            }
        }
        *reinterpret_cast<Lanes *>(sums + *column * kLanes) += even + odd;
    }
}

SPIKEC_INLINE void add_any(const Piece &piece) {
    if (piece.lists->value.empty())
        add_columns<false>(piece);
    else
        add_columns<true>(piece);
}

SPIKEC_INLINE void flush_any(float *sums, std::size_t apart, double *into) {
    using Halves = float __attribute__((vector_size(32), may_alias));
    using Doubles = double __attribute__((vector_size(64), may_alias, aligned(8)));
    for (std::size_t p = 0; p < kParts; ++p) {
        Halves *part = reinterpret_cast<Halves *>(sums + p * apart);
        for (std::size_t h = 0; h < 2; ++h) {
            reinterpret_cast<Doubles *>(into)[2 * p + h] += __builtin_convertvector(part[h], Doubles);
            part[h] = Halves{};
        }
    }
}

// Rows of X, as one bit or one value a column.
struct Bits {
    const std::uint64_t *masks;
    SPIKEC_INLINE void operator()(std::size_t t, Lanes *x) const {
        using Ints = std::uint32_t __attribute__((vector_size(64)));
        constexpr Ints kBits = {1,      1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
        for (std::size_t r = 0; r < kParts; ++r) {
            const auto mask = static_cast<std::uint32_t>(masks[t] >> (r * kLanes));
            x[r] = (kBits & mask) != 0 ? Lanes{} + 1.0F : Lanes{};
        }
    }
};

template <typename Value>
struct Rows {
    const Value *given;
    std::size_t stride, width;
    SPIKEC_INLINE void operator()(std::size_t t, Lanes *x) const {
        float values[kWide] = {};
        for (std::size_t c = 0; c < width; ++c) values[c] = static_cast<float>(given[t * stride + c]);
        std::memcpy(x, values, sizeof values);
    }
};

// z = M^T M x: the membrane forward in time, then backward. What a float lacks of a decay near 1 would add up over the
// steps: it is a term of its own.
template <bool Current, typename Given>
SPIKEC_INLINE void filter_as(const Given &given, const Filter filter) {
    const float a_mem = static_cast<float>(filter.a_mem), less_mem = static_cast<float>(filter.a_mem - a_mem);
    const float a_syn = static_cast<float>(filter.a_syn), less_syn = static_cast<float>(filter.a_syn - a_syn);
    Lanes u[kParts] = {}, v[kParts] = {}, x[kParts];
    const auto step = [&](Lanes *out) __attribute__((always_inline)) {
        for (std::size_t r = 0; r < kParts; ++r) {
            const Lanes arrived = filter.gain * x[r];
            u[r] = Current ? a_syn * u[r] + (less_syn * u[r] + arrived) : arrived;
            v[r] = a_mem * v[r] + (less_mem * v[r] + u[r]);
            *reinterpret_cast<Lanes *>(reinterpret_cast<float *>(out) + r * filter.part) = v[r];
        }
    };
    for (std::size_t t = 0; t < filter.steps; ++t) {
        given(t, x);
        step(reinterpret_cast<Lanes *>(filter.out + t * kLanes));
    }
    for (std::size_t r = 0; r < kParts; ++r) u[r] = v[r] = Lanes{};
    for (std::size_t t = filter.steps; t-- > 0;) {
        float *row = filter.out + t * kLanes;
        for (std::size_t r = 0; r < kParts; ++r) x[r] = *reinterpret_cast<Lanes *>(row + r * filter.part);
        step(reinterpret_cast<Lanes *>(row));
    }
}

template <typename Given>
SPIKEC_INLINE void filter_any(const Given &given, const Filter &filter) {
    if (filter.a_syn != 0)
        filter_as<true>(given, filter);
    else
        filter_as<false>(given, filter);
}

inline std::uint64_t find_plain(const std::uint8_t *bytes) {
    constexpr std::uint64_t kLow = 0x7f7f7f7f7f7f7f7f;
    std::uint64_t mask = 0;
    for (std::size_t w = 0; w < 8; ++w) {
        std::uint64_t word;
        std::memcpy(&word, bytes + 8 * w, sizeof word);
        const std::uint64_t high = ((((word & kLow) + kLow) | word) & ~kLow) >> 7;  // 1 in each byte that is not 0
        mask |= (high * 0x0102040810204080 >> 56) << (8 * w);
    }
    return mask;
}

#if defined(SPIKEC_X86)
SPIKEC_AVX2 inline std::uint64_t find_avx2(const std::uint8_t *bytes) {
    const auto half = [](const std::uint8_t *from) SPIKEC_AVX2 {
        const __m256i zero = _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)),
                                               _mm256_setzero_si256());
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm256_movemask_epi8(zero)));
    };
    return ~(half(bytes) | half(bytes + 32) << 32);
}
#endif

#define SPIKEC_VERSION(name, target, find)                                                                      \
    target void bits_##name(const std::uint64_t *masks, const Filter &filter) { filter_any(Bits{masks}, filter); } \
    target void bytes_##name(const std::uint8_t *given, const Filter &filter) {                                 \
        filter_any(Rows<std::uint8_t>{given, filter.stride, filter.width}, filter);                             \
    }                                                                                                           \
    target void floats_##name(const float *given, const Filter &filter) {                                       \
        filter_any(Rows<float>{given, filter.stride, filter.width}, filter);                                    \
    }                                                                                                           \
    target void add_##name(const Piece &piece) { add_any(piece); }                                              \
    target void flush_##name(float *sums, std::size_t apart, double *into) { flush_any(sums, apart, into); }    \
    constexpr SpikeKernels k_##name{bits_##name, bytes_##name, floats_##name, add_##name, flush_##name, find};

SPIKEC_VERSION(plain, , find_plain)
#if defined(SPIKEC_X86)
SPIKEC_VERSION(avx2, SPIKEC_AVX2, find_avx2)
SPIKEC_VERSION(avx512, SPIKEC_AVX512, find_avx2)
#else
constexpr const SpikeKernels &k_avx2 = k_plain, &k_avx512 = k_plain;
#endif

}  // namespace

const SpikeKernels &spike_kernels() { return *best_version(&k_avx512, &k_avx2, &k_plain); }

}  // namespace spikecore::sbc
