// Optimizers: all parameters in one launch, blockIdx.y says which (optim/momentum.py, optim/adaptive.py); and what
// amp.py does to all gradients.

struct Many {             // by value, and so at most 4 kB: kernels.update() fills it
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
