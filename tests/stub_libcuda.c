/* A CUDA driver for machines without one: every call succeeds, nothing runs, launches are remembered.
 *
 * With it, Triton's own launcher works on CPU memory, so that what is launched can be tested and timed without a GPU.
 */
#include <stddef.h>
#include <stdint.h>

typedef int Result;
typedef struct {
    unsigned grid[3], block[3], shared;
    void *stream;
} Config; /* the head of CUlaunchConfig */

static int context;
static intptr_t functions;

/* The last launch: how many there were, function, grid, the pointers and the integers that stub_expect asked for. */
static int64_t launches, last[16];
static int pointers, integers;

/* How many modules have been unloaded; a launch of a function of theirs would fail. */
static int64_t unloads;

int64_t stub_unloads(void) { return unloads; }

void stub_expect(int p, int i) { pointers = p, integers = i; }

void stub_last(int64_t *out) {
    out[0] = launches;
    for (int i = 0; i < 15; i++) out[i + 1] = last[i];
}

Result cuLaunchKernelEx(const Config *config, void *function, void **arguments, void **extra) {
    launches++;
    last[0] = (intptr_t)function;
    last[1] = config->grid[0];
    for (int i = 0; i < pointers; i++) last[2 + i] = *(int64_t *)arguments[i];
    for (int i = 0; i < integers; i++) last[2 + pointers + i] = *(int32_t *)arguments[pointers + i];
    return 0;
}

Result cuModuleGetFunction(void **function, void *module, const char *name) { return *function = (void *)++functions, 0; }
Result cuModuleLoadData(void **module, const void *image) { return *module = &context, 0; }
Result cuModuleUnload(void *module) { return unloads++, 0; }
Result cuInit(unsigned flags) { return 0; }
Result cuDriverGetVersion(int *version) { return *version = 13000, 0; }
Result cuDeviceGetCount(int *count) { return *count = 1, 0; }
Result cuDeviceGet(int *device, int ordinal) { return *device = ordinal, 0; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) { return *value = 232448, 0; } /* shared memory */
Result cuDevicePrimaryCtxRetain(void **out, int device) { return *out = &context, 0; }
Result cuCtxGetCurrent(void **out) { return *out = &context, 0; }
Result cuCtxSetCurrent(void *in) { return 0; }
Result cuCtxGetDevice(int *device) { return *device = 0, 0; }
Result cuCtxGetLimit(size_t *value, int limit) { return *value = 0, 0; }
Result cuCtxSetLimit(int limit, size_t value) { return 0; }
Result cuFuncGetAttribute(int *value, int attribute, void *function) { return *value = 1024, 0; }
Result cuFuncSetAttribute(void *function, int attribute, int value) { return 0; }
Result cuFuncSetCacheConfig(void *function, int config) { return 0; }
Result cuGetErrorString(int error, const char **text) { return *text = "stub", 0; }
Result cuOccupancyMaxActiveClusters(int *count, void *function, const void *config) { return *count = 1, 0; }
Result cuPointerGetAttribute(void *value, int attribute, uint64_t pointer) { return *(uint64_t *)value = pointer, 0; }
Result cuPointerGetAttributes(unsigned n, int *attributes, void **values, uint64_t pointer) { return 0; }
Result cuStreamIsCapturing(void *stream, int *status) { return *status = 0, 0; }
Result cuTensorMapEncodeIm2col(void) { return 0; }
Result cuTensorMapEncodeTiled(void) { return 0; }
