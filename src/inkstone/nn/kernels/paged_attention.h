// Attention to keys and values that lie in blocks of 16 tokens.
//
// Of each key/value head a block holds the keys as (D, 16), then the values as (16, D), and where they are levels of 8
// bits, the 16 scales of the keys and the 16 of the values. Keys are read four blocks at a time, aligned to their
// positions, whatever a query may see of them; so a query's result does not depend on the queries beside it.
#pragma once

#include <algorithm>
#include <cstring>

#include "vectors.h"

constexpr int64_t BLOCK = 16;      // tokens
constexpr int STRETCH = 4;         // blocks that are read together
constexpr int MOST_QUERIES = 6;    // computed at once
constexpr int64_t KEYS = BLOCK * STRETCH;
constexpr int64_t MOST_HEAD_DIM = 256;

// One query of one attention head.
struct Query {
    const float* values;   // (D,), scaled
    float* result;         // (D,)
    int64_t first, last;   // keys [first, last] are seen
};

// What is known of a query after some of its keys.
struct Running {
    alignas(64) float result[MOST_HEAD_DIM];  // to be divided by the sum
    __m512 most, sum;
};

// Keys and values of a head, as they are kept in a block or as floats that were unpacked from it.
template <typename Kept>
struct HeadBlock {
    const Kept* keys;     // (D, 16)
    const Kept* values;   // (16, D)
    const float* scales;  // of 16 keys, then of 16 values

    static constexpr int64_t bytes(int64_t head_dim) {
        return 2 * BLOCK * head_dim * static_cast<int64_t>(sizeof(Kept)) + (has_scales<Kept> ? 2 * BLOCK * 4 : 0);
    }
    static HeadBlock at(const char* place, int64_t head_dim) {
        const Kept* keys = reinterpret_cast<const Kept*>(place);
        return {keys, keys + BLOCK * head_dim, reinterpret_cast<const float*>(keys + 2 * BLOCK * head_dim)};
    }
};

// Keep a token's key and value in a slot of a block.
template <typename Kept>
void keep_token(char* block, int64_t slot, const float* key, const float* value, int64_t head_dim) {
    Kept* keys = reinterpret_cast<Kept*>(block);
    float* scales = reinterpret_cast<float*>(keys + 2 * BLOCK * head_dim);
    Kept turned[MOST_HEAD_DIM];
    const float key_scale = keep_row(turned, key, head_dim);
    const float value_scale = keep_row(keys + (BLOCK + slot) * head_dim, value, head_dim);
    for (int64_t d = 0; d < head_dim; ++d) keys[d * BLOCK + slot] = turned[d];
    if constexpr (has_scales<Kept>) scales[slot] = key_scale, scales[BLOCK + slot] = value_scale;
}

// results[r] += weights[r] · values, for W vectors of their components.
template <int R, int W, typename Kept>
ALWAYS_INLINE inline void add_values(const HeadBlock<Kept> (&kept)[STRETCH], const float (&weights)[R][KEYS],
                                     Running* running, int64_t part, int64_t num_keys, int64_t head_dim) {
    __m512 total[R][W];
    repeat<R>(EACH(r) { repeat<W>(EACH(i) { total[r][i] = _mm512_load_ps(running[r].result + (part + i) * LANES); }); });
    for (int64_t key = 0; key < num_keys; ++key) {
        const Kept* values = kept[key / BLOCK].values + key % BLOCK * head_dim + part * LANES;
        __m512 v[W];
        repeat<W>(EACH(i) { v[i] = load16(values + i * LANES); });
        repeat<R>(EACH(r) {
            const __m512 weight = _mm512_set1_ps(weights[r][key]);
            repeat<W>(EACH(i) { total[r][i] = _mm512_fmadd_ps(weight, v[i], total[r][i]); });
        });
    }
    repeat<R>(EACH(r) { repeat<W>(EACH(i) { _mm512_store_ps(running[r].result + (part + i) * LANES, total[r][i]); }); });
}

