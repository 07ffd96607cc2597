// CUDA kernels of our own. Each does in one launch what the plain rule named beside it does in several, and the tests
// hold the two equal. kernels.py launches them, and defines when it compiles them: REAL (float or double), STORED and
// MANY.
// What a schedule changes is an argument, so that nothing is compiled again.

typedef REAL T;

#ifdef __CUDACC__  // float16, for matrices: one instruction each way, and no header that NVRTC would have to find
struct Half {
    unsigned short bits;
    Half() = default;
    __device__ Half(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
    __device__ operator float() const {
        float x;
        asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
        return x;
    }
};
#endif
typedef STORED S;  // in memory; T is what is computed with

#define EACH(i, n) long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < (n); \
                   i += (long long)gridDim.x * blockDim.x

// -- optimizers: all parameters in one launch, blockIdx.y says which (optim/momentum.py, optim/adaptive.py) ----------

struct Many {             // by value, and so at most 4 kB: kernels.py fills it
    long long size[MANY], first[MANY];  // first: there was no state before
    T *w[MANY];           // a parameter,
    const T *g[MANY];     // its gradient,
    T *a[MANY], *b[MANY], *c[MANY];  // its state, in the order in which optim/ names it; null if there is none
    double *late[MANY];   // how many of its steps were left out; null: none
};

// amp.py: w is a gradient here; numbers: the scale, and how many steps it has been good. found: 1 if one is inf or nan.
extern "C" __global__ void unscale(Many t, const float *numbers, float *found) {
    const int k = blockIdx.y;
    const T scale = numbers[0];
    bool bad = false;
    for (EACH(i, t.size[k])) {
        const T g = t.w[k][i] /= scale;
        bad |= g - g != 0;
    }
    if (bad) *found = 1;  // all who write write this
}

extern "C" __global__ void rescale(float *numbers, const float *found, double growth, double backoff, double interval) {
    const float larger = numbers[0] * (float)growth, good = *found ? 0 : numbers[1] + 1;
    const bool grows = good >= interval;
    if (*found) numbers[0] *= (float)backoff;
    else if (grows && larger - larger == 0) numbers[0] = larger;
    numbers[1] = grows ? 0 : good;
}

// Whether a step is left out, since amp.py has found inf or nan; then it is counted. Who counts reads nothing else, and
// who reads the count does not get here.
__device__ bool left_out(const Many &t, const float *skip) {
    if (!skip || !*skip) return false;
    if (blockIdx.x == 0 && threadIdx.x == 0) *t.late[blockIdx.y] += 1;
    return true;
}

// numbers: maximize, the settings in the order of the optimizer's defaults, then each parameter's step. They are in the
// device's memory, so that they can change where launches are replayed.
extern "C" __global__ void sgd(Many t, const double *numbers, const float *skip) {
    if (left_out(t, skip)) return;
    const int k = blockIdx.y;
    const bool maximize = numbers[0], nesterov = numbers[5];
    const T lr = numbers[1], momentum = numbers[2], rest = 1 - numbers[3], weight_decay = numbers[4];
    T *w = t.w[k], *v = t.a[k];
    for (EACH(i, t.size[k])) {
        T g = maximize ? -t.g[k][i] : t.g[k][i];
        if (weight_decay) g += weight_decay * w[i];
        if (momentum) {
            v[i] = t.first[k] ? g : momentum * v[i] + rest * g;  // the first gradient goes into v undamped
            g = nesterov ? g + momentum * v[i] : v[i];
        }
        w[i] -= lr * g;
    }
}

extern "C" __global__ void rmsprop(Many t, const double *numbers, const float *skip) {
    if (left_out(t, skip)) return;
    const int k = blockIdx.y;
    const bool maximize = numbers[0], centered = numbers[6];
    const T lr = numbers[1], alpha = numbers[2], rest = 1 - numbers[2], eps = numbers[3], weight_decay = numbers[4];
    const T momentum = numbers[5];
    T *w = t.w[k], *s = t.a[k], *m = t.b[k], *b = t.c[k];
    for (EACH(i, t.size[k])) {
        T g = maximize ? -t.g[k][i] : t.g[k][i];
        if (weight_decay) g += weight_decay * w[i];
        s[i] = alpha * s[i] + rest * g * g;
        T variance = s[i];
        if (centered) {
            m[i] = alpha * m[i] + rest * g;
            variance -= m[i] * m[i];
            variance = variance < 0 ? (T)0 : variance;    // of rounding; nan stays
        }
        T u = g / (sqrt(variance) + eps);
        if (momentum) u = b[i] = momentum * b[i] + u;
        w[i] -= lr * u;
    }
}

// decoupled: AdamW's weight decay, apart from the gradient
__device__ void adam_step(const Many &t, const double *numbers, const float *skip, bool decoupled) {
    if (left_out(t, skip)) return;
    const int k = blockIdx.y;
    if (blockIdx.x * (long long)blockDim.x >= t.size[k]) return;  // nothing for all of this block
    __shared__ T rate, correction;                        // float64 is slow on many GPUs: once for all threads
    if (threadIdx.x == 0) {
        const double step = numbers[7 + k] - (t.late[k] ? *t.late[k] : 0);
        rate = numbers[1] / (1 - pow(numbers[2], step));
        correction = 1 - pow(numbers[3], step);
    }
    __syncthreads();
    const bool maximize = numbers[0], amsgrad = numbers[6];
    const T beta1 = numbers[2], rest1 = 1 - numbers[2], beta2 = numbers[3], rest2 = 1 - numbers[3], eps = numbers[4];
    const T weight_decay = numbers[5], shrink = 1 - numbers[1] * numbers[5];
    T *w = t.w[k], *m = t.a[k], *s = t.b[k], *most = t.c[k];
    for (EACH(i, t.size[k])) {
        T g = maximize ? -t.g[k][i] : t.g[k][i];
        if (decoupled) w[i] *= shrink;
        else if (weight_decay) g += weight_decay * w[i];
        m[i] = beta1 * m[i] + rest1 * g;
        T second = s[i] = beta2 * s[i] + rest2 * g * g;
        if (amsgrad) second = most[i] = second > most[i] || second != second ? second : most[i];
        w[i] -= rate * m[i] / (sqrt(second / correction) + eps);
    }
}

extern "C" __global__ void adam(Many t, const double *numbers, const float *skip) {
    adam_step(t, numbers, skip, false);
}

extern "C" __global__ void adamw(Many t, const double *numbers, const float *skip) {
    adam_step(t, numbers, skip, true);
}

// -- rows: a block for each, whose threads (a power of two) meet in shared memory ------------------------------------

#define PART(i, n) long long i = threadIdx.x; i < (n); i += blockDim.x

template <typename F> __device__ T together(T mine, F join) {  // join(join(mine of thread 0, mine of 1), ...): to all
    __shared__ T parts[1024];
    __syncthreads();                                      // who was here before has read its answer
    parts[threadIdx.x] = mine;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] = join(parts[threadIdx.x], parts[threadIdx.x + half]);
    }
    __syncthreads();
    return parts[0];
}

