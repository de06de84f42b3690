// A CUDA driver without a GPU, loaded before torch's (LD_PRELOAD): device memory is host memory, copies to the device
// are real, kernels do nothing, and everything is counted. What is real about a process that runs on it is where
// tensors live, who waits for whom, what is launched and how much memory is asked for. Values are not: whatever comes
// back from the device is zeros, and one byte, which is an answer such as "all finite?", is yes.
//
// The environment says which machine it is; it is read when CUDA is first asked, as by the real driver:
//   NULL_GPUS=90,75         compute capabilities of the GPUs, times ten; CUDA_VISIBLE_DEVICES (numbers) chooses from
//   them NULL_BYTES=N            memory of each, in bytes NULL_OLD_DRIVER=1       the driver is too old for the
//   runtime: NVML sees the GPUs, CUDA refuses
// Compiled twice: with -DNVML it is the other library of a driver, which counts GPUs without touching them.

#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

enum { MOST_GPUS = 16 };

static int capability[MOST_GPUS];

// The machine's GPUs: fills `capability`, returns their number.
static int installed(void) {
    const char* list = getenv("NULL_GPUS");
    int count = 0;
    while (list && *list && count < MOST_GPUS) {
        capability[count++] = atoi(list);
        list = strchr(list, ',');
        if (list) list++;
    }
    return count;
}

