// One step of a decoder, all sequences together: token ids in, logits out, keys and values kept in blocks.
//
// Letters: N rows (tokens of the step), C hidden_size, H attention heads, K key/value heads, D head dim,
// I intermediate_size, V vocabulary. A layer is five pieces of work, between which the threads meet: norm and joint
// query/key/value product; attention; output product; gate/up product; down product. With few rows every thread
// normalizes all of them for itself, which is cheaper than to wait for the others.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "paged_attention.h"
#include "products.h"
#include "team.h"

extern "C" {

struct Shape {
    int64_t num_threads, num_layers, hidden_size, num_heads, num_kv_heads, head_dim, intermediate_size, vocab_size;
    int64_t context, num_blocks, rotary_dim;
    int64_t is_layer_norm;     // else root mean square
    int64_t normalizes_after;  // what a part adds, instead of what it reads
    int64_t qk_norm;           // 0 none, 1 of each attention head, 2 of all at once
    int64_t is_gated, activation;
    int64_t kept;              // keys and values as float32, float16 or int8
    float norm_eps;
    // (context, rotary_dim / 2)
    const float *cos, *sin;
    // (V, C) and, where positions are learned, (context, C): float32 or bfloat16 bits
    const void *embedding, *positions;
    int64_t embedding_is_bfloat16;
};

struct MatrixSource {
    int64_t format, outputs, inputs;
    const void *values, *scales;
    const float* bias;
};

struct LayerSource {
    const float *norm, *norm_bias, *q_norm, *k_norm, *second_norm, *second_norm_bias;
    MatrixSource qkv, output, up, down;  // up is gate and up in turns, 32 outputs each, where there is a gate
    int64_t turns, window;               // window 0: everything is seen
    float scale;                         // of attention scores
};

// The tokens of a step. Sequence s has the rows [first_row[s], first_row[s + 1]), which follow past[s] tokens, and the
// blocks tables[first_block[s]] … tables[first_block[s + 1] - 1].
struct StepInput {
    int64_t num_threads, num_rows, num_sequences, num_logits;
    const int64_t *token_ids, *first_row, *past, *first_block, *tables, *logit_rows;
    float* logits;       // (num_logits, V)
    int64_t* likeliest;  // (num_logits,)
};

}  // extern "C"

namespace {

enum KeptAs : int64_t { KEPT_FLOAT32 = 0, KEPT_FLOAT16 = 1, KEPT_INT8 = 2 };

// body(a value of the type that keys and values are kept as)
template <typename Body>
auto with_kept(int64_t kept, Body body) {
    switch (kept) {
        case KEPT_FLOAT32:
            return body(float{});
        case KEPT_FLOAT16:
            return body(Half{});
        default:
            return body(Level{});
    }
}

constexpr int64_t FEW_ROWS = 8;
constexpr int64_t TILE = 48;  // queries that read the same keys and values, one stretch after the other

struct Layer {
    std::vector<float> norm, norm_bias, q_norm, k_norm, second_norm, second_norm_bias;
    Matrix qkv, output, up, down;
    bool turns;
    int64_t window;
    float scale;
};

std::vector<float> copied(const float* values, int64_t size) {
    return values ? std::vector<float>(values, values + size) : std::vector<float>();
}

// Memory that grows.
template <typename T>
struct Scratch {
    std::unique_ptr<T, decltype(&std::free)> memory{nullptr, &std::free};
    int64_t capacity = 0;
    T* get(int64_t size) {
        if (size > capacity) {
            memory.reset(static_cast<T*>(std::aligned_alloc(64, rounded_up(size * sizeof(T), 64))));
            capacity = size;
        }
        return memory.get();
    }
};

// Rows to multiply, as the next matrix wants them.
struct Prepared {
    Scratch<float> floats, scales;
    Scratch<int8_t> levels;
    Scratch<int32_t> sums;
    Rows rows;

