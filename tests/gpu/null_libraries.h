// The rest of null_cuda.c: the driver's own interface, cuBLAS and cuDNN, as far as torch calls them. Their calls count
// and do nothing. cuDNN's answers are of its version 7 interface, which torch takes under
// TORCH_CUDNN_V8_API_DISABLED=1; that one knows no bf16, for which torch then has kernels of its own.

// ------------------------------------------------------------------------------------------------------------ driver

CUresult cuInit(unsigned flags) { return 0; }
CUresult cuDriverGetVersion(int* version) { return cudaDriverGetVersion(version); }
CUresult cuDeviceGetCount(int* found) { return cudaGetDeviceCount(found); }
CUresult cuCtxGetCurrent(CUcontext* context) {
    *context = (CUcontext)8;
    return 0;
}
CUresult cuCtxSetCurrent(CUcontext context) { return 0; }
CUresult cuGetErrorString(CUresult error, const char** text) {
    *text = "null driver";
    return 0;
}
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
    *flags = 0;
    *active = 1;
    return 0;
}
static CUresult attribute_of(int* value, int attribute, int device) {
    return cudaDeviceGetAttribute(value, (enum cudaDeviceAttr)attribute, device);
}
static CUresult nothing(void) { return 0; }

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned version,
                                             unsigned long long flags, enum cudaDriverEntryPointQueryResult* status) {
    *function = !strcmp(name, "cuDevicePrimaryCtxGetState") ? (void*)cuDevicePrimaryCtxGetState
                : !strcmp(name, "cuDeviceGetAttribute")     ? (void*)attribute_of
                                                            : (void*)nothing;
    if (status) *status = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}

// ------------------------------------------------------------------------------------------------------------ cuBLAS

// A function that counts, whatever it is called with.
#define COUNTED(name, counter)          \
    int name##_null(void) SYMBOL(name); \
    int name##_null(void) {             \
        add(counter, 1);                \
        return 0;                       \
    }

COUNTED(cublasSgemm_v2, GEMMS)
COUNTED(cublasSgemmEx, GEMMS)
COUNTED(cublasGemmEx, GEMMS)
COUNTED(cublasGemmStridedBatchedEx, GEMMS)
COUNTED(cublasSgemmStridedBatched, GEMMS)
COUNTED(cublasSgemv_v2, GEMMS)
COUNTED(cublasSdot_v2, GEMMS)
COUNTED(cublasDgemm_v2, GEMMS)
COUNTED(cublasLtMatmul, GEMMS)

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
    *handle = calloc(1, 64);
    return 0;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) { return 0; }
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) { return 0; }
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* start, size_t bytes) { return 0; }
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, int mode) { return 0; }
cublasStatus_t cublasGetMathMode(cublasHandle_t handle, int* mode) {
    *mode = 0;
    return 0;
}
cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, int mode) { return 0; }
cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, int* mode) { return cublasGetMathMode(handle, mode); }
cublasStatus_t cublasSetSmCountTarget(cublasHandle_t handle, int multiprocessors) { return 0; }
int cublasLtMatmulAlgoGetHeuristic(void* handle, void* of, void* a, void* b, void* c, void* d, void* preference,
                                   int asked, void* found, int* number) {
    *number = 1;
    return 0;
}

// ------------------------------------------------------------------------------------------------------------- cuDNN

COUNTED(cudnnConvolutionForward, CONVOLUTIONS)
COUNTED(cudnnConvolutionBackwardData, CONVOLUTIONS)
COUNTED(cudnnConvolutionBackwardFilter, CONVOLUTIONS)
COUNTED(cudnnBatchNormalizationForwardTrainingEx, NORMS)
COUNTED(cudnnBatchNormalizationBackwardEx, NORMS)
COUNTED(cudnnBatchNormalizationForwardInference, NORMS)

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
    *handle = calloc(1, 64);
    return 0;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return 0; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) { return 0; }

// One algorithm, for everything.
#define ALGORITHM(name, of)                                                                              \
    int name##_null(void*, void*, void*, void*, void*, int, int*, of*) SYMBOL(name);                     \
    int name##_null(void* handle, void* a, void* b, void* c, void* d, int asked, int* number, of* all) { \
        memset(all, 0, sizeof *all * asked);                                                             \
        for (int i = 0; i < asked; i++) {                                                                \
            all[i].algo = 1;                                                                             \
            all[i].determinism = CUDNN_DETERMINISTIC;                                                    \
            all[i].mathType = CUDNN_FMA_MATH;                                                            \
        }                                                                                                \
        *number = 1;                                                                                     \
        return 0;                                                                                        \
    }
ALGORITHM(cudnnGetConvolutionForwardAlgorithm_v7, cudnnConvolutionFwdAlgoPerf_t)
ALGORITHM(cudnnGetConvolutionBackwardDataAlgorithm_v7, cudnnConvolutionBwdDataAlgoPerf_t)
ALGORITHM(cudnnGetConvolutionBackwardFilterAlgorithm_v7, cudnnConvolutionBwdFilterAlgoPerf_t)

// No function needs room to work in; the size is the last of its arguments.
#define NO_ROOM(name, arguments, named)     \
    int name##_null arguments SYMBOL(name); \
    int name##_null named {                 \
        *bytes = 0;                         \
        return 0;                           \
    }
#define OF_CONVOLUTION(name)                                         \
    NO_ROOM(name, (void*, void*, void*, void*, void*, int, size_t*), \
            (void* a, void* b, void* c, void* d, void* e, int f, size_t* bytes))
OF_CONVOLUTION(cudnnGetConvolutionForwardWorkspaceSize)
OF_CONVOLUTION(cudnnGetConvolutionBackwardDataWorkspaceSize)
OF_CONVOLUTION(cudnnGetConvolutionBackwardFilterWorkspaceSize)
NO_ROOM(cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize,
        (void*, int, int, void*, void*, void*, void*, void*, size_t*),
        (void* a, int b, int c, void* d, void* e, void* f, void* g, void* h, size_t* bytes))
NO_ROOM(cudnnGetBatchNormalizationBackwardExWorkspaceSize,
        (void*, int, int, void*, void*, void*, void*, void*, void*, void*, size_t*),
        (void* a, int b, int c, void* d, void* e, void* f, void* g, void* h, void* i, void* j, size_t* bytes))
NO_ROOM(cudnnGetBatchNormalizationTrainingExReserveSpaceSize, (void*, int, int, void*, void*, size_t*),
        (void* a, int b, int c, void* d, void* e, size_t* bytes))