#ifdef NVML
int nvmlInit(void) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(int* count) {
    *count = installed();
    return 0;
}
// What torch asks before it says "out of memory": who else uses the GPU? Nobody.
int nvmlDeviceGetHandleByPciBusId_v2(const char* bus, void** device) { return 0; }
int nvmlDeviceGetComputeRunningProcesses(void* device, unsigned* number, void* processes) {
    *number = 0;
    return 0;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(void* device, unsigned link, int* type) { return 3; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void* device, unsigned link, void* bus) { return 3; }
int nvmlSystemGetCudaDriverVersion_v2(int* version) {
    *version = 13000;
    return 0;
}
#else

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
// cudnn.h needs none of cuBLAS's header, but a few of its names.
typedef int cublasStatus_t;
typedef void* cublasHandle_t;
#include <cudnn.h>

// ---------------------------------------------------------------------------------------------------------- counters

// In the order of null_names, by which Python finds them.
enum counter {
    KERNELS,          // kernels of torch's own
    GEMMS,            // products of matrices by cuBLAS
    CONVOLUTIONS,     // by cuDNN
    NORMS,            // BatchNorm by cuDNN
    H2D_PAGEABLE,     // copies from memory that is not pinned: the driver waits for them
    H2D_PINNED,       // copies from pinned memory
    D2H,              // copies to the host
    D2D,              // copies within a device, and between devices
    MEMSETS,          //
    STREAM_SYNCS,     // waits for a stream: item(), nonzero(), copies that block
    DEVICE_SYNCS,     // waits for all streams
    EVENT_SYNCS,      // waits for an event
    BLOCKING_COPIES,  // cudaMemcpy
    MALLOCS,          // blocks that the caching allocator asks for
    DEVICE_COUNTS,    // questions how many GPUs there are, the first touch of CUDA
    H2D_BYTES,        //
    LIVE_BYTES,       // of all devices together, now
    PEAK_BYTES,       // the most of these since null_reset
    COUNTERS
};
const char* const null_names[] = {"kernels",
                                  "gemms",
                                  "convolutions",
                                  "norms",
                                  "h2d_pageable",
                                  "h2d_pinned",
                                  "d2h",
                                  "d2d",
                                  "memsets",
                                  "stream_syncs",
                                  "device_syncs",
                                  "event_syncs",
                                  "blocking_copies",
                                  "mallocs",
                                  "device_counts",
                                  "h2d_bytes",
                                  "live_bytes",
                                  "peak_bytes",
                                  NULL};
_Static_assert(sizeof null_names / sizeof *null_names == COUNTERS + 1, "a name for each counter");
long null_counts[COUNTERS];

typedef void (*listener_t)(int counter);
static listener_t listener;

// Python is called at every wait and copy, in the thread that made it.
void null_listen(listener_t function) { listener = function; }

void null_reset(void) {
    long live = null_counts[LIVE_BYTES];
    memset(null_counts, 0, sizeof null_counts);
    null_counts[LIVE_BYTES] = null_counts[PEAK_BYTES] = live;
}

static long add(enum counter counter, long by) { return __sync_add_and_fetch(&null_counts[counter], by); }

static void hit(enum counter counter) {
    add(counter, 1);
    if (listener) listener(counter);
}

// ----------------------------------------------------------------------------------------------------------- devices

static int count = -1;                // GPUs that this process sees
static int physical[MOST_GPUS];       // their numbers in the machine
static long live[MOST_GPUS];          // bytes of each in use
static __thread int current;          // the thread's device
static __thread cudaError_t failure;  // the thread's last one

static int fail(cudaError_t error) { return failure = error; }

static void look(void) {
    if (count >= 0) return;
    int all = installed();
    const char* chosen = getenv("CUDA_VISIBLE_DEVICES");
    count = 0;
    for (int i = 0; !chosen && i < all; i++) physical[count++] = i;
    while (chosen && *chosen && count < MOST_GPUS) {
        int number = atoi(chosen);
        if (number < 0 || number >= all) break;  // the real one ignores what follows, too
        physical[count++] = number;
        chosen = strchr(chosen, ',');
        if (chosen) chosen++;
    }
}

static int old_driver(void) { return getenv("NULL_OLD_DRIVER") != NULL; }

static long bytes_of_each(void) {
    const char* given = getenv("NULL_BYTES");
    return given ? atol(given) : 16L << 30;
}

cudaError_t cudaGetDeviceCount(int* found) {
    add(DEVICE_COUNTS, 1);
    look();
    *found = old_driver() ? 0 : count;
    return old_driver() ? fail(cudaErrorInsufficientDriver) : count ? cudaSuccess : fail(cudaErrorNoDevice);
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = old_driver() ? 11040 : CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = current;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    look();
    if (device < 0 || device >= count) return fail(cudaErrorInvalidDevice);
    current = device;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp* p, int device) {
    look();
    memset(p, 0, sizeof *p);
    if (device < 0 || device >= count) return fail(cudaErrorInvalidDevice);
    int of = capability[physical[device]];
    snprintf(p->name, sizeof p->name, "Null GPU sm_%d", of);
    p->uuid.bytes[15] = p->pciBusID = physical[device];
    p->major = of / 10;
    p->minor = of % 10;
    p->totalGlobalMem = bytes_of_each();
    p->multiProcessorCount = 132;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->warpSize = 32;
    p->sharedMemPerBlock = 49152;
    p->sharedMemPerBlockOptin = 232448;
    p->sharedMemPerMultiprocessor = 233472;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->l2CacheSize = 50 << 20;
    p->maxGridSize[0] = 2147483647;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->textureAlignment = 512;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, enum cudaDeviceAttr attribute, int device) {
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
        case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = p.sharedMemPerBlock; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = p.sharedMemPerBlockOptin; break;
        case cudaDevAttrMaxGridDimX: *value = p.maxGridSize[0]; break;
        case cudaDevAttrWarpSize: *value = p.warpSize; break;
        default: *value = 1024;
    }
    return error;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
    snprintf(text, length, "0000:%02d:00.0", physical[device]);
    return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int one, int other) {
    *can = 0;
    return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int device, unsigned flags) { return cudaSuccess; }
