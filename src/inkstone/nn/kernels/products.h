// Matrices packed once, and products with a few or with many rows.
//
// An output is computed from the same numbers in the same order however many rows are multiplied together, so a row's
// results do not depend on the rows beside it.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "vectors.h"

enum Format : int64_t { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };

constexpr int64_t PANEL = 64;  // outputs that lie together
constexpr int64_t GROUP = 64;  // inputs that share a scale
constexpr int64_t MOST_ROWS = 6;  // multiplied at once
constexpr int64_t STRIP = 48;     // that meet a group of weights while it is at hand

inline int64_t rounded_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

inline void* allocate(size_t bytes) {
    bytes = rounded_up(std::max<size_t>(bytes, 1), size_t{1} << 21);
    void* memory = std::aligned_alloc(size_t{1} << 21, bytes);
    if (!memory) throw std::bad_alloc();
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

// W (outputs, inputs) in panels of 64 outputs. Of each panel, one after the other:
//   float32, bfloat16: the inputs, 64 outputs each;
//   int8: four inputs at a time, 64 outputs of 4 bytes each, level + 128;
//   int4: of each group, eight inputs at a time, 64 outputs of 4 bytes each, level + 8, the first four inputs in the low
//   half of the bytes; then the group's 64 scales in bfloat16.
struct Matrix {
    int64_t format = 0, outputs = 0, inputs = 0;
    char* values = nullptr;
    float* scales = nullptr;  // int8: of each output
    float* bias = nullptr;

    bool is_quantized() const { return format == INT8 || format == INT4; }
    int64_t panels() const { return (outputs + PANEL - 1) / PANEL; }
    int64_t padded_inputs() const { return is_quantized() ? rounded_up(inputs, GROUP) : inputs; }
    int64_t panel_bytes() const {
        switch (format) {
            case FLOAT32:
                return inputs * PANEL * 4;
            case BFLOAT16:
                return inputs * PANEL * 2;
            case INT8:
                return padded_inputs() * PANEL;
            default:
                return padded_inputs() / GROUP * (GROUP * PANEL / 2 + PANEL * 2);
        }
    }
    const char* panel(int64_t index) const { return values + index * panel_bytes(); }

    // `given`: float32, bfloat16 bits, or int8 levels, (outputs, inputs); `given_scales`: float32 (outputs,) for int8,
    // bfloat16 bits (outputs, groups) for int4.
    void pack(int64_t format_, int64_t outputs_, int64_t inputs_, const void* given, const void* given_scales,
              const float* given_bias) {
        format = format_, outputs = outputs_, inputs = inputs_;
        const int64_t padded = panels() * PANEL;
        values = static_cast<char*>(allocate(panels() * panel_bytes()));
        std::memset(values, 0, panels() * panel_bytes());
        if (given_bias) {
            bias = static_cast<float*>(std::aligned_alloc(64, padded * 4));
            std::memset(bias, 0, padded * 4);
            std::memcpy(bias, given_bias, outputs * 4);
        }
        if (format == INT8) {
            scales = static_cast<float*>(std::aligned_alloc(64, padded * 4));
            std::memset(scales, 0, padded * 4);
            std::memcpy(scales, given_scales, outputs * 4);
        }
        for (int64_t output = 0; output < outputs; ++output) {
            char* to = values + output / PANEL * panel_bytes();
            pack_row(to, output % PANEL, given, output, static_cast<const uint16_t*>(given_scales));
        }
    }

    void release() {
        std::free(values), std::free(scales), std::free(bias);
        values = nullptr, scales = bias = nullptr;
    }

   private:
    void pack_row(char* panel, int64_t place, const void* given, int64_t output, const uint16_t* group_scales) const {
        if (format == FLOAT32) {
            const float* row = static_cast<const float*>(given) + output * inputs;
            for (int64_t k = 0; k < inputs; ++k) reinterpret_cast<float*>(panel)[k * PANEL + place] = row[k];
        } else if (format == BFLOAT16) {
            const uint16_t* row = static_cast<const uint16_t*>(given) + output * inputs;
            for (int64_t k = 0; k < inputs; ++k) reinterpret_cast<uint16_t*>(panel)[k * PANEL + place] = row[k];
        } else if (format == INT8) {
            const int8_t* row = static_cast<const int8_t*>(given) + output * inputs;
            for (int64_t k = 0; k < padded_inputs(); ++k) {
                const int level = k < inputs ? row[k] : 0;
                panel[k / 4 * 4 * PANEL + place * 4 + k % 4] = static_cast<char>(level + 128);
            }
        } else {
            const int8_t* row = static_cast<const int8_t*>(given) + output * inputs;
            const int64_t groups = padded_inputs() / GROUP, group_bytes = GROUP * PANEL / 2 + PANEL * 2;
            for (int64_t group = 0; group < groups; ++group) {
                char* to = panel + group * group_bytes;
                for (int64_t j = 0; j < GROUP; ++j) {
                    const int64_t k = group * GROUP + j;
                    const int level = (k < inputs ? row[k] : 0) + 8;
                    char& byte = to[j / 8 * 4 * PANEL + place * 4 + j % 4];
                    byte = static_cast<char>(byte | (j % 8 < 4 ? level : level << 4));
                }
                reinterpret_cast<uint16_t*>(to + GROUP * PANEL / 2)[place] = group_scales[output * groups + group];
            }
        }
    }
};

// What a matrix is multiplied with: N rows as floats or, for quantized weights, as levels of 8 bits with a scale for
// every group of inputs.
struct Rows {
    int64_t stride = 0;        // of a row, in inputs
    const float* floats = nullptr;
    int8_t* levels = nullptr;
    float* scales = nullptr;   // (N, groups)
    int32_t* sums = nullptr;   // (N, groups), of levels
};

inline void quantize_row(const float* row, int64_t size, int64_t padded, int8_t* levels, float* scales, int32_t* sums) {
    for (int64_t first = 0; first < padded; first += GROUP, ++scales, ++sums) {
        __m512 parts[GROUP / LANES];
        __m512 largest = _mm512_setzero_ps();
        for (int part = 0; part < GROUP / LANES; ++part) {
            const int64_t at = first + part * LANES;
            parts[part] = _mm512_maskz_loadu_ps(first_lanes(size - at), row + at);
            largest = _mm512_max_ps(largest, _mm512_abs_ps(parts[part]));
        }
        const float most = _mm512_reduce_max_ps(largest);
        const float scale = most / 127.0f;
        const __m512 inverse = _mm512_set1_ps(most > 0.0f ? 127.0f / most : 0.0f);
        __m512i total = _mm512_setzero_si512();
        for (int part = 0; part < GROUP / LANES; ++part) {
            const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(parts[part], inverse));
            total = _mm512_add_epi32(total, whole);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(levels + first + part * LANES), _mm512_cvtsepi32_epi8(whole));
        }
        *scales = scale;
        *sums = _mm512_reduce_add_epi32(total);
    }
}

