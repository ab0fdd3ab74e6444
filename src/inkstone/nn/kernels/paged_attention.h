// Attention to keys and values that lie in blocks of 16 tokens.
//
// Of each key/value head a block holds the keys as (D, 16) and then the values as (16, D). Keys are read four blocks at
// a time, aligned to their positions, whatever a query may see of them; so a query's result does not depend on the
// queries beside it.
#pragma once

#include <algorithm>
#include <cstring>

#include "vectors.h"

constexpr int64_t BLOCK = 16;                   // tokens
constexpr int STRETCH = 4;                      // blocks that are read together
constexpr int MOST_QUERIES = 4;                 // computed at once
constexpr int64_t KEYS = BLOCK * STRETCH;
constexpr int64_t MOST_HEAD_DIM = 256;

// One query of one attention head.
struct Query {
    const float* values;   // (D,), scaled
    float* result;         // (D,)
    int64_t first, last;   // keys [first, last] are seen
};

// results[r] += weights[r] · values, for W vectors of their components.
template <int R, int W, typename Kept>
ALWAYS_INLINE inline void add_values(const Kept* const (&kept)[STRETCH], const float (&weights)[R][KEYS],
                                     float (&results)[R][MOST_HEAD_DIM], int64_t part, int64_t num_keys,
                                     int64_t head_dim) {
    __m512 total[R][W];
    repeat<R>(EACH(r) { repeat<W>(EACH(i) { total[r][i] = _mm512_load_ps(results[r] + (part + i) * LANES); }); });
    for (int64_t key = 0; key < num_keys; ++key) {
        const Kept* values = kept[key / BLOCK] + head_dim * BLOCK + key % BLOCK * head_dim + part * LANES;
        __m512 v[W];
        repeat<W>(EACH(i) { v[i] = load16(values + i * LANES); });
        repeat<R>(EACH(r) {
            const __m512 weight = _mm512_set1_ps(weights[r][key]);
            repeat<W>(EACH(i) { total[r][i] = _mm512_fmadd_ps(weight, v[i], total[r][i]); });
        });
    }
    repeat<R>(EACH(r) { repeat<W>(EACH(i) { _mm512_store_ps(results[r] + (part + i) * LANES, total[r][i]); }); });
}

// R queries of attention heads that share a key/value head, and of one sequence.
template <int R, typename Kept>
void attend_rows(const Query* queries, const Kept* const* blocks, int64_t num_blocks, const Kept* nothing,
                 int64_t head_dim) {
    alignas(64) float results[R][MOST_HEAD_DIM];
    alignas(64) float weights[R][KEYS];
    __m512 most[R], sum[R];
    int64_t first = queries[0].first, last = queries[0].last;
    const int64_t parts = (head_dim + LANES - 1) / LANES;
    for (int r = 0; r < R; ++r) {
        most[r] = _mm512_set1_ps(-1e30f), sum[r] = _mm512_setzero_ps();
        std::memset(results[r], 0, parts * LANES * sizeof(float));
        first = std::min(first, queries[r].first), last = std::max(last, queries[r].last);
    }
    for (int64_t start = first / KEYS * KEYS; start <= last; start += KEYS) {
        const Kept* kept[STRETCH];
        repeat<STRETCH>(EACH(b) {
            const int64_t block = start / BLOCK + b;
            kept[b] = block < num_blocks ? blocks[block] : nothing;
        });
        __m512 scores[R][STRETCH];
        repeat<R>(EACH(r) { repeat<STRETCH>(EACH(b) { scores[r][b] = _mm512_setzero_ps(); }); });
        for (int64_t d = 0; d < head_dim; ++d) {
            __m512 keys[STRETCH];
            repeat<STRETCH>(EACH(b) { keys[b] = load16(kept[b] + d * BLOCK); });
            repeat<R>(EACH(r) {
                const __m512 value = _mm512_set1_ps(queries[r].values[d]);
                repeat<STRETCH>(EACH(b) { scores[r][b] = _mm512_fmadd_ps(value, keys[b], scores[r][b]); });
            });
        }
        repeat<R>(EACH(r) {
            const int64_t from = queries[r].first - start, to = queries[r].last + 1 - start;
            __mmask16 seen[STRETCH];
            __m512 greatest = most[r];
            repeat<STRETCH>(EACH(b) {
                seen[b] = first_lanes(to - b * BLOCK) & ~first_lanes(from - b * BLOCK);
                greatest = _mm512_mask_max_ps(greatest, seen[b], greatest, scores[r][b]);
            });
            greatest = _mm512_set1_ps(_mm512_reduce_max_ps(greatest));
            const __m512 fade = exp16(_mm512_sub_ps(most[r], greatest));
            most[r] = greatest;
            sum[r] = _mm512_mul_ps(sum[r], fade);
            repeat<STRETCH>(EACH(b) {
                const __m512 weight = _mm512_maskz_mov_ps(seen[b], exp16(_mm512_sub_ps(scores[r][b], greatest)));
                sum[r] = _mm512_add_ps(sum[r], weight);
                _mm512_store_ps(weights[r] + b * BLOCK, weight);
            });
            for (int64_t part = 0; part < parts; ++part) {
                float* at = results[r] + part * LANES;
                _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), fade));
            }
        });
        const int64_t num_keys = std::min(KEYS, last + 1 - start);
        int64_t part = 0;
        for (; part + 4 <= parts; part += 4) add_values<R, 4>(kept, weights, results, part, num_keys, head_dim);
        for (; part < parts; ++part) add_values<R, 1>(kept, weights, results, part, num_keys, head_dim);
    }
    for (int r = 0; r < R; ++r) {
        const float total = _mm512_reduce_add_ps(sum[r]);
        const __m512 inverse = _mm512_set1_ps(total > 0.0f ? 1.0f / total : 0.0f);
        for (int64_t part = 0; part < parts; ++part) {
            const __mmask16 mask = first_lanes(head_dim - part * LANES);
            _mm512_mask_storeu_ps(queries[r].result + part * LANES, mask,
                                  _mm512_mul_ps(_mm512_load_ps(results[r] + part * LANES), inverse));
        }
    }
}

template <typename Kept>
void attend(const Query* queries, int64_t count, const Kept* const* blocks, int64_t num_blocks, const Kept* nothing,
            int64_t head_dim) {
    for (; count >= MOST_QUERIES; count -= MOST_QUERIES, queries += MOST_QUERIES)
        attend_rows<MOST_QUERIES>(queries, blocks, num_blocks, nothing, head_dim);
    switch (count) {
        case 1:
            return attend_rows<1>(queries, blocks, num_blocks, nothing, head_dim);
        case 2:
            return attend_rows<2>(queries, blocks, num_blocks, nothing, head_dim);
        case 3:
            return attend_rows<3>(queries, blocks, num_blocks, nothing, head_dim);
    }
}