cudaError_t cudaGetLastError(void) {
    cudaError_t error = failure;
    failure = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError(void) { return failure; }

// ------------------------------------------------------------------------------------------------------------ memory

enum { MOST_BLOCKS = 1 << 18 };

struct blocks {
    struct block {
        char* start;
        size_t bytes;
        int device;
    } list[MOST_BLOCKS];
    int length;
};
static struct blocks on_device, pinned;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void keep(struct blocks* blocks, void* start, size_t bytes) {
    pthread_mutex_lock(&mutex);
    if (blocks->length == MOST_BLOCKS) abort();
    blocks->list[blocks->length++] = (struct block){start, bytes, current};
    pthread_mutex_unlock(&mutex);
}

// Forgets the block that starts there, and returns it; all zero without one.
static struct block drop(struct blocks* blocks, void* start) {
    struct block found = {0};
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < blocks->length; i++) {
        if (blocks->list[i].start != start) continue;
        found = blocks->list[i];
        blocks->list[i] = blocks->list[--blocks->length];
        break;
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

static int holds(struct blocks* blocks, const void* address) {
    int found = 0;
    pthread_mutex_lock(&mutex);
    for (int i = blocks->length - 1; i >= 0 && !found; i--)
        found = (size_t)((const char*)address - blocks->list[i].start) < blocks->list[i].bytes;
    pthread_mutex_unlock(&mutex);
    return found;
}

cudaError_t cudaMalloc(void** start, size_t bytes) {
    add(MALLOCS, 1);
    if (__sync_add_and_fetch(&live[current], bytes) > bytes_of_each()) {
        __sync_sub_and_fetch(&live[current], bytes);
        return fail(cudaErrorMemoryAllocation);
    }
    *start = mmap(0, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*start == MAP_FAILED) return fail(cudaErrorMemoryAllocation);
    keep(&on_device, *start, bytes);
    long now = add(LIVE_BYTES, bytes);
    if (now > null_counts[PEAK_BYTES]) null_counts[PEAK_BYTES] = now;
    return cudaSuccess;
}
cudaError_t cudaFree(void* start) {
    struct block block = drop(&on_device, start);
    if (!block.start) return cudaSuccess;
    add(LIVE_BYTES, -(long)block.bytes);
    __sync_sub_and_fetch(&live[block.device], block.bytes);
    munmap(start, block.bytes ? block.bytes : 1);
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
    *total = bytes_of_each();
    *available = *total - live[current];
    return cudaSuccess;
}
cudaError_t cudaHostRegister(void* start, size_t bytes, unsigned flags) {
    keep(&pinned, start, bytes);
    return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* start) {
    drop(&pinned, start);
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** start, size_t bytes, unsigned flags) {
    if (posix_memalign(start, 4096, bytes)) return fail(cudaErrorMemoryAllocation);
    return cudaHostRegister(*start, bytes, flags);
}
cudaError_t cudaFreeHost(void* start) {
    drop(&pinned, start);
    free(start);
    return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes* of, const void* address) {
    memset(of, 0, sizeof *of);
    of->type = holds(&pinned, address)      ? cudaMemoryTypeHost
               : holds(&on_device, address) ? cudaMemoryTypeDevice
                                            : cudaMemoryTypeUnregistered;
    of->devicePointer = of->hostPointer = (void*)address;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    if (kind == cudaMemcpyHostToDevice) {
        add(H2D_BYTES, bytes);
        hit(holds(&pinned, from) ? H2D_PINNED : H2D_PAGEABLE);
        memmove(to, from, bytes);
    } else if (kind == cudaMemcpyDeviceToHost) {
        hit(D2H);
        memset(to, bytes == 1, bytes);
    } else {
        hit(D2D);
    }
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, enum cudaMemcpyKind kind) {
    cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, 0);
    hit(BLOCKING_COPIES);
    return error;
}
cudaError_t cudaMemcpyPeerAsync(void* to, int a, const void* from, int b, size_t bytes, cudaStream_t stream) {
    hit(D2D);
    return cudaSuccess;
}
cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, size_t bytes, size_t at,
                               enum cudaMemcpyKind kind) {
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* start, int value, size_t bytes, cudaStream_t stream) {
    add(MEMSETS, 1);
    memset(start, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemset(void* start, int value, size_t bytes) { return cudaMemsetAsync(start, value, bytes, 0); }

#include "null_streams.h"
// After it, which defines SYMBOL.
#include "null_libraries.h"
#endif