constexpr int PARTS = PANEL / LANES;

// What the products of R rows with a panel add up to: (R, 64), in memory, of which one group is added at a time.
template <int R>
struct Tile {
    const Rows& rows;
    int64_t first_row, groups;
    float (*sums)[PANEL];

    ALWAYS_INLINE void add_floats(const float* weights, int64_t group, int64_t num_inputs) const {
        add(group, num_inputs, [&](int part, int64_t k) ALWAYS_INLINE {
            return _mm512_load_ps(weights + k * PANEL + part * LANES);
        });
    }

    ALWAYS_INLINE void add_bfloats(const uint16_t* weights, int64_t group, int64_t num_inputs) const {
        add(group, num_inputs, [&](int part, int64_t k) ALWAYS_INLINE {
            return from_bf16(weights + k * PANEL + part * LANES);
        });
    }

    ALWAYS_INLINE void add_int8(const char* weights, int64_t group) const {
        __m512i counts[R][PARTS];
        begin(counts, group, -128);
        const int8_t* levels = rows.levels + first_row * rows.stride + group * GROUP;
        for (int64_t k = 0; k < GROUP; k += 4) {
            const char* at = weights + k * PANEL;
            ahead(at, GROUP * PANEL);
            __m512i w[PARTS];
            repeat<PARTS>(EACH(part) { w[part] = _mm512_load_si512(at + part * 64); });
            count(counts, w, levels + k);
        }
        end(counts, group, [](int) ALWAYS_INLINE { return _mm512_set1_ps(1.0f); });
    }

