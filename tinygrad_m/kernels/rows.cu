// Rows: a block for each, or for a share of it, whose threads (a power of two) meet in shared memory.

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

// its mean: one block. losses: (2, n), as above; mean: that of those which count, and how many they are
extern "C" __global__ void mean_loss(const T *losses, T *mean, long long n) {
    T total = 0, count = 0;
    for (PART(i, n)) {
        total += losses[i];
        count += losses[n + i];
    }
    total = sum(total);
    count = sum(count);
    if (threadIdx.x == 0) mean[0] = total / count, mean[1] = count;
}

// ops/batch_norm.py's _batch_norm(), of (N, C, length) in memory: blockIdx.x is a channel, and blockIdx.y says which of
// its n = N length numbers are the block's share, as one block a channel would leave most of a GPU idle.
struct Share {
    unsigned int length, start, end;
    long long step, offset;
    __device__ Share(long long n, long long channel_length)
        : length(channel_length), start(n * blockIdx.y / gridDim.y), end(n * (blockIdx.y + 1) / gridDim.y),
          step(gridDim.x * channel_length), offset(blockIdx.x * channel_length) {}
    __device__ long long operator[](unsigned int i) const { return i / length * step + offset + i % length; }
};
#define OWN(i, share) unsigned int i = (share).start + threadIdx.x; i < (share).end; i += blockDim.x

// The mean of each share and its sum of (x - mean)^2, into parts (2, channels, shares).
extern "C" __global__ void batch_norm_moments(const T *__restrict__ x, T *__restrict__ parts, long long n,
                                              long long length) {
    const Share own(n, length);
    const T count = own.end - own.start;
    T total = 0, square = 0;
    #pragma unroll 4
    for (OWN(i, own)) total += x[own[i]];
    const T mean = sum(total) / count;
    #pragma unroll 4
    for (OWN(i, own)) square += (x[own[i]] - mean) * (x[own[i]] - mean);
    square = sum(square);
    if (threadIdx.x) return;
    parts += blockIdx.x * (long long)gridDim.y + blockIdx.y;
    parts[0] = mean, parts[gridDim.x * (long long)gridDim.y] = square;
}

// Then mean, var and rstd of each channel, into moments (3, channels), and the result. The sum of (x - mean)^2 over all
// is that of each share about its own mean, and count (its mean - mean)^2 of each share.
extern "C" __global__ void batch_norm(const T *__restrict__ x, const T *__restrict__ weight, const T *__restrict__ bias,
                                      const T *__restrict__ parts, T *__restrict__ out, T *__restrict__ moments,
                                      long long n, long long length, double eps) {
    const Share own(n, length);
    const long long row = blockIdx.x, rows = gridDim.x, shares = gridDim.y;
    T total = 0, square = 0;
    for (PART(k, shares)) total += parts[row * shares + k] * (T)(n * (k + 1) / shares - n * k / shares);
    const T mean = sum(total) / n;
    for (PART(k, shares)) {
        const T off = parts[row * shares + k] - mean;
        square += parts[(rows + row) * shares + k] + off * off * (T)(n * (k + 1) / shares - n * k / shares);
    }
    const T var = sum(square) / n, rstd = 1 / sqrt(var + (T)eps);
    const T scale = weight ? rstd * weight[row] : rstd, offset = bias ? bias[row] : (T)0;
    #pragma unroll 4
    for (OWN(i, own)) out[own[i]] = (x[own[i]] - mean) * scale + offset;
    if (threadIdx.x || blockIdx.y) return;
    moments[row] = mean, moments[rows + row] = var, moments[2 * rows + row] = rstd;
}

// Its _backward(): first sum(g) and sum(g hat) of each share, into parts (2, channels, shares);
extern "C" __global__ void batch_norm_sums(const T *__restrict__ g, const T *__restrict__ x,
                                           const T *__restrict__ moments, T *__restrict__ parts, long long n,
                                           long long length) {
    const Share own(n, length);
    const T mean = moments[blockIdx.x], rstd = moments[2 * gridDim.x + blockIdx.x];
    T total = 0, product = 0;
    #pragma unroll 4
    for (OWN(i, own)) {
        total += g[own[i]];
        product += g[own[i]] * (x[own[i]] - mean);
    }
    total = sum(total);
    product = sum(product) * rstd;
    if (threadIdx.x) return;
    parts += blockIdx.x * (long long)gridDim.y + blockIdx.y;
    parts[0] = total, parts[gridDim.x * (long long)gridDim.y] = product;
}

// then those of each channel, into sum_g and sum_g_hat, and the gradient of x, into back.
extern "C" __global__ void batch_norm_back(const T *__restrict__ g, const T *__restrict__ x,
                                           const T *__restrict__ weight, const T *__restrict__ moments,
                                           const T *__restrict__ parts, T *__restrict__ back, T *sum_g, T *sum_g_hat,
                                           long long n, long long length) {
    const Share own(n, length);
    const long long row = blockIdx.x, rows = gridDim.x, shares = gridDim.y;
    const T mean = moments[row], rstd = moments[2 * rows + row], scale = weight ? rstd * weight[row] : rstd;
    T total = 0, product = 0;
    for (PART(k, shares)) {
        total += parts[row * shares + k];
        product += parts[(rows + row) * shares + k];
    }
    total = sum(total);
    product = sum(product);
    #pragma unroll 4
    for (OWN(i, own))
        back[own[i]] = scale * (g[own[i]] - total / n - (x[own[i]] - mean) * rstd * product / n);
    if (threadIdx.x == 0 && blockIdx.y == 0) sum_g[row] = total, sum_g_hat[row] = product;
}