__device__ T sum(T mine) { return together(mine, [](T a, T b) { return a + b; }); }
__device__ T largest(T mine) { return together(mine, [](T a, T b) { return a > b || a != a ? a : b; }); }

// ops/fused.py's softmax_cross_entropy() and its slope, softmax - one_hot. A row whose label is `ignored` counts for
// nothing; a label that is no class gives nan. losses: (2, n), the losses and which rows count.
extern "C" __global__ void cross_entropy(const T *logits, const long long *labels, T *losses, T *slopes,
                                         long long classes, long long ignored) {
    const long long row = blockIdx.x, label = labels[row];
    const T *x = logits + row * classes;
    T *slope = slopes + row * classes;
    T most = x[0], total = 0;
    for (PART(c, classes)) most = x[c] > most || x[c] != x[c] ? x[c] : most;
    most = largest(most);
    for (PART(c, classes)) total += slope[c] = exp(x[c] - most);
    total = sum(total);
    const bool counts = label != ignored, known = label >= 0 && label < classes;
    const T nan = (T)0 / (T)0;
    for (PART(c, classes)) slope[c] = !counts ? (T)0 : !known ? nan : slope[c] / total - (T)(c == label);
    if (threadIdx.x == 0) {
        losses[row] = !counts ? (T)0 : !known ? nan : log(total) - (x[label] - most);
        losses[gridDim.x + row] = (T)counts;
    }
}

// ops/batch_norm.py's _batch_norm(): a row is a channel's n numbers. moments: (3, channels), mean, var and rstd.
extern "C" __global__ void batch_norm(const T *x, const T *weight, const T *bias, T *out, T *moments, long long n,
                                      double eps) {
    const long long row = blockIdx.x, rows = gridDim.x;
    x += row * n;
    out += row * n;
    T total = 0, square = 0;
    for (PART(i, n)) total += x[i];
    const T mean = sum(total) / n;
    for (PART(i, n)) square += (x[i] - mean) * (x[i] - mean);
    const T var = sum(square) / n, rstd = 1 / sqrt(var + (T)eps);
    const T scale = weight ? rstd * weight[row] : rstd, offset = bias ? bias[row] : (T)0;
    for (PART(i, n)) out[i] = (x[i] - mean) * scale + offset;
    if (threadIdx.x == 0) moments[row] = mean, moments[rows + row] = var, moments[2 * rows + row] = rstd;
}

