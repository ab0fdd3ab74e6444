// One Llama block in float32, forward and backward, for CPU training.
//
// Every thread takes whole runs of tokens (a run attends only within itself) and carries a few hundred rows at a time
// through the whole block, so that what one step of the block writes is still in the thread's cache when the next
// reads it, and threads meet once per pass. Matrix products are the caller's sgemm, one thread each.
//
// Letters: N rows, C hidden_size, H attention heads, K key/value heads, D head dim, I intermediate_size. A row of
// `qkv` is (H + 2K)·D wide: queries, keys, values. A row of `gate_up` is 2·I wide. All matrices are row-major;
// weights are (outputs, inputs). An adapter of rank R (LoRA, arXiv:2106.09685, eq. 3) adds scaling · B·A to a weight.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <omp.h>

extern "C" {

using Sgemm = void (*)(const char* transa, const char* transb, const int* m, const int* n, const int* k,
                       const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
                       const float* beta, float* c, const int* ldc);

// The low-rank update of one weight: a (R, inputs), b (outputs, R); null where there is none.
struct Adapter {
    const float *a, *b;
    int64_t rank;
    float scaling;
};

struct Block {
    Sgemm sgemm;
    int64_t num_threads;
    int64_t hidden_size, num_heads, num_kv_heads, head_dim, intermediate_size;
    float norm_eps;
    // Row r is rotated by row r % rope_rows of cos and sin, each D wide.
    int64_t rope_rows;
    const float *cos, *sin;
    // Runs are the rows [runs[i], runs[i + 1]).
    int64_t num_runs;
    const int64_t* runs;
    // Weights; q_norm and k_norm may be null.
    const float *input_norm, *q, *k, *v, *o, *post_norm, *gate, *up, *down, *q_norm, *k_norm;
    Adapter q_adapter, k_adapter, v_adapter, o_adapter, gate_adapter, up_adapter, down_adapter;
};

// Gradients of the weights; null where none is wanted.
struct Gradients {
    float *input_norm, *q, *k, *v, *o, *post_norm, *gate, *up, *down, *q_norm, *k_norm;
    float *q_a, *q_b, *k_a, *k_b, *v_a, *v_b, *o_a, *o_b, *gate_a, *gate_b, *up_a, *up_b, *down_a, *down_b;
};

// How many values each weight has, in the order of Gradients.
struct Counts {
    int64_t input_norm, q, k, v, o, post_norm, gate, up, down, q_norm, k_norm;
    int64_t q_a, q_b, k_a, k_b, v_a, v_b, o_a, o_b, gate_a, gate_b, up_a, up_b, down_a, down_b;
};

// What the forward pass keeps for the backward pass.
struct Saved {
    float *qkv;      // (N, (H + 2K)·D), before norm and rotation
    float *context;  // (N, H·D), what attention found
    float *middle;   // (N, C), after attention
    float *gate_up;  // (N, 2·I)
    // (N, R) each, what an adapter's A makes of its inputs, scaled.
    float *q_low, *k_low, *v_low, *o_low, *gate_low, *up_low, *down_low;
};

}  // extern "C"

