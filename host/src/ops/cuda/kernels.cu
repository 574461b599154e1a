// Fused kernels for CUDA, each the counterpart of one in `../*.rs`, where the formulas stand.
//
// Sums have a fixed order, so that equal runs give equal bytes: a block adds what its threads have
// found in the order of the threads, and nothing is added with atomics.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned long long u64;
typedef unsigned int u32;

// Threads of a block in every kernel.
#define THREADS 256

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float widen(__half x) { return __half2float(x); }
template <typename T> __device__ inline T narrow(float x);
template <> __device__ inline float narrow<float>(float x) { return x; }
template <> __device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float x) { return __float2bfloat16(x); }
template <> __device__ inline __half narrow<__half>(float x) { return __float2half(x); }

struct Add {
    template <typename T> __device__ static T of(T a, T b) { return a + b; }
};
struct Max {
    template <typename T> __device__ static T of(T a, T b) { return a > b ? a : b; }
};

// What the threads of a block have, put together; every thread gets it.
template <typename Op, typename T> __device__ inline T together(T x) {
    __shared__ T parts[THREADS / 32];
    for (int offset = 16; offset > 0; offset /= 2) {
        x = Op::of(x, __shfl_xor_sync(0xffffffffu, x, offset));
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        parts[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = parts[0];
    for (int i = 1; i < THREADS / 32; i++) {
        x = Op::of(x, parts[i]);
    }
    return x;
}

#define EACH(i, n) for (u64 i = blockIdx.x * (u64)THREADS + threadIdx.x; i < (n); i += gridDim.x * (u64)THREADS)

extern "C" __global__ void adamw_f32(
    float *value, float *gradient, float *first, float *second, u64 n,
    float scale, float decay, float beta1, float rest1, float beta2, float rest2,
    float root, float epsilon, float size
) {
    EACH(i, n) {
        float g = gradient[i] * scale;
        float m = beta1 * first[i] + rest1 * g;
        float v = beta2 * second[i] + rest2 * g * g;
        first[i] = m;
        second[i] = v;
        value[i] = value[i] * decay - size * m / (sqrtf(v) * root + epsilon);
        gradient[i] = 0.0f;
    }
}

// One number for each block, of its `share` elements.
extern "C" __global__ void square_sum_f32(const float *x, u64 n, u64 share, double *sums) {
    u64 end = (blockIdx.x + 1) * share < n ? (blockIdx.x + 1) * share : n;
    double sum = 0.0;
    for (u64 i = blockIdx.x * share + threadIdx.x; i < end; i += THREADS) {
        sum += (double)x[i] * (double)x[i];
    }
    sum = together<Add>(sum);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum;
    }
}

// A block for each row that gets something: `order[starts[b]..starts[b + 1]]` are rows of dy.
extern "C" __global__ void scatter_add_f32(
    float *gradient, const float *dy, const u32 *rows, const u32 *starts, const u32 *order, u32 width
) {
    float *to = gradient + (u64)rows[blockIdx.x] * width;
    for (u32 column = threadIdx.x; column < width; column += THREADS) {
        float sum = to[column];
        for (u32 i = starts[blockIdx.x]; i < starts[blockIdx.x + 1]; i++) {
            sum += dy[(u64)order[i] * width + column];
        }
        to[column] = sum;
    }
}

// SplitMix64, as in `../dropout.rs`.
extern "C" __global__ void dropout_f32(float *mask, u64 n, u64 threshold, float scale, u64 key) {
    EACH(i, n) {
        u64 z = key + (i + 1) * 0x9E3779B97F4A7C15ull;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        z = z ^ (z >> 31);
        mask[i] = (z >> 32) >= threshold ? scale : 0.0f;
    }
}

// A thread for each pair: `x` is [rows, width], `cos` and `sin` [rows, half].
template <typename T> __device__ void rope(
    T *x, const T *cos, const T *sin, u64 pairs, u32 width, u32 half, float direction
) {
    EACH(i, pairs) {
        u64 row = i / (width / 2);
        u32 pair = i % (width / 2);
        u32 at = pair % half;
        T *head = x + row * width + pair / half * 2 * half;
        float c = widen(cos[row * half + at]);
        float s = direction * widen(sin[row * half + at]);
        float a = widen(head[at]), b = widen(head[at + half]);
        head[at] = narrow<T>(a * c - b * s);
        head[at + half] = narrow<T>(b * c + a * s);
    }
}

// A block for each row.
extern "C" __global__ void rms_norm_f32(
    const float *x, const float *w, float epsilon, u32 width, float *y, float *inverse
) {
    x += (u64)blockIdx.x * width;
    y += (u64)blockIdx.x * width;
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += THREADS) {
        sum += x[i] * x[i];
    }
    float r = 1.0f / sqrtf(together<Add>(sum) / width + epsilon);
    for (u32 i = threadIdx.x; i < width; i += THREADS) {
        y[i] = x[i] * r * w[i];
    }
    if (threadIdx.x == 0) {
        inverse[blockIdx.x] = r;
    }
}

extern "C" __global__ void rms_norm_apply_f32(
    const float *x, const float *w, const float *inverse, u32 width, u64 n, float *y
) {
    EACH(i, n) {
        y[i] = x[i] * inverse[i / width] * w[i % width];
    }
}

