/* What worker/tests/rig/nvml.rs loads in place of NVIDIA's management library: two cards, and the
 * ways to fail that FAKE_NVML names. Signatures and numbers are those of NVIDIA's nvml.h. */
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, MISMATCH = 18 };

typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} Pci;
typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} Memory;
typedef struct { unsigned gpu, memory; } Utilization;

static int cards[2] = {0, 1};

static int is(const char *behaviour) {
    const char *set = getenv("FAKE_NVML");
    return set && !strcmp(set, behaviour);
}

int nvmlInit_v2(void) {
    return is("no driver") ? DRIVER_NOT_LOADED : is("mismatch") ? MISMATCH : SUCCESS;
}
int nvmlShutdown(void) { return SUCCESS; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    strncpy(text, "550.54.14", length);
    return SUCCESS;
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, int **card) {
    *card = &cards[index];
    return index == 1 && is("lost") ? GPU_IS_LOST : SUCCESS;
}
int nvmlDeviceGetName(int *card, char *text, unsigned length) {
    (void)card;
    strncpy(text, "NVIDIA GeForce RTX 3080 Ti", length);
    return SUCCESS;
}
int nvmlDeviceGetUUID(int *card, char *text, unsigned length) {
    strncpy(text, *card ? "GPU-b" : "GPU-a", length);
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(int *card, Pci *pci) {
    memset(pci, 0, sizeof *pci);
    strcpy(pci->busId, *card ? "00000000:0A:00.0" : "00000000:01:00.0");
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(int *card, int *major, int *minor) {
    (void)card;
    *major = 8;
    *minor = 6;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(int *card, Memory *memory) {
    (void)card;
    memory->total = 12884901888ULL;
    memory->reserved = 0;
    memory->used = 1048576;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(int *card, int sensor, unsigned *degrees) {
    (void)sensor;
    *degrees = *card && is("hot") ? 98 : 41;
    return is("fails") && *card ? GPU_IS_LOST : SUCCESS;
}
int nvmlDeviceGetTemperatureThreshold(int *card, int kind, unsigned *degrees) {
    (void)card, (void)kind;
    *degrees = 98;
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(int *card, Utilization *rates) {
    (void)card;
    *rates = (Utilization){7, 0};
    return is("tells little") ? NOT_SUPPORTED : SUCCESS;
}