namespace {

constexpr int64_t CHUNK_ROWS = 256;
constexpr int64_t QUERY_ROWS = 64;
constexpr int NUM_WEIGHTS = sizeof(Gradients) / sizeof(float*);
// Which gradients grow row by row, and so must start at zero.
constexpr bool NORMS[NUM_WEIGHTS] = {true, false, false, false, false, true, false, false, false, true, true};

float* weight_of(const Gradients& gradients, int index) { return (&gradients.input_norm)[index]; }

void clear(float* values, int64_t size) {
    if (values) std::memset(values, 0, size * sizeof(float));
}

struct Scratch {
    std::vector<float> values;
    float* get(int64_t size) {
        if (static_cast<int64_t>(values.size()) < size) values.resize(size);
        return values.data();
    }
};

// c (m, n) = alpha · op(a) · op(b) + beta · c, row-major.
inline void product(Sgemm sgemm, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                    const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
    const int rows = static_cast<int>(m), columns = static_cast<int>(n), depth = static_cast<int>(k);
    const int step_a = static_cast<int>(lda), step_b = static_cast<int>(ldb), step_c = static_cast<int>(ldc);
    sgemm(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &columns, &rows, &depth, &alpha, b, &step_b, a, &step_a,
          &beta, c, &step_c);
}

// exp(x) for x ≤ 0 within two units in the last place; branch-free, so that compilers vectorize it.
inline float exp_nonpositive(float x) {
    x = std::max(x, -87.0f);
    const float shifted = x * 1.442695041f + 12582912.0f;
    const float whole = shifted - 12582912.0f;
    const float rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float power = 1.9875691500e-4f;
    power = power * rest + 1.3981999507e-3f;
    power = power * rest + 8.3334519073e-3f;
    power = power * rest + 4.1665795894e-2f;
    power = power * rest + 1.6666665459e-1f;
    power = power * rest + 5.0000001201e-1f;
    power = power * rest * rest + rest + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    const int32_t exponent = (bits - 0x4B400000 + 127) << 23;
    float scale;
    std::memcpy(&scale, &exponent, sizeof scale);
    return power * scale;
}

inline float sigmoid(float x) {
    const float small = exp_nonpositive(-std::fabs(x));
    return (x >= 0 ? 1.0f : small) / (1.0f + small);
}

// y = x / sqrt(mean(x²) + eps) · weight; returns the factor.
inline float rms_norm(const float* x, const float* weight, int64_t size, float eps, float* y) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; ++i) sum += x[i] * x[i];
    const float scale = 1.0f / std::sqrt(sum / static_cast<float>(size) + eps);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) y[i] = weight[i] * (x[i] * scale);
    return scale;
}

// dx = gradient of rms_norm in x (added to `residual` where that is not null); dweight grows.
inline void rms_norm_backward(const float* x, const float* weight, const float* dy, const float* residual, int64_t size,
                              float eps, float* dx, float* dweight) {
    float squares = 0, dot = 0;
#pragma omp simd reduction(+ : squares, dot)
    for (int64_t i = 0; i < size; ++i) {
        squares += x[i] * x[i];
        dot += dy[i] * weight[i] * x[i];
    }
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(size) + eps);
    const float pull = dot * scale * scale * scale / static_cast<float>(size);
    if (dweight)
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) dweight[i] += dy[i] * x[i] * scale;
    if (residual)
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) dx[i] = residual[i] + scale * dy[i] * weight[i] - pull * x[i];
    else
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) dx[i] = scale * dy[i] * weight[i] - pull * x[i];
}

// "Rotate half" by the angles of one row; `direction` -1 turns back.
inline void rotate(const float* x, const float* cos, const float* sin, int64_t head_dim, float direction, float* y) {
    const int64_t half = head_dim / 2;
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
        const float first = x[i], second = x[i + half], turn = direction * sin[i];
        y[i] = first * cos[i] - second * turn;
        y[i + half] = second * cos[i] + first * turn;
    }
}

struct Sizes {
    int64_t C, H, K, D, I, heads, qkv;
    explicit Sizes(const Block& b)
        : C(b.hidden_size), H(b.num_heads), K(b.num_kv_heads), D(b.head_dim), I(b.intermediate_size),
          heads(b.num_heads * b.head_dim), qkv((b.num_heads + 2 * b.num_kv_heads) * b.head_dim) {}
};

// A thread's share of the runs, by rows: runs whose first row lies in its part.
struct Share {
    int64_t first, last;
    Share(const Block& b, int64_t thread, int64_t num_threads) {
        const int64_t rows = b.runs[b.num_runs];
        first = boundary(b, rows * thread / num_threads);
        last = boundary(b, rows * (thread + 1) / num_threads);
    }
    static int64_t boundary(const Block& b, int64_t row) {
        return std::lower_bound(b.runs, b.runs + b.num_runs, row) - b.runs;
    }
};

// Calls `work(first_run, last_run)` for consecutive runs of about CHUNK_ROWS rows.
template <typename Work>
void in_chunks(const Block& b, const Share& share, Work work) {
    for (int64_t first = share.first; first < share.last;) {
        int64_t last = first + 1;
        while (last < share.last && b.runs[last + 1] - b.runs[first] <= CHUNK_ROWS) ++last;
        work(first, last);
        first = last;
    }
}

