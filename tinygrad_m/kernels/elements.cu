// Elements: each thread takes every so many of them.

// ops/dropout.py's _drop(): x times its mask, which is `scale` where a hash of the place and two seeds is at least
// `least`, else 0. Of images, (N, ...), the place is the one in (..., N).
extern "C" __global__ void dropout(S *out, long long n, const S *input, unsigned int images, const unsigned int *seeds,
                                   unsigned int least, double scale) {
    const unsigned int size = n / images;
    for (EACH(i, n)) {
        const unsigned int k = i;
        unsigned int x = k % size * images + k / size + seeds[0];
        x = (x ^ (x >> 16)) * 0x21f0aaadu + seeds[1];
        x = (x ^ (x >> 15)) * 0x735a2d97u;
        out[i] = (S)((T)input[i] * (x >= least ? (T)scale : (T)0));
    }
}

// ops/fused.py's biased(): activation(x + bias), of (N, C, length) in memory with a bias for each of C; 0: relu,
// 1: tanh, 2: sigmoid
extern "C" __global__ void biased(S *out, long long n, const S *x, const S *bias, unsigned int channels,
                                  unsigned int length, int activation) {
    for (EACH(i, n)) {
        const T z = (T)x[i] + (T)bias[(unsigned int)i / length % channels];
        out[i] = (S)(activation == 0 ? z > 0 || z != z ? z : (T)0 : activation == 1 ? (T)tanh(z)
                     : z >= 0 ? 1 / (1 + (T)exp(-z)) : (T)exp(z) / (1 + (T)exp(z)));
    }
}

// and the gradient of x, from the result
extern "C" __global__ void biased_back(S *back, long long n, const S *g, const S *out, int activation) {
    for (EACH(i, n)) {
        const T y = out[i];
        back[i] = (S)(activation == 0 ? y != 0 ? (T)g[i] : (T)0 : activation == 1 ? (T)g[i] * (1 - y * y)
                      : (T)g[i] * y * (1 - y));
    }
}

// ops/batch_norm.py's follow(): n running means and vars go a part of the way to new ones
extern "C" __global__ void follow(T *means, long long n, T *vars, const T *mean, const T *var, double momentum,
                                  double unbiased) {
    for (EACH(i, n)) {
        means[i] += (mean[i] - means[i]) * (T)momentum;
        vars[i] += (var[i] * (T)unbiased - vars[i]) * (T)momentum;
    }
}

// the gradient of cross-entropy's mean: slopes of the losses times g / count
extern "C" __global__ void scaled(T *out, long long n, const T *slopes, const T *g, const T *count) {
    const T scale = *g / *count;
    for (EACH(i, n)) out[i] = slopes[i] * scale;
}
