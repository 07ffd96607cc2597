// Elements: each thread takes every so many of them.

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

// ops/fused.py's biased(): activation(x + bias), of (N, C, length) in memory with a bias for each of C; 0: relu, 1: tanh,
// 2: sigmoid
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