// Queries and keys of rows [begin, end), normed and rotated, into `turned` ((H + K)·D wide).
void turn_rows(const Block& b, const Sizes& s, const float* qkv, int64_t begin, int64_t end, float* turned) {
    const int64_t width = (s.H + s.K) * s.D;
    std::vector<float> normed(s.D);
    for (int64_t row = begin; row < end; ++row) {
        const float *cos = b.cos + row % b.rope_rows * s.D, *sin = b.sin + row % b.rope_rows * s.D;
        for (int64_t head = 0; head < s.H + s.K; ++head) {
            const float* x = qkv + (row - begin) * s.qkv + head * s.D;
            const float* weight = head < s.H ? b.q_norm : b.k_norm;
            if (weight) {
                rms_norm(x, weight, s.D, b.norm_eps, normed.data());
                x = normed.data();
            }
            rotate(x, cos, sin, s.D, 1.0f, turned + (row - begin) * width + head * s.D);
        }
    }
}

// Rows of probabilities from rows of scores: row i of the block sees its first `seen + i` keys.
void causal_softmax(float* scores, int64_t rows, int64_t columns, int64_t seen) {
    for (int64_t i = 0; i < rows; ++i) {
        float* row = scores + i * columns;
        const int64_t length = seen + i;
        float largest = row[0];
#pragma omp simd reduction(max : largest)
        for (int64_t j = 0; j < length; ++j) largest = std::max(largest, row[j]);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < length; ++j) {
            row[j] = exp_nonpositive(row[j] - largest);
            sum += row[j];
        }
        const float scale = 1.0f / sum;
#pragma omp simd
        for (int64_t j = 0; j < length; ++j) row[j] *= scale;
        std::fill(row + length, row + columns, 0.0f);
    }
}

// Attention of one run of `length` rows. `turned` and `values` start at the run's first row.
void attend(const Block& b, const Sizes& s, int64_t length, const float* turned, const float* values, float* context,
            Scratch& scratch) {
    const int64_t width = (s.H + s.K) * s.D;
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.D));
    for (int64_t head = 0; head < s.H; ++head) {
        const int64_t group = head / (s.H / s.K);
        const float *queries = turned + head * s.D, *keys = turned + (s.H + group) * s.D;
        for (int64_t begin = 0; begin < length; begin += QUERY_ROWS) {
            const int64_t end = std::min(length, begin + QUERY_ROWS), rows = end - begin;
            float* weights = scratch.get(QUERY_ROWS * length);
            product(b.sgemm, false, true, rows, end, s.D, scale, queries + begin * width, width, keys, width, 0.0f,
                    weights, end);
            causal_softmax(weights, rows, end, begin + 1);
            product(b.sgemm, false, false, rows, s.D, end, 1.0f, weights, end, values + group * s.D, s.qkv, 0.0f,
                    context + begin * s.heads + head * s.D, s.heads);
        }
    }
}