    ALWAYS_INLINE void add_int4(const char* weights, int64_t group) const {
        const __m512i low = _mm512_set1_epi8(15);
        __m512i counts[R][PARTS];
        begin(counts, group, -8);
        const int8_t* levels = rows.levels + first_row * rows.stride + group * GROUP;
        for (int64_t k = 0; k < GROUP; k += 8) {
            const char* at = weights + k * PANEL / 2;
            ahead(at, 2 * (GROUP * PANEL / 2 + PANEL * 2));
            __m512i w[PARTS];
            repeat<PARTS>(EACH(part) { w[part] = _mm512_and_si512(_mm512_loadu_si512(at + part * 64), low); });
            count(counts, w, levels + k);
            repeat<PARTS>(EACH(part) {
                w[part] = _mm512_and_si512(_mm512_srli_epi16(_mm512_loadu_si512(at + part * 64), 4), low);
            });
            count(counts, w, levels + k + 4);
        }
        const uint16_t* scales = reinterpret_cast<const uint16_t*>(weights + GROUP * PANEL / 2);
        end(counts, group, [&](int part) ALWAYS_INLINE { return from_bf16(scales + part * LANES); });
    }

   private:
    // Weights come from far, and in a known order: while a group is computed, a later one is on its way.
    static ALWAYS_INLINE void ahead(const char* at, int64_t distance) {
        repeat<PARTS>(EACH(part) { _mm_prefetch(at + distance + part * 64, _MM_HINT_T0); });
    }

    template <typename Weights>
    ALWAYS_INLINE void add(int64_t group, int64_t num_inputs, Weights weights) const {
        __m512 totals[R][PARTS];
        repeat<R>(EACH(r) {
            repeat<PARTS>(EACH(part) { totals[r][part] = _mm512_load_ps(sums[r] + part * LANES); });
        });
        const float* row = rows.floats + first_row * rows.stride + group * GROUP;
        for (int64_t k = 0; k < num_inputs; ++k) {
            __m512 w[PARTS];
            repeat<PARTS>(EACH(part) { w[part] = weights(part, k); });
            repeat<R>(EACH(r) {
                const __m512 value = _mm512_set1_ps(row[r * rows.stride + k]);
                repeat<PARTS>(EACH(part) { totals[r][part] = _mm512_fmadd_ps(value, w[part], totals[r][part]); });
            });
        }
        repeat<R>(EACH(r) {
            repeat<PARTS>(EACH(part) { _mm512_store_ps(sums[r] + part * LANES, totals[r][part]); });
        });
    }

    // Levels of weights are stored above zero; `offset` times the sum of the row's levels takes that back.
    ALWAYS_INLINE void begin(__m512i (&counts)[R][PARTS], int64_t group, int offset) const {
        repeat<R>(EACH(r) {
            const __m512i start = _mm512_set1_epi32(offset * rows.sums[(first_row + r) * groups + group]);
            repeat<PARTS>(EACH(part) { counts[r][part] = start; });
        });
    }

    ALWAYS_INLINE void count(__m512i (&counts)[R][PARTS], const __m512i (&w)[PARTS], const int8_t* levels) const {
        repeat<R>(EACH(r) {
            int32_t four;
            std::memcpy(&four, levels + r * rows.stride, 4);
            const __m512i value = _mm512_set1_epi32(four);
            repeat<PARTS>(EACH(part) { add_products(counts[r][part], w[part], value); });
        });
    }