// A block for each row: adds to `base`.
extern "C" __global__ void rms_norm_backward_f32(
    float *base, const float *dy, const float *x, const float *inverse, const float *w, u32 width
) {
    u64 first = (u64)blockIdx.x * width;
    base += first, dy += first, x += first;
    float r = inverse[blockIdx.x];
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += THREADS) {
        sum += x[i] * dy[i] * w[i];
    }
    float projection = together<Add>(sum) * r * r * r / width;
    for (u32 i = threadIdx.x; i < width; i += THREADS) {
        base[i] += r * w[i] * dy[i] - projection * x[i];
    }
}

// A block for 32 columns: eight threads each add every eighth row.
extern "C" __global__ void rms_norm_weight_f32(
    float *dw, const float *dy, const float *x, const float *inverse, u32 width, u32 rows
) {
    __shared__ float parts[THREADS / 32][32];
    u32 lane = threadIdx.x % 32, part = threadIdx.x / 32;
    u32 column = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (column < width) {
        for (u32 row = part; row < rows; row += THREADS / 32) {
            u64 i = (u64)row * width + column;
            sum += inverse[row] * dy[i] * x[i];
        }
    }
    parts[part][lane] = sum;
    __syncthreads();
    if (part == 0 && column < width) {
        for (int i = 1; i < THREADS / 32; i++) {
            sum += parts[i][lane];
        }
        dw[column] += sum;
    }
}

template <typename T> __device__ void silu_mul(const T *gate, const T *up, u64 n, T *y) {
    EACH(i, n) {
        float g = widen(gate[i]);
        y[i] = narrow<T>(g / (1.0f + expf(-g)) * widen(up[i]));
    }
}

template <typename T> __device__ void silu_mul_backward(const T *dy, T *gate, T *up, u64 n) {
    EACH(i, n) {
        float g = widen(gate[i]), u = widen(up[i]), d = widen(dy[i]);
        float sigmoid = 1.0f / (1.0f + expf(-g));
        float silu = g * sigmoid;
        gate[i] = narrow<T>(d * u * (sigmoid + silu - silu * sigmoid));
        up[i] = narrow<T>(d * silu);
    }
}

// A block for each row of scores [parts, heads, queries, keys], with the mask
// [parts, queries, keys]: scores become probabilities, and each row's log-sum-exp comes beside.
template <typename T> __device__ void softmax(
    T *scores, const float *mask, float scale, u32 heads, u32 queries, u32 keys, float *lse
) {
    u64 row = blockIdx.x;
    u64 part = row / ((u64)heads * queries);
    scores += row * keys;
    mask += (part * queries + row % queries) * keys;
    float largest = -INFINITY;
    for (u32 i = threadIdx.x; i < keys; i += THREADS) {
        largest = Max::of(largest, widen(scores[i]) * scale + mask[i]);
    }
    largest = together<Max>(largest);
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < keys; i += THREADS) {
        sum += expf(widen(scores[i]) * scale + mask[i] - largest);
    }
    float whole = largest + logf(together<Add>(sum));
    for (u32 i = threadIdx.x; i < keys; i += THREADS) {
        scores[i] = narrow<T>(expf(widen(scores[i]) * scale + mask[i] - whole));
    }
    if (threadIdx.x == 0) {
        lse[row] = whole;
    }
}

// Scores become probabilities P, and dP becomes P (dP − projection) · scale.
template <typename T> __device__ void softmax_backward(
    T *scores, T *d, const float *mask, const float *lse, const float *projection,
    float scale, u32 heads, u32 queries, u32 keys, u64 n
) {
    EACH(i, n) {
        u64 row = i / keys;
        u64 part = row / ((u64)heads * queries);
        float shown = mask[(part * queries + row % queries) * keys + i % keys];
        float p = expf(widen(scores[i]) * scale + shown - lse[row]);
        scores[i] = narrow<T>(p);
        d[i] = narrow<T>(p * (widen(d[i]) - projection[row]) * scale);
    }
}

#define FOR(T, NAME) \
    extern "C" __global__ void rope_##NAME( \
        T *x, const T *cos, const T *sin, u64 pairs, u32 width, u32 half, float direction \
    ) { rope(x, cos, sin, pairs, width, half, direction); } \
    extern "C" __global__ void silu_mul_##NAME(const T *gate, const T *up, u64 n, T *y) { \
        silu_mul(gate, up, n, y); \
    } \
    extern "C" __global__ void silu_mul_backward_##NAME(const T *dy, T *gate, T *up, u64 n) { \
        silu_mul_backward(dy, gate, up, n); \
    } \
    extern "C" __global__ void softmax_##NAME( \
        T *scores, const float *mask, float scale, u32 heads, u32 queries, u32 keys, float *lse \
    ) { softmax(scores, mask, scale, heads, queries, keys, lse); } \
    extern "C" __global__ void softmax_backward_##NAME( \
        T *scores, T *d, const float *mask, const float *lse, const float *projection, \
        float scale, u32 heads, u32 queries, u32 keys, u64 n \
    ) { softmax_backward(scores, d, mask, lse, projection, scale, heads, queries, keys, n); }

FOR(float, f32)
FOR(__nv_bfloat16, bf16)
FOR(__half, f16)