// Gradients of `attend` in turned queries and keys (dturned) and in values (dvalues, qkv-wide rows), which start at 0.
void attend_backward(const Block& b, const Sizes& s, int64_t length, const float* turned, const float* values,
                     const float* dcontext, float* dturned, float* dvalues, Scratch& scratch) {
    const int64_t width = (s.H + s.K) * s.D;
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.D));
    for (int64_t head = 0; head < s.H; ++head) {
        const int64_t group = head / (s.H / s.K);
        const float beta = head % (s.H / s.K) ? 1.0f : 0.0f;
        const float *queries = turned + head * s.D, *keys = turned + (s.H + group) * s.D;
        float *dqueries = dturned + head * s.D, *dkeys = dturned + (s.H + group) * s.D;
        // Blocks run from the last to the first: the last one sees all keys, so it is the one that may overwrite.
        for (int64_t block = (length - 1) / QUERY_ROWS; block >= 0; --block) {
            const int64_t begin = block * QUERY_ROWS, end = std::min(length, begin + QUERY_ROWS), rows = end - begin;
            const float keep = end == length ? beta : 1.0f;
            float* weights = scratch.get(2 * QUERY_ROWS * length);
            float* dweights = weights + QUERY_ROWS * length;
            const float* dhead = dcontext + begin * s.heads + head * s.D;
            product(b.sgemm, false, true, rows, end, s.D, scale, queries + begin * width, width, keys, width, 0.0f,
                    weights, end);
            causal_softmax(weights, rows, end, begin + 1);
            product(b.sgemm, true, false, end, s.D, rows, 1.0f, weights, end, dhead, s.heads, keep,
                    dvalues + group * s.D, s.qkv);
            product(b.sgemm, false, true, rows, end, s.D, 1.0f, dhead, s.heads, values + group * s.D, s.qkv, 0.0f,
                    dweights, end);
            for (int64_t i = 0; i < rows; ++i) {
                const float* weight = weights + i * end;
                float* dweight = dweights + i * end;
                float dot = 0;
#pragma omp simd reduction(+ : dot)
                for (int64_t j = 0; j < end; ++j) dot += weight[j] * dweight[j];
#pragma omp simd
                for (int64_t j = 0; j < end; ++j) dweight[j] = weight[j] * (dweight[j] - dot);
            }
            product(b.sgemm, false, false, rows, s.D, end, scale, dweights, end, keys, width, 0.0f,
                    dqueries + begin * width, width);
            product(b.sgemm, true, false, end, s.D, rows, scale, dweights, end, queries + begin * width, width, keep,
                    dkeys, width);
        }
    }
}

// One of the block's linear layers, its adapter included, for the rows of a chunk.
struct Linear {
    int64_t outputs, inputs;
    const float* weight;
    const Adapter& adapter;
    float* low;                    // of the adapter, kept by the forward pass
    float *dweight, *da, *db;      // gradients; null where none is wanted
};

struct Linears {
    Linear q, k, v, o, gate, up, down;
    Linears(const Block& b, const Sizes& s, const Saved& saved, int64_t begin, const Gradients& g)
        : q{s.heads, s.C, b.q, b.q_adapter, low(saved.q_low, b.q_adapter, begin), g.q, g.q_a, g.q_b},
          k{s.K * s.D, s.C, b.k, b.k_adapter, low(saved.k_low, b.k_adapter, begin), g.k, g.k_a, g.k_b},
          v{s.K * s.D, s.C, b.v, b.v_adapter, low(saved.v_low, b.v_adapter, begin), g.v, g.v_a, g.v_b},
          o{s.C, s.heads, b.o, b.o_adapter, low(saved.o_low, b.o_adapter, begin), g.o, g.o_a, g.o_b},
          gate{s.I, s.C, b.gate, b.gate_adapter, low(saved.gate_low, b.gate_adapter, begin), g.gate, g.gate_a, g.gate_b},
          up{s.I, s.C, b.up, b.up_adapter, low(saved.up_low, b.up_adapter, begin), g.up, g.up_a, g.up_b},
          down{s.C, s.I, b.down, b.down_adapter, low(saved.down_low, b.down_adapter, begin), g.down, g.down_a, g.down_b} {}
    static float* low(float* saved, const Adapter& adapter, int64_t begin) {
        return saved ? saved + begin * adapter.rank : nullptr;
    }
};

// y = x · Wᵀ + scaling · (x · Aᵀ) · Bᵀ + beta · y.
void linear(const Block& b, const Linear& l, int64_t rows, const float* x, int64_t step_x, float beta, float* y,
            int64_t step_y) {
    product(b.sgemm, false, true, rows, l.outputs, l.inputs, 1, x, step_x, l.weight, l.inputs, beta, y, step_y);
    const Adapter& adapter = l.adapter;
    if (!adapter.a) return;
    const int64_t rank = adapter.rank;
    product(b.sgemm, false, true, rows, rank, l.inputs, adapter.scaling, x, step_x, adapter.a, l.inputs, 0, l.low, rank);
    product(b.sgemm, false, true, rows, l.outputs, rank, 1, l.low, rank, adapter.b, rank, 1, y, step_y);
}