// its _backward(). sums: (2, channels), sum(g) and sum(g hat); back: the gradient of x.
extern "C" __global__ void batch_norm_back(const T *g, const T *x, const T *weight, const T *moments, T *back, T *sums,
                                           long long n) {
    const long long row = blockIdx.x, rows = gridDim.x;
    const T mean = moments[row], rstd = moments[2 * rows + row];
    g += row * n;
    x += row * n;
    back += row * n;
    T total = 0, product = 0;
    for (PART(i, n)) {
        total += g[i];
        product += g[i] * (x[i] - mean);
    }
    total = sum(total);
    product = sum(product) * rstd;
    const T scale = weight ? rstd * weight[row] : rstd;
    for (PART(i, n)) back[i] = scale * (g[i] - total / n - (x[i] - mean) * rstd * product / n);
    if (threadIdx.x == 0) sums[row] = total, sums[rows + row] = product;
}

// -- matrices --------------------------------------------------------------------------------------------------------

// a (m, k) times b (k, n), batches of them, with any strides; out (batch, m, n). A block of 16 x 16 threads makes a tile
// of 32 x 32 of out, each thread 2 x 2. Slower than cuBLAS, which CuPy can't call while a graph is captured. float16
// (S) is added up in float32 (T), and rounded once.
#define TILE 32
extern "C" __global__ void matmul(const S *a, const S *b, S *out, long long batches, long long m, long long n, long long k,
                                  long long a_batch, long long a_row, long long a_column,
                                  long long b_batch, long long b_row, long long b_column) {
    __shared__ T left[TILE][TILE + 1], right[TILE][TILE + 1];  // by depth; + 1: columns lie in different banks
    const long long across = (n + TILE - 1) / TILE, top = blockIdx.x / across * TILE, start = blockIdx.x % across * TILE;
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    for (long long batch = blockIdx.y; batch < batches; batch += gridDim.y) {
        const S *p = a + batch * a_batch, *q = b + batch * b_batch;
        T sums[2][2] = {};
        for (long long deep = 0; deep < k; deep += TILE) {
            for (int t = threadIdx.x; t < TILE * TILE; t += blockDim.x) {  // neighbours in memory by neighbouring threads
                const int fast = t % TILE, slow = t / TILE;
                const int i = a_column == 1 ? slow : fast, d = a_column == 1 ? fast : slow;
                const int j = b_column == 1 ? fast : slow, e = b_column == 1 ? slow : fast;
                left[d][i] = top + i < m && deep + d < k ? (T)p[(top + i) * a_row + (deep + d) * a_column] : (T)0;
                right[e][j] = start + j < n && deep + e < k ? (T)q[(deep + e) * b_row + (start + j) * b_column] : (T)0;
            }
            __syncthreads();
            for (int d = 0; d < TILE; d++)
                for (int r = 0; r < 2; r++)
                    for (int c = 0; c < 2; c++) sums[r][c] += left[d][y + 16 * r] * right[d][x + 16 * c];
            __syncthreads();
        }
        for (int r = 0; r < 2; r++)
            for (int c = 0; c < 2; c++) {
                const long long row = top + y + 16 * r, column = start + x + 16 * c;
                if (row < m && column < n) out[(batch * m + row) * n + column] = (S)sums[r][c];
            }
    }
}

// -- images: (C, H, W, N) in memory, a block for a row of one channel; ops/windows.py says how windows slide ---------

struct Windows {          // by value: kernels.windows() fills it
    int height, width, images, kernel_y, kernel_x, oh, ow, stride_y, stride_x, top, left, dilation_y, dilation_x;

    // the row of windows whose place i meets row h of the image; -1 if there is none. And the same for columns.
    __device__ int row(int h, int i) const {
        const int y = h + top - i * dilation_y;
        return y >= 0 && y % stride_y == 0 && y / stride_y < oh ? y / stride_y : -1;
    }
    __device__ int column(int w, int j) const {
        const int x = w + left - j * dilation_x;
        return x >= 0 && x % stride_x == 0 && x / stride_x < ow ? x / stride_x : -1;
    }
};