    template <typename Scales>
    ALWAYS_INLINE void end(const __m512i (&counts)[R][PARTS], int64_t group, Scales scales) const {
        repeat<PARTS>(EACH(part) {
            const __m512 own = scales(part);
            repeat<R>(EACH(r) {
                const __m512 scale = _mm512_mul_ps(own, _mm512_set1_ps(rows.scales[(first_row + r) * groups + group]));
                float* sum = sums[r] + part * LANES;
                _mm512_store_ps(sum, _mm512_fmadd_ps(_mm512_cvtepi32_ps(counts[r][part]), scale, _mm512_load_ps(sum)));
            });
        });
    }
};

// Adds a group's products of some rows.
template <int64_t FORMAT, int R>
inline void add_group(const Matrix& matrix, const char* panel, int64_t group, const Rows& rows, int64_t row,
                      float (*sums)[PANEL]) {
    const Tile<R> tile{rows, row, matrix.padded_inputs() / GROUP, sums};
    const int64_t num_inputs = std::min(GROUP, matrix.inputs - group * GROUP);
    if constexpr (FORMAT == FLOAT32) {
        tile.add_floats(reinterpret_cast<const float*>(panel) + group * GROUP * PANEL, group, num_inputs);
    } else if constexpr (FORMAT == BFLOAT16) {
        tile.add_bfloats(reinterpret_cast<const uint16_t*>(panel) + group * GROUP * PANEL, group, num_inputs);
    } else if constexpr (FORMAT == INT8) {
        tile.add_int8(panel + group * GROUP * PANEL, group);
    } else {
        tile.add_int4(panel + group * (GROUP * PANEL / 2 + PANEL * 2), group);
    }
}

// The products of rows with a panel, (count, 64): a group of weights meets all rows while it is at hand.
template <int64_t FORMAT>
inline void add_panel(const Matrix& matrix, const char* panel, const Rows& rows, int64_t first, int64_t count,
                      float (*sums)[PANEL]) {
    std::memset(sums, 0, count * sizeof(*sums));
    for (int64_t group = 0; group * GROUP < matrix.inputs; ++group) {
        int64_t row = 0;
        for (; row + MOST_ROWS <= count; row += MOST_ROWS)
            add_group<FORMAT, MOST_ROWS>(matrix, panel, group, rows, first + row, sums + row);
        repeat<MOST_ROWS - 1>(EACH(fewer) {
            if (count - row == fewer + 1)
                add_group<FORMAT, fewer + 1>(matrix, panel, group, rows, first + row, sums + row);
        });
    }
}

inline void add_panel(const Matrix& matrix, int64_t panel, const Rows& rows, int64_t first, int64_t count,
                      float (*sums)[PANEL]) {
    switch (matrix.format) {
        case FLOAT32:
            return add_panel<FLOAT32>(matrix, matrix.panel(panel), rows, first, count, sums);
        case BFLOAT16:
            return add_panel<BFLOAT16>(matrix, matrix.panel(panel), rows, first, count, sums);
        case INT8:
            return add_panel<INT8>(matrix, matrix.panel(panel), rows, first, count, sums);
        default:
            return add_panel<INT4>(matrix, matrix.panel(panel), rows, first, count, sums);
    }
}

// Calls sink(row, panel, total) with the 64 outputs of every row, bias included.
template <typename Sink>
inline void multiply_panel(const Matrix& matrix, int64_t panel, const Rows& rows, int64_t num_rows, Sink& sink) {
    alignas(64) float sums[STRIP][PANEL];
    for (int64_t first = 0; first < num_rows; first += STRIP) {
        const int64_t count = std::min(STRIP, num_rows - first);
        add_panel(matrix, panel, rows, first, count, sums);
        for (int64_t row = 0; row < count; ++row) {
            __m512 total[PARTS];
            repeat<PARTS>(EACH(part) {
                const int64_t at = panel * PANEL + part * LANES;
                total[part] = _mm512_load_ps(sums[row] + part * LANES);
                if (matrix.scales) total[part] = _mm512_mul_ps(total[part], _mm512_load_ps(matrix.scales + at));
                if (matrix.bias) total[part] = _mm512_add_ps(total[part], _mm512_load_ps(matrix.bias + at));
            });
            sink(first + row, panel, total);
        }
    }
}