// dx = dy · W + dlow · A + beta · dx, with dlow (rows, R) = scaling · dy · B, which is kept for `weight_gradients`.
void input_gradient(const Block& b, const Linear& l, int64_t rows, const float* dy, int64_t step_dy, float beta,
                    float* dx, float* dlow) {
    product(b.sgemm, false, false, rows, l.inputs, l.outputs, 1, dy, step_dy, l.weight, l.inputs, beta, dx, l.inputs);
    const Adapter& adapter = l.adapter;
    if (!adapter.a) return;
    const int64_t rank = adapter.rank;
    product(b.sgemm, false, false, rows, rank, l.outputs, adapter.scaling, dy, step_dy, adapter.b, rank, 0, dlow, rank);
    product(b.sgemm, false, false, rows, l.inputs, rank, 1, dlow, rank, adapter.a, l.inputs, 1, dx, l.inputs);
}

// dW = dyᵀ · x, dA = dlowᵀ · x and dB = dyᵀ · low, each plus beta times what it was.
void weight_gradients(const Block& b, const Linear& l, int64_t rows, const float* dy, int64_t step_dy, const float* x,
                      int64_t step_x, const float* dlow, float beta) {
    const int64_t rank = l.adapter.rank;
    if (l.dweight)
        product(b.sgemm, true, false, l.outputs, l.inputs, rows, 1, dy, step_dy, x, step_x, beta, l.dweight, l.inputs);
    if (l.da) product(b.sgemm, true, false, rank, l.inputs, rows, 1, dlow, rank, x, step_x, beta, l.da, l.inputs);
    if (l.db) product(b.sgemm, true, false, l.outputs, rank, rows, 1, dy, step_dy, l.low, rank, beta, l.db, rank);
}

void norm_rows(const float* x, const float* weight, int64_t rows, int64_t size, float eps, float* y) {
    for (int64_t row = 0; row < rows; ++row) rms_norm(x + row * size, weight, size, eps, y + row * size);
}

