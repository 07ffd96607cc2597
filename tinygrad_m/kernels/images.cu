// Images: (N, C, H, W) in memory, a block for each plane H x W; ops/windows.py says how windows slide.

struct Windows {          // by value: kernels.slide() fills it
    int height, width, kernel_y, kernel_x, oh, ow, stride_y, stride_x, top, left, dilation_y, dilation_x;

    // where in the image window (y, x) has its place (i, j); -1 if in the padding
    __device__ int pixel(int y, int x, int i, int j) const {
        const int h = y * stride_y - top + i * dilation_y, w = x * stride_x - left + j * dilation_x;
        return h >= 0 && h < height && w >= 0 && w < width ? h * width + w : -1;
    }
};
#define PIXEL(t, n) unsigned int t = threadIdx.x; t < (n); t += blockDim.x  // unsigned ones are divided faster

// ops/conv_cuda.py's _columns(): all windows as columns, (N, C, kernel_y, kernel_x, oh, ow); padding gives 0
extern "C" __global__ void im2col(const S *image, S *columns, Windows s) {
    const unsigned int places = s.kernel_y * s.kernel_x, place = blockIdx.x % places, ow = s.ow, length = s.oh * ow;
    const int i = place / s.kernel_x, j = place % s.kernel_x;
    image += blockIdx.x / places * (long long)s.height * s.width;
    columns += blockIdx.x * (long long)length;
    for (PIXEL(t, length)) {
        const int from = s.pixel(t / ow, t % ow, i, j);
        columns[t] = from < 0 ? (S)0 : image[from];
    }
}

// Each pixel gathers what the windows that meet it give back: share(place in the window, which of the plane's windows).
// One way, windows that meet pixel h are y, y - 1 ..., from the last one on that begins at h or before; their places i
// grow by the stride, and those between the kernel's, if it is dilated, are none.
template <typename F> __device__ void gather(S *image, const Windows &s, F share) {
    const unsigned int width = s.width, length = s.height * width;
    const int last_i = (s.kernel_y - 1) * s.dilation_y, last_j = (s.kernel_x - 1) * s.dilation_x;
    image += blockIdx.x * (long long)length;
    for (PIXEL(t, length)) {
        const int h = t / width + s.top, w = t % width + s.left;
        T total = 0;
        int y = h / s.stride_y, x_last = w / s.stride_x;
        if (y >= s.oh) y = s.oh - 1;
        if (x_last >= s.ow) x_last = s.ow - 1;
        for (int i = h - y * s.stride_y; y >= 0 && i <= last_i; y--, i += s.stride_y) {
            if (s.dilation_y > 1 && i % s.dilation_y) continue;
            const int row = (s.dilation_y > 1 ? i / s.dilation_y : i) * s.kernel_x;
            for (int x = x_last, j = w - x * s.stride_x; x >= 0 && j <= last_j; x--, j += s.stride_x) {
                if (s.dilation_x > 1 && j % s.dilation_x) continue;
                total += share(row + (s.dilation_x > 1 ? j / s.dilation_x : j), y * s.ow + x);
            }
        }
        image[t] = (S)total;
    }
}

// the transpose of im2col
extern "C" __global__ void col2im(const S *columns, S *image, Windows s) {
    const int length = s.oh * s.ow;
    columns += blockIdx.x * (long long)length * s.kernel_y * s.kernel_x;
    gather(image, s, [&](int place, int window) { return (T)columns[place * (long long)length + window]; });
}

// ops/pool.py's _max_pool(): the largest of each window, and which place it is at, the first of equal ones; 255: of
// none, where one is nan
extern "C" __global__ void max_pool(const S *image, S *out, unsigned char *winners, Windows s) {
    const unsigned int ow = s.ow, length = s.oh * ow;
    image += blockIdx.x * (long long)s.height * s.width;
    out += blockIdx.x * (long long)length;
    winners += blockIdx.x * (long long)length;
    for (PIXEL(t, length)) {
        T most = -1 / (T)0;  // of a window that is all padding
        int winner = -1;
        for (int i = 0; i < s.kernel_y; i++)
            for (int j = 0; j < s.kernel_x; j++) {
                const int from = s.pixel(t / ow, t % ow, i, j);
                if (from < 0) continue;
                const T pixel = image[from];
                if (winner < 0 || pixel > most || (pixel != pixel && most == most)) {  // nan is the largest, and stays
                    most = pixel;
                    winner = i * s.kernel_x + j;
                }
            }
        out[t] = (S)most;
        winners[t] = most != most ? 255 : winner;
    }
}

// ops/pool.py's _max_scatter(): the gradients of the windows that a pixel has won
extern "C" __global__ void max_pool_back(const S *g, S *image, const unsigned char *winners, Windows s) {
    const long long first = blockIdx.x * (long long)s.oh * s.ow;
    gather(image, s, [&](int place, int window) {
        return winners[first + window] == place ? (T)g[first + window] : (T)0;
    });
}

// ops/pool.py's _avg_pool(), and _avg_spread(), its transpose: each pixel of a window counts `share`
extern "C" __global__ void avg_pool(const S *image, S *out, double share, Windows s) {
    const unsigned int ow = s.ow, length = s.oh * ow;
    image += blockIdx.x * (long long)s.height * s.width;
    out += blockIdx.x * (long long)length;
    for (PIXEL(t, length)) {
        T total = 0;
        for (int i = 0; i < s.kernel_y; i++)
            for (int j = 0; j < s.kernel_x; j++) {
                const int from = s.pixel(t / ow, t % ow, i, j);
                if (from >= 0) total += (T)image[from];
            }
        out[t] = (S)(total * (T)share);
    }
}

extern "C" __global__ void avg_pool_back(const S *g, S *image, double share, Windows s) {
    g += blockIdx.x * (long long)s.oh * s.ow;
    gather(image, s, [&](int place, int window) { return (T)g[window] * (T)share; });
}
