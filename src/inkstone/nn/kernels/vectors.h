// Sixteen floats at a time.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

constexpr int LANES = 16;

#define ALWAYS_INLINE __attribute__((always_inline))

template <int... I, typename Body>
ALWAYS_INLINE inline void repeat_each(std::integer_sequence<int, I...>, Body& body) {
    (body(std::integral_constant<int, I>{}), ...);
}

// body(0) … body(N - 1), written out: arrays of sums whose indices the compiler knows stay in registers.
template <int N, typename Body>
ALWAYS_INLINE inline void repeat(Body body) {
    repeat_each(std::make_integer_sequence<int, N>{}, body);
}

#define EACH(index) [&](auto index) ALWAYS_INLINE

// sums += levels (16 · 4, unsigned) times values (16 · 4, signed), four products a sum. The intrinsic would do, but GCC 12
// copies every sum at every turn of a loop.
ALWAYS_INLINE inline void add_products(__m512i& sums, __m512i levels, __m512i values) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(levels), "v"(values));
}

inline __mmask16 first_lanes(int64_t count) {
    return count >= LANES ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1u << (count < 0 ? 0 : count)) - 1);
}

// exp(x) within two units in the last place; 0 below -104, infinity above 88.7.
inline __m512 exp16(__m512 x) {
    const __m512 low = _mm512_set1_ps(-104.0f), high = _mm512_set1_ps(89.0f);
    x = _mm512_max_ps(_mm512_min_ps(x, high), low);
    const __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.442695041f)),
                                              _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), x);
    rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(-2.12194440e-4f), rest);
    __m512 power = _mm512_set1_ps(1.9875691500e-4f);
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(1.3981999507e-3f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(8.3334519073e-3f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(4.1665795894e-2f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(1.6666665459e-1f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(5.0000001201e-1f));
    power = _mm512_fmadd_ps(power, _mm512_mul_ps(rest, rest), _mm512_add_ps(rest, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(power, whole);
}

inline __m512 sigmoid16(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

enum Activation : int64_t { SILU = 0, GELU_TANH = 1, GELU = 2, RELU = 3 };

inline __m512 activate16(__m512 x, int64_t activation) {
    switch (activation) {
        case SILU:
            return _mm512_mul_ps(x, sigmoid16(x));
        case GELU_TANH: {  // x/2 · (1 + tanh y) = x · sigmoid(2y)
            const __m512 cubic = _mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_mul_ps(x, _mm512_set1_ps(0.044715f)));
            const __m512 inner = _mm512_mul_ps(_mm512_add_ps(x, cubic), _mm512_set1_ps(1.5957691216057308f));
            return _mm512_mul_ps(x, sigmoid16(inner));
        }
        case RELU:
            return _mm512_max_ps(x, _mm512_setzero_ps());
        default: {
            alignas(64) float values[LANES];
            _mm512_store_ps(values, x);
            for (float& value : values) value *= 0.5f * (1.0f + std::erf(value * 0.70710678f));
            return _mm512_load_ps(values);
        }
    }
}

inline __m512 from_bf16(const uint16_t* values) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// What keys and values are kept as, if not as floats: float16, or levels of 8 bits with a scale for all of a token's.
struct Half {
    uint16_t bits;
};
struct Level {
    int8_t value;
};
template <typename Kept>
constexpr bool has_scales = std::is_same_v<Kept, Level>;

inline __m512 load16(const float* values) { return _mm512_loadu_ps(values); }
inline __m512 load16(const Half* values) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)));
}
inline __m512 load16(const Level* values) {
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(levels));
}

inline void keep16(float* to, __mmask16 mask, __m512 values) { _mm512_mask_storeu_ps(to, mask, values); }
inline void keep16(Half* to, __mmask16 mask, __m512 values) {
    // A finite half stays finite: what is masked is multiplied by zero.
    values = _mm512_max_ps(_mm512_min_ps(values, _mm512_set1_ps(65504.0f)), _mm512_set1_ps(-65504.0f));
    const __m256i halves = _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_mask_storeu_epi16(to, mask, halves);
}
inline void keep16(Level* to, __mmask16 mask, __m512 values) {
    _mm_mask_storeu_epi8(to, mask, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(values)));
}

// Keep `size` values of a token; returns their scale.
template <typename Kept>
inline float keep_row(Kept* to, const float* row, int64_t size) {
    float scale = 1.0f;
    if constexpr (has_scales<Kept>) {
        __m512 largest = _mm512_setzero_ps();
        for (int64_t i = 0; i < size; i += LANES)
            largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_loadu_ps(first_lanes(size - i), row + i)));
        scale = std::max(_mm512_reduce_max_ps(largest) / 127.0f, 1e-30f);
    }
    const __m512 inverse = _mm512_set1_ps(1.0f / scale);
    for (int64_t i = 0; i < size; i += LANES) {
        const __mmask16 mask = first_lanes(size - i);
        keep16(to + i, mask, _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row + i), inverse));
    }
    return scale;
}