void forward_chunk(const Block& b, const Sizes& s, int64_t first, int64_t last, const float* x, float* y,
                   const Saved& saved, Scratch& memory, Scratch& attention_memory) {
    const int64_t begin = b.runs[first], rows = b.runs[last] - begin;
    const int64_t widest = std::max({s.C, s.I, (s.H + s.K) * s.D});
    float* normed = memory.get(2 * rows * widest);
    float* wide = normed + rows * widest;
    float *qkv = saved.qkv + begin * s.qkv, *context = saved.context + begin * s.heads;
    float *middle = saved.middle + begin * s.C, *gate_up = saved.gate_up + begin * 2 * s.I;
    const Linears layers(b, s, saved, begin, Gradients{});
    x += begin * s.C;
    y += begin * s.C;

    norm_rows(x, b.input_norm, rows, s.C, b.norm_eps, normed);
    linear(b, layers.q, rows, normed, s.C, 0, qkv, s.qkv);
    linear(b, layers.k, rows, normed, s.C, 0, qkv + s.heads, s.qkv);
    linear(b, layers.v, rows, normed, s.C, 0, qkv + (s.H + s.K) * s.D, s.qkv);
    turn_rows(b, s, qkv, begin, begin + rows, wide);
    for (int64_t run = first; run < last; ++run) {
        const int64_t offset = b.runs[run] - begin;
        attend(b, s, b.runs[run + 1] - b.runs[run], wide + offset * (s.H + s.K) * s.D,
               qkv + offset * s.qkv + (s.H + s.K) * s.D, context + offset * s.heads, attention_memory);
    }
    std::memcpy(middle, x, rows * s.C * sizeof(float));
    linear(b, layers.o, rows, context, s.heads, 1, middle, s.C);

    norm_rows(middle, b.post_norm, rows, s.C, b.norm_eps, normed);
    linear(b, layers.gate, rows, normed, s.C, 0, gate_up, 2 * s.I);
    linear(b, layers.up, rows, normed, s.C, 0, gate_up + s.I, 2 * s.I);
    for (int64_t row = 0; row < rows; ++row) {
        const float *gate = gate_up + row * 2 * s.I, *up = gate + s.I;
        float* active = wide + row * s.I;
#pragma omp simd
        for (int64_t i = 0; i < s.I; ++i) active[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
    std::memcpy(y, middle, rows * s.C * sizeof(float));
    linear(b, layers.down, rows, wide, s.I, 1, y, s.C);
}

void backward_chunk(const Block& b, const Sizes& s, int64_t first, int64_t last, const float* x, const float* dy,
                    float* dx, const Saved& saved, const Gradients& g, bool overwrite, Scratch& memory,
                    Scratch& attention_memory) {
    const float beta = overwrite ? 0.0f : 1.0f;
    const int64_t begin = b.runs[first], rows = b.runs[last] - begin, turned_width = (s.H + s.K) * s.D;
    const Linears layers(b, s, saved, begin, g);
    const int64_t highest_rank = std::max({b.q_adapter.rank, b.k_adapter.rank, b.v_adapter.rank, b.o_adapter.rank,
                                           b.gate_adapter.rank, b.up_adapter.rank, b.down_adapter.rank});
    float* normed = memory.get(rows * (2 * s.C + 3 * s.I + s.heads + 2 * turned_width + s.qkv + highest_rank));
    float* dnormed = normed + rows * s.C;
    float* active = dnormed + rows * s.C;
    float* dgate_up = active + rows * s.I;
    float* dcontext = dgate_up + rows * 2 * s.I;
    float* turned = dcontext + rows * s.heads;
    float* dturned = turned + rows * turned_width;
    float* dqkv = dturned + rows * turned_width;
    float* dlow = dqkv + rows * s.qkv;
    const float *qkv = saved.qkv + begin * s.qkv, *context = saved.context + begin * s.heads;
    const float *middle = saved.middle + begin * s.C, *gate_up = saved.gate_up + begin * 2 * s.I;
    x += begin * s.C;
    dy += begin * s.C;
    dx += begin * s.C;

    // Feed-forward part: dx becomes the gradient in `middle`.
    input_gradient(b, layers.down, rows, dy, s.C, 0, active, dlow);
    for (int64_t row = 0; row < rows; ++row) {
        const float *gate = gate_up + row * 2 * s.I, *up = gate + s.I;
        float *dgate = dgate_up + row * 2 * s.I, *dup = dgate + s.I, *act = active + row * s.I;
#pragma omp simd
        for (int64_t i = 0; i < s.I; ++i) {
            const float open = sigmoid(gate[i]), silu = gate[i] * open, dact = act[i];
            dgate[i] = dact * up[i] * (open + silu * (1.0f - open));
            dup[i] = dact * silu;
            act[i] = silu * up[i];
        }
    }
    weight_gradients(b, layers.down, rows, dy, s.C, active, s.I, dlow, beta);
    norm_rows(middle, b.post_norm, rows, s.C, b.norm_eps, normed);
    input_gradient(b, layers.gate, rows, dgate_up, 2 * s.I, 0, dnormed, dlow);
    weight_gradients(b, layers.gate, rows, dgate_up, 2 * s.I, normed, s.C, dlow, beta);
    input_gradient(b, layers.up, rows, dgate_up + s.I, 2 * s.I, 1, dnormed, dlow);
    weight_gradients(b, layers.up, rows, dgate_up + s.I, 2 * s.I, normed, s.C, dlow, beta);
    for (int64_t row = 0; row < rows; ++row)
        rms_norm_backward(middle + row * s.C, b.post_norm, dnormed + row * s.C, dy + row * s.C, s.C, b.norm_eps,
                          dx + row * s.C, g.post_norm);

    // Attention part.
    input_gradient(b, layers.o, rows, dx, s.C, 0, dcontext, dlow);
    weight_gradients(b, layers.o, rows, dx, s.C, context, s.heads, dlow, beta);
    turn_rows(b, s, qkv, begin, begin + rows, turned);
    for (int64_t run = first; run < last; ++run) {
        const int64_t offset = b.runs[run] - begin;
        attend_backward(b, s, b.runs[run + 1] - b.runs[run], turned + offset * turned_width,
                        qkv + offset * s.qkv + turned_width, dcontext + offset * s.heads,
                        dturned + offset * turned_width, dqkv + offset * s.qkv + turned_width, attention_memory);
    }
    std::vector<float> unturned(s.D);
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t angle = (begin + row) % b.rope_rows * s.D;
        for (int64_t head = 0; head < s.H + s.K; ++head) {
            const bool is_query = head < s.H;
            const float* weight = is_query ? b.q_norm : b.k_norm;
            float* target = dqkv + row * s.qkv + head * s.D;
            rotate(dturned + row * turned_width + head * s.D, b.cos + angle, b.sin + angle, s.D, -1.0f,
                   weight ? unturned.data() : target);
            if (weight)
                rms_norm_backward(qkv + row * s.qkv + head * s.D, weight, unturned.data(), nullptr, s.D, b.norm_eps,
                                  target, is_query ? g.q_norm : g.k_norm);
        }
    }
    norm_rows(x, b.input_norm, rows, s.C, b.norm_eps, normed);
    const float *dq = dqkv, *dk = dqkv + s.heads, *dv = dqkv + turned_width;
    input_gradient(b, layers.q, rows, dq, s.qkv, 0, dnormed, dlow);
    weight_gradients(b, layers.q, rows, dq, s.qkv, normed, s.C, dlow, beta);
    input_gradient(b, layers.k, rows, dk, s.qkv, 1, dnormed, dlow);
    weight_gradients(b, layers.k, rows, dk, s.qkv, normed, s.C, dlow, beta);
    input_gradient(b, layers.v, rows, dv, s.qkv, 1, dnormed, dlow);
    weight_gradients(b, layers.v, rows, dv, s.qkv, normed, s.C, dlow, beta);
    for (int64_t row = 0; row < rows; ++row)
        rms_norm_backward(x + row * s.C, b.input_norm, dnormed + row * s.C, dx + row * s.C, s.C, b.norm_eps,
                          dx + row * s.C, g.input_norm);
}

}  // namespace