// ops/conv.py's _columns(): all windows as columns (C, kernel_y, kernel_x, oh, ow, N); padding gives 0
extern "C" __global__ void im2col(const T *image, T *columns, Windows s) {
    const int y = blockIdx.x % s.oh, place = blockIdx.x / s.oh, length = s.ow * s.images;
    const int j = place % s.kernel_x, i = place / s.kernel_x % s.kernel_y, c = place / s.kernel_x / s.kernel_y;
    const int h = y * s.stride_y - s.top + i * s.dilation_y;
    image += (c * (long long)s.height + h) * s.width * s.images;
    columns += blockIdx.x * (long long)length;
    for (int t = threadIdx.x; t < length; t += blockDim.x) {
        const int x = t / s.images, n = t - x * s.images, w = x * s.stride_x - s.left + j * s.dilation_x;
        const bool inside = h >= 0 && h < s.height && w >= 0 && w < s.width;
        columns[t] = inside ? image[w * s.images + n] : (T)0;
    }
}

// Each pixel gathers what the windows that meet it give back: share(channel, place in the window, y, x, n) of window (y, x)
template <typename F> __device__ void gather(T *image, const Windows &s, F share) {
    const int c = blockIdx.x / s.height, h = blockIdx.x % s.height, length = s.width * s.images;
    image += blockIdx.x * (long long)length;
    for (int t = threadIdx.x; t < length; t += blockDim.x) {
        const int w = t / s.images, n = t - w * s.images;
        T total = 0;
        for (int i = 0; i < s.kernel_y; i++) {
            const int y = s.row(h, i);
            for (int j = 0; y >= 0 && j < s.kernel_x; j++) {
                const int x = s.column(w, j);
                if (x >= 0) total += share(c, i * s.kernel_x + j, y, x, n);
            }
        }
        image[t] = total;
    }
}

// the transpose of im2col
extern "C" __global__ void col2im(const T *columns, T *image, Windows s) {
    gather(image, s, [&](long long c, int place, int y, int x, int n) {
        return columns[(((c * s.kernel_y * s.kernel_x + place) * s.oh + y) * s.ow + x) * s.images + n];
    });
}

// ops/pool.py's _max_pool(): the largest of each window, and which place it is at, the first of equal ones; 255: of none,
// where one is nan
extern "C" __global__ void max_pool(const T *image, T *out, unsigned char *winners, Windows s) {
    const int c = blockIdx.x / s.oh, y = blockIdx.x % s.oh, length = s.ow * s.images;
    image += c * (long long)s.height * s.width * s.images;
    out += blockIdx.x * (long long)length;
    winners += blockIdx.x * (long long)length;
    for (int t = threadIdx.x; t < length; t += blockDim.x) {
        const int x = t / s.images, n = t - x * s.images;
        T most = 0;
        int winner = -1;
        for (int i = 0; i < s.kernel_y; i++)
            for (int j = 0; j < s.kernel_x; j++) {
                const int h = y * s.stride_y - s.top + i * s.dilation_y, w = x * s.stride_x - s.left + j * s.dilation_x;
                if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
                const T pixel = image[(h * (long long)s.width + w) * s.images + n];
                if (winner < 0 || pixel > most || (pixel != pixel && most == most)) {  // nan is the largest, and stays
                    most = pixel;
                    winner = i * s.kernel_x + j;
                }
            }
        out[t] = most;
        winners[t] = most != most ? 255 : winner;
    }
}

// ops/pool.py's _max_scatter(): the gradients of the windows that a pixel has won
extern "C" __global__ void max_pool_back(const T *g, const unsigned char *winners, T *image, Windows s) {
    gather(image, s, [&](long long c, int place, int y, int x, int n) {
        const long long window = ((c * s.oh + y) * s.ow + x) * s.images + n;
        return winners[window] == place ? g[window] : (T)0;
    });
}

// -- elements --------------------------------------------------------------------------------------------------------

// ops/dropout.py's mask: `scale` where a hash of the place and two seeds is at least `least`, else 0
extern "C" __global__ void dropout_mask(T *mask, long long n, const unsigned int *seeds, unsigned int least,
                                        double scale) {
    for (EACH(i, n)) {
        unsigned int x = (unsigned int)i + seeds[0];
        x = (x ^ (x >> 16)) * 0x21f0aaadu + seeds[1];
        x = (x ^ (x >> 15)) * 0x735a2d97u;
        mask[i] = x >= least ? (T)scale : (T)0;
    }
}
