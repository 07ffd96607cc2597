// CUDA kernels of our own. Each does in one launch what the plain rule named beside it does in several, and the tests
// hold the two equal. kernels.py launches them, and defines when it compiles them: REAL (float or double) and MANY.
// What a schedule changes is an argument, so that nothing is compiled again.

typedef REAL T;

#define EACH(i, n) long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < (n); \
                   i += (long long)gridDim.x * blockDim.x

// -- optimizers: all parameters in one launch, blockIdx.y says which (optim/momentum.py, optim/adaptive.py) ----------

struct Many {             // by value, and so at most 4 kB: kernels.py fills it
    long long size[MANY], step[MANY], first[MANY];  // first: there was no state before
    T *w[MANY];           // a parameter,
    const T *g[MANY];     // its gradient,
    T *a[MANY], *b[MANY], *c[MANY];  // its state, in the order in which optim/ names it; null if there is none
};

extern "C" __global__ void sgd(Many t, double maximize, double lr, double momentum, double dampening,
                               double weight_decay, double nesterov) {
    const int k = blockIdx.y;
    T *w = t.w[k], *v = t.a[k];
    for (EACH(i, t.size[k])) {
        T g = maximize ? -t.g[k][i] : t.g[k][i];
        if (weight_decay) g += (T)weight_decay * w[i];
        if (momentum) {                                   // the first gradient goes into v undamped
            v[i] = t.first[k] ? g : (T)momentum * v[i] + (T)(1 - dampening) * g;
            g = nesterov ? g + (T)momentum * v[i] : v[i];
        }
        w[i] -= (T)lr * g;
    }
}

extern "C" __global__ void rmsprop(Many t, double maximize, double lr, double alpha, double eps, double weight_decay,
                                   double momentum, double centered) {
    const int k = blockIdx.y;
    T *w = t.w[k], *s = t.a[k], *m = t.b[k], *b = t.c[k];
    for (EACH(i, t.size[k])) {
        T g = maximize ? -t.g[k][i] : t.g[k][i];
        if (weight_decay) g += (T)weight_decay * w[i];
        s[i] = (T)alpha * s[i] + (T)(1 - alpha) * g * g;
        T variance = s[i];
        if (centered) {
            m[i] = (T)alpha * m[i] + (T)(1 - alpha) * g;
            variance -= m[i] * m[i];
            variance = variance < 0 ? (T)0 : variance;    // of rounding; nan stays
        }
        T u = g / (sqrt(variance) + (T)eps);
        if (momentum) u = b[i] = (T)momentum * b[i] + u;
        w[i] -= (T)lr * u;
    }
}

// decoupled: AdamW's weight decay, apart from the gradient
__device__ void adam_step(const Many &t, bool decoupled, double maximize, double lr, double beta1, double beta2,
                          double eps, double weight_decay, double amsgrad) {
    const int k = blockIdx.y;
    T *w = t.w[k], *m = t.a[k], *s = t.b[k], *largest = t.c[k];
    const T rate = (T)(lr / (1 - pow(beta1, (double)t.step[k]))), correction = (T)(1 - pow(beta2, (double)t.step[k]));
    for (EACH(i, t.size[k])) {
        T g = maximize ? -t.g[k][i] : t.g[k][i];
        if (decoupled) w[i] *= (T)(1 - lr * weight_decay);
        else if (weight_decay) g += (T)weight_decay * w[i];
        m[i] = (T)beta1 * m[i] + (T)(1 - beta1) * g;
        T second = s[i] = (T)beta2 * s[i] + (T)(1 - beta2) * g * g;
        if (amsgrad) second = largest[i] = second > largest[i] || second != second ? second : largest[i];
        w[i] -= rate * m[i] / (sqrt(second / correction) + (T)eps);
    }
}

extern "C" __global__ void adam(Many t, double maximize, double lr, double beta1, double beta2, double eps,
                                double weight_decay, double amsgrad) {
    adam_step(t, false, maximize, lr, beta1, beta2, eps, weight_decay, amsgrad);
}

extern "C" __global__ void adamw(Many t, double maximize, double lr, double beta1, double beta2, double eps,
                                 double weight_decay, double amsgrad) {
    adam_step(t, true, maximize, lr, beta1, beta2, eps, weight_decay, amsgrad);
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

// -- elements --------------------------------------------------------------------------------------------------------

// ops/dropout.py's mask: `scale` where a hash of the place and two seeds is at least `least`, else 0
extern "C" __global__ void dropout_mask(T *mask, long long n, unsigned int seed, unsigned int seed2, unsigned int least,
                                        double scale) {
    for (EACH(i, n)) {
        unsigned int x = (unsigned int)i + seed;
        x = (x ^ (x >> 16)) * 0x21f0aaadu + seed2;
        x = (x ^ (x >> 15)) * 0x735a2d97u;
        mask[i] = x >= least ? (T)scale : (T)0;
    }
}