extern "C" {

// x (N, C) → y (N, C).
void llama_block_forward(const Block* block, const float* x, float* y, const Saved* saved) {
    const Sizes sizes(*block);
#pragma omp parallel num_threads(block->num_threads)
    {
        thread_local Scratch memory, attention_memory;
        const Share share(*block, omp_get_thread_num(), omp_get_num_threads());
        in_chunks(*block, share, [&](int64_t first, int64_t last) {
            forward_chunk(*block, sizes, first, last, x, y, *saved, memory, attention_memory);
        });
    }
}

// dy (N, C) → dx (N, C) and the weights' gradients, which may be uninitialized; `partial` has one set of them for
// every thread, the sum is left in the first.
void llama_block_backward(const Block* block, const float* x, const float* dy, float* dx, const Saved* saved,
                          const Gradients* partial, const Counts* counts) {
    const Sizes sizes(*block);
    const int64_t* num_values = reinterpret_cast<const int64_t*>(counts);
#pragma omp parallel num_threads(block->num_threads)
    {
        thread_local Scratch memory, attention_memory;
        const int64_t thread = omp_get_thread_num(), num_threads = omp_get_num_threads();
        const Share share(*block, thread, num_threads);
        const bool idle = share.first == share.last;
        for (int weight = 0; weight < NUM_WEIGHTS; ++weight)
            if (idle || NORMS[weight]) clear(weight_of(partial[thread], weight), num_values[weight]);
        in_chunks(*block, share, [&](int64_t first, int64_t last) {
            backward_chunk(*block, sizes, first, last, x, dy, dx, *saved, partial[thread], first == share.first, memory,
                           attention_memory);
        });
#pragma omp barrier
        // Every thread adds up its part of each weight, always in the same order.
        for (int weight = 0; weight < NUM_WEIGHTS; ++weight) {
            float* total = weight_of(partial[0], weight);
            if (!total) continue;
            const int64_t begin = num_values[weight] * thread / num_threads;
            const int64_t end = num_values[weight] * (thread + 1) / num_threads;
            for (int64_t other = 1; other < num_threads; ++other) {
                const float* part = weight_of(partial[other], weight);
#pragma omp simd
                for (int64_t i = begin; i < end; ++i) total[i] += part[i];
            }
        }
    }
}

}  // extern "C"