// R queries of attention heads that share a key/value head, and the keys [start, start + 64).
template <int R, bool SCALED, typename Kept>
void attend_stretch(const Query* queries, Running* running, const HeadBlock<Kept> (&kept)[STRETCH], int64_t start,
                    int64_t head_dim) {
    alignas(64) float weights[R][KEYS];
    __m512 scores[R][STRETCH];
    repeat<R>(EACH(r) { repeat<STRETCH>(EACH(b) { scores[r][b] = _mm512_setzero_ps(); }); });
    for (int64_t d = 0; d < head_dim; ++d) {
        __m512 keys[STRETCH];
        repeat<STRETCH>(EACH(b) { keys[b] = load16(kept[b].keys + d * BLOCK); });
        repeat<R>(EACH(r) {
            const __m512 value = _mm512_set1_ps(queries[r].values[d]);
            repeat<STRETCH>(EACH(b) { scores[r][b] = _mm512_fmadd_ps(value, keys[b], scores[r][b]); });
        });
    }
    const int64_t parts = (head_dim + LANES - 1) / LANES;
    int64_t last = start;
    repeat<R>(EACH(r) {
        const int64_t from = queries[r].first - start, to = queries[r].last + 1 - start;
        last = std::max(last, queries[r].last + 1);
        __mmask16 seen[STRETCH];
        __m512 greatest = running[r].most;
        repeat<STRETCH>(EACH(b) {
            if constexpr (SCALED) scores[r][b] = _mm512_mul_ps(scores[r][b], _mm512_loadu_ps(kept[b].scales));
            seen[b] = first_lanes(to - b * BLOCK) & ~first_lanes(from - b * BLOCK);
            greatest = _mm512_mask_max_ps(greatest, seen[b], greatest, scores[r][b]);
        });
        greatest = _mm512_set1_ps(_mm512_reduce_max_ps(greatest));
        const __m512 fade = exp16(_mm512_sub_ps(running[r].most, greatest));
        running[r].most = greatest;
        __m512 sum = _mm512_mul_ps(running[r].sum, fade);
        repeat<STRETCH>(EACH(b) {
            __m512 weight = _mm512_maskz_mov_ps(seen[b], exp16(_mm512_sub_ps(scores[r][b], greatest)));
            sum = _mm512_add_ps(sum, weight);
            if constexpr (SCALED) weight = _mm512_mul_ps(weight, _mm512_loadu_ps(kept[b].scales + BLOCK));
            _mm512_store_ps(weights[r] + b * BLOCK, weight);
        });
        running[r].sum = sum;
        for (int64_t part = 0; part < parts; ++part) {
            float* at = running[r].result + part * LANES;
            _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), fade));
        }
    });
    const int64_t num_keys = std::min(KEYS, last - start);
    int64_t part = 0;
    for (; part + 4 <= parts; part += 4) add_values<R, 4>(kept, weights, running, part, num_keys, head_dim);
    for (; part < parts; ++part) add_values<R, 1>(kept, weights, running, part, num_keys, head_dim);
}

// The same for all queries that see one of these keys, some at a time.
template <bool SCALED, typename Kept>
void attend_all(const Query* queries, Running* running, int64_t count, const HeadBlock<Kept> (&kept)[STRETCH],
                int64_t start, int64_t head_dim) {
    for (int64_t index = 0; index < count; index += MOST_QUERIES) {
        const int64_t size = std::min<int64_t>(MOST_QUERIES, count - index);
        bool is_seen = false;
        for (int64_t i = index; i < index + size; ++i)
            is_seen |= queries[i].first < start + KEYS && queries[i].last >= start;
        if (!is_seen) continue;
        repeat<MOST_QUERIES>(EACH(fewer) {
            if (size == fewer + 1)
                attend_stretch<fewer + 1, SCALED>(queries + index, running + index, kept, start, head_dim);
        });
    }
}

// Attention of queries of heads that share a key/value head, and of one sequence.
//
// `blocks`: where the head's part of each block lies. `nothing`: a block of zeros, for what is beyond them. `running`:
// `count` of them. `unpacked`: (4, 2, 16, D), for queries that are worth unpacking the keys and values for.
template <typename Kept>
void attend(const Query* queries, int64_t count, const char* const* blocks, int64_t num_blocks, const char* nothing,
            int64_t head_dim, Running* running, float* unpacked) {
    constexpr bool scaled = has_scales<Kept>;
    const int64_t parts = (head_dim + LANES - 1) / LANES;
    int64_t first = queries[0].first, last = queries[0].last;
    for (int64_t i = 0; i < count; ++i) {
        running[i].most = _mm512_set1_ps(-1e30f), running[i].sum = _mm512_setzero_ps();
        std::memset(running[i].result, 0, parts * LANES * sizeof(float));
        first = std::min(first, queries[i].first), last = std::max(last, queries[i].last);
    }
    for (int64_t start = first / KEYS * KEYS; start <= last; start += KEYS) {
        HeadBlock<Kept> kept[STRETCH];
        repeat<STRETCH>(EACH(b) {
            const int64_t block = start / BLOCK + b;
            kept[b] = HeadBlock<Kept>::at(block < num_blocks ? blocks[block] : nothing, head_dim);
        });
        if constexpr (!std::is_same_v<Kept, float>) {
            if (count > MOST_QUERIES) {
                const int64_t size = 2 * BLOCK * head_dim;
                HeadBlock<float> floats[STRETCH];
                repeat<STRETCH>(EACH(b) {
                    float* to = unpacked + b * size;
                    for (int64_t i = 0; i < size; i += LANES) _mm512_store_ps(to + i, load16(kept[b].keys + i));
                    floats[b] = {to, to + size / 2, kept[b].scales};
                });
                attend_all<scaled>(queries, running, count, floats, start, head_dim);
                continue;
            }
        }
        attend_all<scaled>(queries, running, count, kept, start, head_dim);
    }
    for (int64_t i = 0; i < count; ++i) {
        const float total = _mm512_reduce_add_ps(running[i].sum);
        const __m512 inverse = _mm512_set1_ps(total > 0.0f ? 1.0f / total : 0.0f);
        for (int64_t part = 0; part < parts; ++part) {
            const __mmask16 mask = first_lanes(head_dim - part * LANES);
            _mm512_mask_storeu_ps(queries[i].result + part * LANES, mask,
                                  _mm512_mul_ps(_mm512_load_ps(running[i].result + part * LANES), inverse));
        }
    }
}