    void reserve(const Matrix& matrix, int64_t num_rows) {
        const int64_t padded = matrix.padded_inputs(), groups = padded / GROUP;
        rows.stride = padded;
        if (matrix.is_quantized()) {
            rows.levels = levels.get(num_rows * padded);
            rows.scales = scales.get(num_rows * groups);
            rows.sums = sums.get(num_rows * groups);
        }
    }
    void quantize(const Matrix& matrix, const float* row, int64_t index) {
        const int64_t padded = matrix.padded_inputs(), groups = padded / GROUP;
        quantize_row(row, matrix.inputs, padded, rows.levels + index * padded, rows.scales + index * groups,
                     rows.sums + index * groups);
    }
};

class Decoder {
   public:
    Decoder(const Shape& shape, const float* norm, const float* norm_bias, const MatrixSource& head)
        : shape_(shape), team_(static_cast<int>(shape.num_threads)) {
        const int64_t half = shape.rotary_dim / 2;
        cos_ = copied(shape.cos, shape.context * half), sin_ = copied(shape.sin, shape.context * half);
        norm_ = copied(norm, shape.hidden_size), norm_bias_ = copied(norm_bias, shape.hidden_size);
        layers_.resize(shape.num_layers);
        own_.resize(shape.num_threads);
        block_bytes_ = shape.num_kv_heads * with_kept(shape.kept, [&](auto kept) {
            return HeadBlock<decltype(kept)>::bytes(shape.head_dim);
        });
        // One block more, of zeros, for what lies beyond a sequence's end.
        layer_bytes_ = block_bytes_ * (shape.num_blocks + 2);
        kept_bytes_ = layer_bytes_ * shape.num_layers + 4096;
        void* kept = mmap(nullptr, kept_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (kept == MAP_FAILED) throw std::bad_alloc();
        madvise(kept, kept_bytes_, MADV_HUGEPAGE);
        kept_ = static_cast<char*>(kept);
        pack(head_, head);
    }

    ~Decoder() {
        for (Layer& layer : layers_)
            for (Matrix* matrix : {&layer.qkv, &layer.output, &layer.up, &layer.down}) matrix->release();
        head_.release();
        munmap(kept_, kept_bytes_);
    }

    void set_layer(int64_t index, const LayerSource& source) { take(layers_[index], source); }

    void copy_block(int64_t from, int64_t to) {
        for (int64_t layer = 0; layer < shape_.num_layers; ++layer) {
            char* base = kept_ + layer * layer_bytes_;
            std::memcpy(base + to * block_bytes_, base + from * block_bytes_, block_bytes_);
        }
    }

    void step(const StepInput& input) {
        num_rows_ = input.num_rows;
        input_ = &input;
        states_ = states_memory_.get(num_rows_ * shape_.hidden_size);
        qkv_width_ = (shape_.num_heads + 2 * shape_.num_kv_heads) * shape_.head_dim;
        qkv_ = qkv_memory_.get(num_rows_ * qkv_width_);
        context_ = context_memory_.get(num_rows_ * shape_.num_heads * shape_.head_dim);
        inner_ = inner_memory_.get(num_rows_ * shape_.intermediate_size);
        added_ = added_memory_.get(shape_.normalizes_after ? num_rows_ * shape_.hidden_size : 1);
        find_sequences();
        team_.run(static_cast<int>(input.num_threads), [this](int thread) { work(thread); });
    }

   private:
    void take(Layer& layer, const LayerSource& source) {
        const int64_t width = shape_.hidden_size, heads = shape_.num_heads, kv_heads = shape_.num_kv_heads;
        const int64_t each = shape_.qk_norm == 2 ? 1 : 0;
        layer.norm = copied(source.norm, width), layer.norm_bias = copied(source.norm_bias, width);
        layer.second_norm = copied(source.second_norm, width);
        layer.second_norm_bias = copied(source.second_norm_bias, width);
        layer.q_norm = copied(source.q_norm, shape_.head_dim * (each ? heads : 1));
        layer.k_norm = copied(source.k_norm, shape_.head_dim * (each ? kv_heads : 1));
        pack(layer.qkv, source.qkv), pack(layer.output, source.output);
        pack(layer.up, source.up), pack(layer.down, source.down);
        layer.turns = source.turns, layer.window = source.window, layer.scale = source.scale;
    }

    static void pack(Matrix& matrix, const MatrixSource& source) {
        matrix.pack(source.format, source.outputs, source.inputs, source.values, source.scales, source.bias);
    }

    // The rows that one thread works on where each is worked on alone.
    std::pair<int64_t, int64_t> share(int thread, int64_t total) const {
        const int64_t size = (total + team_.size() - 1) / team_.size();
        return {std::min(total, thread * size), std::min(total, (thread + 1) * size)};
    }

    void find_sequences() {
        sequence_of_.resize(num_rows_), position_of_.resize(num_rows_);
        is_decoding_ = true;
        for (int64_t s = 0; s < input_->num_sequences; ++s) {
            const int64_t first = input_->first_row[s], last = input_->first_row[s + 1];
            if (last - first > 1) is_decoding_ = false;
            for (int64_t row = first; row < last; ++row) {
                sequence_of_[row] = s;
                position_of_[row] = input_->past[s] + row - first;
            }
        }
    }

    void work(int thread) {
        embed(thread);
        team_.meet();
        for (int64_t index = 0; index < shape_.num_layers; ++index) {
            const Layer& layer = layers_[index];
            const bool before = !shape_.normalizes_after;
            multiply(thread, layer.qkv, states_, shape_.hidden_size, before ? &layer.norm : nullptr, &layer.norm_bias,
                     num_rows_, Into{qkv_, qkv_width_, layer.qkv.outputs});
            team_.meet();
            attention(thread, layer, index);
            team_.meet();
            part(thread, layer.output, context_, shape_.num_heads * shape_.head_dim, layer.norm);
            if (shape_.is_gated) {
                multiply(thread, layer.up, states_, shape_.hidden_size, before ? &layer.second_norm : nullptr,
                         &layer.second_norm_bias, num_rows_,
                         Gated{inner_, shape_.intermediate_size, shape_.activation});
            } else {
                multiply(thread, layer.up, states_, shape_.hidden_size, before ? &layer.second_norm : nullptr,
                         &layer.second_norm_bias, num_rows_,
                         Activated{inner_, shape_.intermediate_size, shape_.activation});
            }
            team_.meet();
            part(thread, layer.down, inner_, shape_.intermediate_size, layer.second_norm);
        }
        head(thread);
    }

    void embed(int thread) {
        const int64_t width = shape_.hidden_size;
        const auto [first, last] = share(thread, num_rows_);
        for (int64_t row = first; row < last; ++row) {
            float* state = states_ + row * width;
            read_row(shape_.embedding, input_->token_ids[row], state);
            if (shape_.positions) {
                float* place = own_[thread].row.get(width);
                read_row(shape_.positions, position_of_[row], place);
                for (int64_t i = 0; i < width; ++i) state[i] += place[i];
            }
        }
    }

    void read_row(const void* table, int64_t index, float* to) const {
        const int64_t width = shape_.hidden_size;
        if (!shape_.embedding_is_bfloat16) {
            std::memcpy(to, static_cast<const float*>(table) + index * width, width * sizeof(float));
            return;
        }
        const uint16_t* from = static_cast<const uint16_t*>(table) + index * width;
        for (int64_t i = 0; i < width; ++i) {
            const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
            std::memcpy(to + i, &bits, 4);
        }
    }

    void normalize(const float* from, float* to, const std::vector<float>& weight, const std::vector<float>& bias,
                   int64_t width) const {
        float mean = 0.0f;
        if (shape_.is_layer_norm) {
            __m512 total = _mm512_setzero_ps();
            for (int64_t i = 0; i < width; i += LANES)
                total = _mm512_add_ps(total, _mm512_maskz_loadu_ps(first_lanes(width - i), from + i));
            mean = _mm512_reduce_add_ps(total) / width;
        }
        const __m512 center = _mm512_set1_ps(mean);
        __m512 squares = _mm512_setzero_ps();
        for (int64_t i = 0; i < width; i += LANES) {
            const __mmask16 mask = first_lanes(width - i);
            const __m512 value = _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, from + i), center);
            squares = _mm512_fmadd_ps(value, value, squares);
        }
        const __m512 scale = _mm512_set1_ps(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / width + shape_.norm_eps));
        for (int64_t i = 0; i < width; i += LANES) {
            const __mmask16 mask = first_lanes(width - i);
            const __m512 value = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, from + i), center);
            __m512 result = _mm512_mul_ps(_mm512_mul_ps(value, scale), _mm512_maskz_loadu_ps(mask, weight.data() + i));
            if (!bias.empty()) result = _mm512_add_ps(result, _mm512_maskz_loadu_ps(mask, bias.data() + i));
            _mm512_mask_storeu_ps(to + i, mask, result);
        }
    }

    // Where products go: (N, width), the outputs [0, size) of each row.
    struct Into {
        float* to;
        int64_t width, size;
        void operator()(int64_t row, int64_t panel, const __m512 (&total)[PARTS]) const {
            for (int part = 0; part < PARTS; ++part) {
                const int64_t at = panel * PANEL + part * LANES;
                _mm512_mask_storeu_ps(to + row * width + at, first_lanes(size - at), total[part]);
            }
        }
    };

    struct Added {
        float* to;
        int64_t size;
        void operator()(int64_t row, int64_t panel, const __m512 (&total)[PARTS]) const {
            for (int part = 0; part < PARTS; ++part) {
                const int64_t at = panel * PANEL + part * LANES;
                const __mmask16 mask = first_lanes(size - at);
                float* place = to + row * size + at;
                _mm512_mask_storeu_ps(place, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, place), total[part]));
            }
        }
    };

    struct Activated {
        float* to;
        int64_t size, activation;
        void operator()(int64_t row, int64_t panel, const __m512 (&total)[PARTS]) const {
            for (int part = 0; part < PARTS; ++part) {
                const int64_t at = panel * PANEL + part * LANES;
                _mm512_mask_storeu_ps(to + row * size + at, first_lanes(size - at), activate16(total[part], activation));
            }
        }
    };

    // The halves of a panel are the gate and the input of the same outputs.
    struct Gated {
        float* to;
        int64_t size, activation;
        void operator()(int64_t row, int64_t panel, const __m512 (&total)[PARTS]) const {
            for (int part = 0; part < PARTS / 2; ++part) {
                const int64_t at = panel * PANEL / 2 + part * LANES;
                const __m512 value = _mm512_mul_ps(activate16(total[part], activation), total[part + PARTS / 2]);
                _mm512_mask_storeu_ps(to + row * size + at, first_lanes(size - at), value);
            }
        }
    };

    // Every row of `from`, normalized if there is a norm, times the matrix.
    template <typename Sink>
    void multiply(int thread, const Matrix& matrix, const float* from, int64_t width, const std::vector<float>* norm,
                  const std::vector<float>* bias, int64_t num_rows, Sink sink) {
        const bool few = num_rows <= FEW_ROWS;
        Prepared& prepared = few ? own_[thread].prepared : shared_;
        if (few || thread == 0) {
            prepared.reserve(matrix, num_rows);
            if (norm && !matrix.is_quantized()) prepared.floats.get(num_rows * width);
        }
        if (!few) team_.meet();
        const auto [first, last] = few ? std::pair<int64_t, int64_t>(0, num_rows) : share(thread, num_rows);
        for (int64_t row = first; row < last; ++row) {
            const float* values = from + row * width;
            if (norm) {
                float* normalized = matrix.is_quantized() ? own_[thread].row.get(rounded_up(width, GROUP))
                                                          : prepared.floats.memory.get() + row * width;
                normalize(values, normalized, *norm, *bias, width);
                values = normalized;
            }
            if (matrix.is_quantized()) prepared.quantize(matrix, values, row);
        }
        if (!few) team_.meet();
        Rows rows = prepared.rows;
        if (!matrix.is_quantized()) rows.floats = norm ? prepared.floats.memory.get() : from, rows.stride = width;
        multiply_all(matrix, rows, num_rows, sink);
    }

    template <typename Sink>
    void multiply_all(const Matrix& matrix, const Rows& rows, int64_t num_rows, Sink& sink) {
        const int64_t panels = matrix.panels();
        const int64_t count = team_.size() == 1 ? panels : std::max<int64_t>(1, panels / (team_.size() * 8));
        for (int64_t first = team_.take(count); first < panels; first = team_.take(count))
            for (int64_t panel = first; panel < std::min(panels, first + count); ++panel)
                multiply_panel(matrix, panel, rows, num_rows, sink);
    }

    // states += from · matrix, what is added normalized where the model does that.
    void part(int thread, const Matrix& matrix, const float* from, int64_t width, const std::vector<float>& norm) {
        static const std::vector<float> no_bias;
        if (!shape_.normalizes_after) {
            multiply(thread, matrix, from, width, nullptr, nullptr, num_rows_, Added{states_, shape_.hidden_size});
            team_.meet();
            return;
        }
        multiply(thread, matrix, from, width, nullptr, nullptr, num_rows_,
                 Into{added_, shape_.hidden_size, shape_.hidden_size});
        team_.meet();
        const auto [first, last] = share(thread, num_rows_);
        for (int64_t row = first; row < last; ++row) {
            float* added = added_ + row * shape_.hidden_size;
            normalize(added, added, norm, no_bias, shape_.hidden_size);
            for (int64_t i = 0; i < shape_.hidden_size; ++i) states_[row * shape_.hidden_size + i] += added[i];
        }
        team_.meet();
    }

    void attention(int thread, const Layer& layer, int64_t index) {
        with_kept(shape_.kept, [&](auto kept) { attention_in<decltype(kept)>(thread, layer, kept_ + index * layer_bytes_); });
    }

    template <typename Kept>
    void attention_in(int thread, const Layer& layer, char* kept) {
        if (shape_.qk_norm == 2) {  // over all heads: before the heads are dealt out
            const auto [first, last] = share(thread, num_rows_);
            for (int64_t row = first; row < last; ++row) normalize_all_heads(layer, qkv_ + row * qkv_width_);
            team_.meet();
        }
        const int64_t kv_heads = shape_.num_kv_heads;
        if (is_decoding_) {
            const int64_t total = num_rows_ * kv_heads;
            for (int64_t task = team_.take(1); task < total; task = team_.take(1)) {
                const int64_t row = task / kv_heads, head = task % kv_heads;
                store<Kept>(layer, kept, row, head);
                attend_tile<Kept>(thread, layer, kept, sequence_of_[row], row, row + 1, head);
            }
            return;
        }
        const auto [first, last] = share(thread, num_rows_);
        for (int64_t row = first; row < last; ++row)
            for (int64_t head = 0; head < kv_heads; ++head) store<Kept>(layer, kept, row, head);
        team_.meet();
        // Longest first: the last rows of a chunk see most.
        const int64_t tile = std::max<int64_t>(1, TILE * kv_heads / shape_.num_heads);
        int64_t total = 0;
        for (int64_t s = 0; s < input_->num_sequences; ++s)
            total += (input_->first_row[s + 1] - input_->first_row[s] + tile - 1) / tile * kv_heads;
        int64_t s = 0, begin = 0;
        for (int64_t task = team_.take(1); task < total; task = team_.take(1)) {
            int64_t size;
            while (task >= begin + (size = (input_->first_row[s + 1] - input_->first_row[s] + tile - 1) / tile * kv_heads))
                begin += size, ++s;
            const int64_t place = (size - 1 - (task - begin)) / kv_heads, head = (task - begin) % kv_heads;
            const int64_t row = input_->first_row[s] + place * tile;
            attend_tile<Kept>(thread, layer, kept, s, row, std::min(row + tile, input_->first_row[s + 1]), head);
        }
    }

    void normalize_all_heads(const Layer& layer, float* qkv) const {
        static const std::vector<float> no_bias;
        const int64_t queries = shape_.num_heads * shape_.head_dim, keys = shape_.num_kv_heads * shape_.head_dim;
        normalize(qkv, qkv, layer.q_norm, no_bias, queries);
        normalize(qkv + queries, qkv + queries, layer.k_norm, no_bias, keys);
    }

    void turn(float* head, int64_t position) const {
        const int64_t half = shape_.rotary_dim / 2;
        const float *cos = cos_.data() + position * half, *sin = sin_.data() + position * half;
        for (int64_t i = 0; i < half; ++i) {
            const float first = head[i], second = head[i + half];
            head[i] = first * cos[i] - second * sin[i];
            head[i + half] = second * cos[i] + first * sin[i];
        }
    }

    // Finish a row's queries of one key/value head, and keep its key and value.
    template <typename Kept>
    void store(const Layer& layer, char* kept, int64_t row, int64_t head) const {
        static const std::vector<float> no_bias;
        const int64_t dim = shape_.head_dim, heads = shape_.num_heads, group = heads / shape_.num_kv_heads;
        float* qkv = qkv_ + row * qkv_width_;
        float *key = qkv + (heads + head) * dim, *value = qkv + (heads + shape_.num_kv_heads + head) * dim;
        const int64_t position = position_of_[row];
        for (int64_t g = 0; g < group; ++g) {
            float* query = qkv + (head * group + g) * dim;
            if (shape_.qk_norm == 1) normalize(query, query, layer.q_norm, no_bias, dim);
            if (layer.turns) turn(query, position);
            for (int64_t d = 0; d < dim; ++d) query[d] *= layer.scale;
        }
        if (shape_.qk_norm == 1) normalize(key, key, layer.k_norm, no_bias, dim);
        if (layer.turns) turn(key, position);
        const int64_t* table = input_->tables + input_->first_block[sequence_of_[row]];
        char* block = kept + table[position / BLOCK] * block_bytes_ + head * HeadBlock<Kept>::bytes(dim);
        keep_token<Kept>(block, position % BLOCK, key, value, dim);
    }

    template <typename Kept>
    void attend_tile(int thread, const Layer& layer, const char* kept, int64_t s, int64_t first, int64_t last,
                     int64_t head) {
        const int64_t dim = shape_.head_dim, group = shape_.num_heads / shape_.num_kv_heads;
        const int64_t at_head = head * HeadBlock<Kept>::bytes(dim);
        const int64_t* table = input_->tables + input_->first_block[s];
        const int64_t num_blocks = position_of_[last - 1] / BLOCK + 1;
        auto& pointers = own_[thread].blocks;
        pointers.resize(num_blocks);
        for (int64_t b = 0; b < num_blocks; ++b) pointers[b] = kept + table[b] * block_bytes_ + at_head;
        const char* nothing = kept + (shape_.num_blocks + 1) * block_bytes_ + at_head;
        auto& queries = own_[thread].queries;
        queries.clear();
        for (int64_t row = first; row < last; ++row) {
            const int64_t position = position_of_[row];
            const int64_t seen = layer.window ? std::max<int64_t>(0, position + 1 - layer.window) : 0;
            for (int64_t g = 0; g < group; ++g) {
                const int64_t at = (head * group + g) * dim;
                queries.push_back({qkv_ + row * qkv_width_ + at, context_ + row * shape_.num_heads * dim + at, seen,
                                   position});
            }
        }
        const int64_t count = static_cast<int64_t>(queries.size());
        float* unpacked = own_[thread].unpacked.get(STRETCH * 2 * BLOCK * dim + LANES);
        attend<Kept>(queries.data(), count, pointers.data(), num_blocks, nothing, dim, own_[thread].running.get(count),
                     unpacked);
    }

    void head(int thread) {
        const int64_t width = shape_.hidden_size, num_logits = input_->num_logits;
        if (num_logits == 0) return;
        if (thread == 0) {
            wanted_ = wanted_memory_.get(num_logits * width);
            for (int64_t i = 0; i < num_logits; ++i)
                std::memcpy(wanted_ + i * width, states_ + input_->logit_rows[i] * width, width * sizeof(float));
        }
        team_.meet();
        multiply(thread, head_, wanted_, width, &norm_, &norm_bias_, num_logits,
                 Into{input_->logits, shape_.vocab_size, shape_.vocab_size});
        team_.meet();
        const auto [first, last] = share(thread, num_logits);
        for (int64_t i = first; i < last; ++i) input_->likeliest[i] = likeliest(input_->logits + i * shape_.vocab_size);
    }

    // The first of the greatest logits; -1 where one is no number.
    int64_t likeliest(const float* logits) const {
        const int64_t size = shape_.vocab_size;
        __m512 most = _mm512_set1_ps(-INFINITY);
        __mmask16 broken = 0;
        for (int64_t i = 0; i < size; i += LANES) {
            const __mmask16 mask = first_lanes(size - i);
            const __m512 value = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), mask, logits + i);
            broken |= _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
            most = _mm512_max_ps(most, value);
        }
        if (broken) return -1;
        const __m512 greatest = _mm512_set1_ps(_mm512_reduce_max_ps(most));
        for (int64_t i = 0; i < size; i += LANES) {
            const __mmask16 mask = first_lanes(size - i);
            const __m512 value = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), mask, logits + i);
            const __mmask16 hits = _mm512_cmp_ps_mask(value, greatest, _CMP_EQ_OQ) & mask;
            if (hits) return i + __builtin_ctz(hits);
        }
        return 0;
    }

    struct Own {
        Prepared prepared;
        Scratch<float> row, unpacked;
        Scratch<Running> running;
        std::vector<const char*> blocks;
        std::vector<Query> queries;
    };

    Shape shape_;
    Team team_;
    std::vector<float> cos_, sin_, norm_, norm_bias_;
    std::vector<Layer> layers_;
    Matrix head_;
    std::vector<Own> own_;
    Prepared shared_;
    char* kept_ = nullptr;
    int64_t kept_bytes_ = 0, block_bytes_ = 0, layer_bytes_ = 0;
    // Of the current step.
    const StepInput* input_ = nullptr;
    int64_t num_rows_ = 0, qkv_width_ = 0;
    bool is_decoding_ = true;
    std::vector<int64_t> sequence_of_, position_of_;
    Scratch<float> states_memory_, qkv_memory_, context_memory_, inner_memory_, added_memory_, wanted_memory_;
    float *states_ = nullptr, *qkv_ = nullptr, *context_ = nullptr, *inner_ = nullptr, *added_ = nullptr;
    float* wanted_ = nullptr;
};

}  // namespace

extern "C" {

// Shape and sources are copied but for the embeddings, which must live as long as the decoder. Null where memory ran out.
void* decoder_new(const Shape* shape, const float* norm, const float* norm_bias, const MatrixSource* head) try {
    return new Decoder(*shape, norm, norm_bias, *head);
} catch (const std::bad_alloc&) {
    return nullptr;
}

// Whether there was memory for it.
bool decoder_set_layer(void* decoder, int64_t index, const LayerSource* source) try {
    static_cast<Decoder*>(decoder)->set_layer(index, *source);
    return true;
} catch (const std::bad_alloc&) {
    return false;
}

void decoder_free(void* decoder) { delete static_cast<Decoder*>(decoder); }

void decoder_copy_block(void* decoder, int64_t from, int64_t to) { static_cast<Decoder*>(decoder)->copy_block(from, to); }

void decoder_step(void* decoder, const StepInput* input) { static_cast<Decoder*>(decoder)->step(*input); }

}  // extern "C"
