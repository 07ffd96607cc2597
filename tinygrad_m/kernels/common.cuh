// What the kernels share; it is put before each file of them. Each kernel does in one launch what the plain rule named
// beside it does in several, and the tests hold the two equal. __init__.py launches them, and defines when it compiles
// them: REAL (float or double), STORED (float, double or Half) and MANY. What a schedule changes is an argument: so
// nothing is compiled again.

typedef REAL T;

#ifdef __CUDACC__  // float16, in memory only: one instruction each way, and no header that NVRTC would have to find
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
#define PART(i, n) long long i = threadIdx.x; i < (n); i += blockDim.x  // a block's
