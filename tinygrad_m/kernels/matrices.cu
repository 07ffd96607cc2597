// a (m, k) times b (k, n), batches of them, with any strides; out (batch, m, n). A block of 16 x 16 threads makes a
// tile of 32 x 32 of out, each thread 2 x 2. For captured steps where cublas.py finds no cuBLAS, which is faster.
// float16 (S) is added up in float32 (T), and rounded once.
#define TILE 32
extern "C" __global__ void matmul(const S *a, const S *b, S *out,
                                  long long batches, long long m, long long n, long long k,
                                  long long a_batch, long long a_row, long long a_column,
                                  long long b_batch, long long b_row, long long b_column) {
    __shared__ T left[TILE][TILE + 1], right[TILE][TILE + 1];  // by depth; + 1: columns lie in different banks
    const long long across = (n + TILE - 1) / TILE;
    const long long top = blockIdx.x / across * TILE, start = blockIdx.x % across * TILE;
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    for (long long batch = blockIdx.y; batch < batches; batch += gridDim.y) {
        const S *p = a + batch * a_batch, *q = b + batch * b_batch;
        T sums[2][2] = {};
        for (long long deep = 0; deep < k; deep += TILE) {
            for (int t = threadIdx.x; t < TILE * TILE; t += blockDim.x) {  // neighbours in memory by threads that are
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
