/* An emulated libnvidia-ml.so.1: the functions of NVIDIA's library that meters call, over the boards of a script.
 *
 * It needs no NVIDIA header, and unmodified nvidia-ml-py loads it, as do meters of other projects. script.h says what
 * a script can hold.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "script.h"

typedef int result; /* nvmlReturn_t */
enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, VERSION_MISMATCH = 25,
};
enum { FIELD_ENERGY = 83, FIELD_POWER_AVERAGE = 185, FIELD_POWER_INSTANT = 186, FIELD_LIMIT_LEAST = 187,
       FIELD_LIMIT_MOST = 188, FIELD_LIMIT_USUAL = 189, FIELD_LIMIT = 190, FIELD_ENERGY_TOO = 191, FIELD_LIMIT_TOO = 192 };
enum { SCOPE_MEMORY = 2, TYPE_UINT = 1, TYPE_ULL = 3 };

struct process_info { uint32_t pid; uint64_t used_bytes; uint32_t gpu_instance, compute_instance; };
struct memory { uint64_t total, free, used; };
struct memory_v2 { uint32_t version; uint64_t total, reserved, free, used; };
struct attributes { uint32_t processors, copiers, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices; uint64_t memory_mb; };
struct utilisation { uint32_t gpu, memory; };
struct pci { char old_id[16]; uint32_t domain, bus, device, pci_device, pci_subsystem; char id[32]; };
struct temperature { uint32_t version, sensor; int32_t celsius; };
union value { double real; uint32_t ui; uint64_t ull; };
struct field { uint32_t id, scope; int64_t at_us, latency_us; int32_t type, result; union value value; };

/* A handle is a place in one of these: a board, or a MIG slice of one. */
static char board_handles[MOST_BOARDS], slice_handles[MOST_BOARDS][MOST_SLICES];
static int users; /* how often the library was opened and not closed */
static pthread_mutex_t turn = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static struct board *board_of(const void *handle) {
    const char *place = handle;
    long index = place - board_handles;
    if (place >= &slice_handles[0][0] && place < &slice_handles[0][0] + sizeof slice_handles)
        index = (place - &slice_handles[0][0]) / MOST_SLICES;
    return index >= 0 && index < script.board_count ? &script.boards[index] : NULL;
}

static int slice_of(const void *handle) { /* -1: a whole board */
    const char *place = handle;
    int is_slice = place >= &slice_handles[0][0] && place < &slice_handles[0][0] + sizeof slice_handles;
    return is_slice ? (int)((place - &slice_handles[0][0]) % MOST_SLICES) : -1;
}

/* Wait as long as the script says that this call hangs; other calls go on meanwhile. */
static void hang(const char *symbol, int board) {
    struct timespec a_moment = {.tv_nsec = 20000000};
    while (event_at(&script.hangs, symbol, board, script_now_s())) {
        pthread_mutex_unlock(&turn);
        nanosleep(&a_moment, NULL);
        pthread_mutex_lock(&turn);
        read_script();
    }
}

static result failure(const char *symbol, int board) {
    const struct event *fault = event_at(&script.faults, symbol, board, script_now_s());
    return fault ? (result)fault->value : SUCCESS;
}

/* What every call begins with: return how it fails by the script. */
static result begin(const char *symbol, int board) {
    read_script();
    log_call(symbol, board);
    hang(symbol, board);
    return failure(symbol, board);
}

static result begin_opened(const char *symbol, int board) {
    result failed = begin(symbol, board);
    return users ? failed : UNINITIALIZED;
}

static int glitched(const char *symbol, const struct board *board, double *value) {
    const struct event *glitch = event_at(&script.glitches, symbol, board->index, script_now_s());
    if (glitch)
        *value = glitch->value;
    return glitch != NULL;
}

static unsigned now_of(const struct steps *steps, const struct board *board, unsigned usual) {
    const struct step *step = step_at(steps, board->index, script_now_s());
    return step ? (unsigned)step->value : usual;
}

/* A function that is asked with the lock held. ASK: of the system, ASK_BOARD: of a board, by its handle. */
#define EXPORT __attribute__((visibility("default")))
#define ASK(name, parameters, arguments)                                                                               \
    static result name##_asked parameters;                                                                             \
    EXPORT result name parameters {                                                                                    \
        pthread_mutex_lock(&turn);                                                                                     \
        result failed = begin_opened(#name, -1);                                                                       \
        failed = failed ? failed : name##_asked arguments;                                                             \
        pthread_mutex_unlock(&turn);                                                                                   \
        return failed;                                                                                                 \
    }                                                                                                                  \
    static result name##_asked parameters
#define WITH(...) , ##__VA_ARGS__
#define ASK_BOARD(name, parameters, arguments)                                                                         \
    static result name##_asked(void *handle, struct board *board parameters);                                          \
    EXPORT result name(void *handle parameters) {                                                                      \
        pthread_mutex_lock(&turn);                                                                                     \
        struct board *board = board_of(handle);                                                                        \
        result failed = begin_opened(#name, board ? board->index : -1);                                                \
        board = board_of(handle);                                                                                      \
        failed = failed ? failed : board ? name##_asked(handle, board arguments) : INVALID_ARGUMENT;                   \
        pthread_mutex_unlock(&turn);                                                                                   \
        return failed;                                                                                                 \
    }                                                                                                                  \
    static result name##_asked(__attribute__((unused)) void *handle, __attribute__((unused)) struct board *board parameters)
#define SAY(text, ...) (snprintf(text, length, __VA_ARGS__) < (int)length ? SUCCESS : INSUFFICIENT_SIZE)
#define ANSWER(expression) return expression, SUCCESS

/* ---- the library */

EXPORT result nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&turn);
    result failed = begin("nvmlInitWithFlags", -1);
    failed = failed ? failed : script.init_error;
    users += !failed;
    pthread_mutex_unlock(&turn);
    return failed;
}

EXPORT result nvmlInit_v2(void) {
    return nvmlInitWithFlags(0);
}

ASK(nvmlShutdown, (void), ()) { ANSWER(users--); }

EXPORT const char *nvmlErrorString(result code) {
    switch (code) {
    case 0: return "Success";
    case 1: return "Uninitialized";
    case 2: return "Invalid Argument";
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 6: return "Not Found";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 16: return "GPU requires reset";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

ASK(nvmlSystemGetDriverVersion, (char *text, unsigned length), (text, length)) { return SAY(text, "%s", script.driver); }
ASK(nvmlSystemGetNVMLVersion, (char *text, unsigned length), (text, length)) { return SAY(text, "13.%s", script.driver); }
ASK(nvmlSystemGetCudaDriverVersion, (int *version), (version)) { ANSWER(*version = 13000); }
ASK(nvmlSystemGetCudaDriverVersion_v2, (int *version), (version)) { ANSWER(*version = 13000); }
ASK(nvmlSystemGetProcessName, (unsigned pid, char *text, unsigned length), (pid, text, length)) {
    return SAY(text, "fake-%u", pid);
}

/* ---- which boards there are */

ASK(nvmlDeviceGetCount_v2, (unsigned *count), (count)) { ANSWER(*count = script.board_count); }

ASK(nvmlDeviceGetHandleByIndex_v2, (unsigned index, void **handle), (index, handle)) {
    if ((int)index >= script.board_count)
        return INVALID_ARGUMENT;
    *handle = &board_handles[index];
    return failure("nvmlDeviceGetHandleByIndex_v2", index);
}

ASK(nvmlDeviceGetHandleByUUID, (const char *uuid, void **handle), (uuid, handle)) {
    for (int index = 0; index < script.board_count; index++) {
        if (!strcmp(script.boards[index].uuid, uuid)) {
            *handle = &board_handles[index];
            return failure("nvmlDeviceGetHandleByUUID", index);
        }
        for (unsigned slice = 0; slice < script.boards[index].slices; slice++) {
            char own[NAME];
            snprintf(own, sizeof own, "MIG-00000000-0000-0000-%04d-%012d", (int)slice, index);
            if (!strcmp(own, uuid)) {
                *handle = &slice_handles[index][slice];
                return failure("nvmlDeviceGetHandleByUUID", index);
            }
        }
    }
    return NOT_FOUND;
}

ASK_BOARD(nvmlDeviceGetUUID, WITH(char *text, unsigned length), WITH(text, length)) {
    int slice = slice_of(handle);
    return slice < 0 ? SAY(text, "%s", board->uuid) : SAY(text, "MIG-00000000-0000-0000-%04d-%012d", slice, board->index);
}

ASK_BOARD(nvmlDeviceGetName, WITH(char *text, unsigned length), WITH(text, length)) {
    return SAY(text, "%s", board->name);
}

ASK_BOARD(nvmlDeviceGetSerial, WITH(char *text, unsigned length), WITH(text, length)) {
    return SAY(text, "FAKE%04d", board->index);
}

ASK_BOARD(nvmlDeviceGetPciInfo_v3, WITH(struct pci *pci), WITH(pci)) {
    *pci = (struct pci){.bus = board->index + 1};
    snprintf(pci->old_id, sizeof pci->old_id, "0000:%02X:00.0", pci->bus & 0xff);
    snprintf(pci->id, sizeof pci->id, "00000000:%02X:00.0", pci->bus & 0xff);
    return SUCCESS;
}

ASK_BOARD(nvmlDeviceGetIndex, WITH(unsigned *index), WITH(index)) { ANSWER(*index = board->index); }
ASK_BOARD(nvmlDeviceGetMinorNumber, WITH(unsigned *minor), WITH(minor)) { ANSWER(*minor = board->index); }
ASK_BOARD(nvmlDeviceGetArchitecture, WITH(unsigned *which), WITH(which)) { ANSWER(*which = board->architecture); }
ASK_BOARD(nvmlDeviceGetC2cModeInfoV, WITH(void *info), WITH(info)) { return (void)info, NOT_SUPPORTED; }

/* ---- boards that are split: every slice tells of the whole board */

ASK_BOARD(nvmlDeviceGetMigMode, WITH(unsigned *now, unsigned *then), WITH(now, then)) {
    *now = *then = board->mig;
    return board->mig > 1 ? NOT_SUPPORTED : SUCCESS;
}

ASK_BOARD(nvmlDeviceGetMigDeviceHandleByIndex, WITH(unsigned index, void **slice), WITH(index, slice)) {
    *slice = &slice_handles[board->index][index < MOST_SLICES ? index : 0];
    return index < board->slices ? SUCCESS : NOT_FOUND;
}

ASK_BOARD(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, WITH(void **whole), WITH(whole)) {
    ANSWER(*whole = &board_handles[board->index]);
}

ASK_BOARD(nvmlDeviceGetMaxMigDeviceCount, WITH(unsigned *count), WITH(count)) {
    ANSWER(*count = board->mig == 1 && board->slices ? MOST_SLICES : 0);
}
ASK_BOARD(nvmlDeviceGetGpuInstanceId, WITH(unsigned *id), WITH(id)) {
    *id = (unsigned)slice_of(handle) + 3;
    return slice_of(handle) >= 0 ? SUCCESS : NOT_SUPPORTED;
}
ASK_BOARD(nvmlDeviceGetComputeInstanceId, WITH(unsigned *id), WITH(id)) {
    *id = 0;
    return slice_of(handle) >= 0 ? SUCCESS : NOT_SUPPORTED;
}
/* The nth instance has n + 1 compute slices, and so many times 10 GB. */
ASK_BOARD(nvmlDeviceGetAttributes_v2, WITH(struct attributes *told), WITH(told)) {
    int slice = slice_of(handle);
    *told = (struct attributes){.gpu_slices = (unsigned)slice + 1, .compute_slices = (unsigned)slice + 1, .memory_mb = (uint64_t)(slice + 1) * 10240};
    return slice >= 0 ? SUCCESS : NOT_SUPPORTED;
}
ASK_BOARD(nvmlDeviceIsMigDeviceHandle, WITH(unsigned *is), WITH(is)) { ANSWER(*is = slice_of(handle) >= 0); }

/* ---- energy and power */

ASK_BOARD(nvmlDeviceGetTotalEnergyConsumption, WITH(unsigned long long *mj), WITH(mj)) {
    double glitch;
    if (!board->has_counter)
        return NOT_SUPPORTED;
    int is_glitched = glitched("nvmlDeviceGetTotalEnergyConsumption", board, &glitch);
    ANSWER(*mj = is_glitched ? (uint64_t)glitch : energy_mj(board, script_now_s()));
}

ASK_BOARD(nvmlDeviceGetPowerUsage, WITH(unsigned *mw), WITH(mw)) {
    double glitch;
    int is_glitched = glitched("nvmlDeviceGetPowerUsage", board, &glitch);
    ANSWER(*mw = is_glitched ? (unsigned)glitch : power_mw(board, script_now_s()));
}

static void fill(struct field *field, const struct board *board) {
    double now_s = script_now_s();
    *field = (struct field){.id = field->id, .scope = field->scope, .at_us = now_s * 1e6, .latency_us = 100,
                            .type = TYPE_UINT};
    switch (field->id) {
    case FIELD_POWER_AVERAGE:
    case FIELD_POWER_INSTANT:
        field->result = field->scope == SCOPE_MEMORY ? NOT_SUPPORTED : SUCCESS;
        field->value.ui = power_mw(board, now_s);
        break;
    case FIELD_ENERGY:
    case FIELD_ENERGY_TOO:
        field->type = TYPE_ULL;
        field->result = board->has_counter ? SUCCESS : NOT_SUPPORTED;
        field->value.ull = energy_mj(board, now_s);
        break;
    case FIELD_LIMIT_LEAST: field->value.ui = board->least_limit_mw; break;
    case FIELD_LIMIT_MOST: field->value.ui = board->most_limit_mw; break;
    case FIELD_LIMIT_USUAL: field->value.ui = board->usual_limit_mw; break;
    case FIELD_LIMIT:
    case FIELD_LIMIT_TOO: field->value.ui = board->limit_mw; break;
    default: field->result = NOT_SUPPORTED;
    }
}

ASK_BOARD(nvmlDeviceGetFieldValues, WITH(int count, struct field *fields), WITH(count, fields)) {
    for (int index = 0; index < count; index++)
        fill(&fields[index], board);
    return SUCCESS;
}

ASK_BOARD(nvmlDeviceGetPowerManagementMode, WITH(unsigned *mode), WITH(mode)) { ANSWER(*mode = 1); }
ASK_BOARD(nvmlDeviceGetPowerManagementLimit, WITH(unsigned *mw), WITH(mw)) { ANSWER(*mw = board->limit_mw); }
ASK_BOARD(nvmlDeviceGetEnforcedPowerLimit, WITH(unsigned *mw), WITH(mw)) { ANSWER(*mw = board->limit_mw); }
ASK_BOARD(nvmlDeviceGetPowerManagementDefaultLimit, WITH(unsigned *mw), WITH(mw)) { ANSWER(*mw = board->usual_limit_mw); }

ASK_BOARD(nvmlDeviceGetPowerManagementLimitConstraints, WITH(unsigned *least, unsigned *most), WITH(least, most)) {
    *least = board->least_limit_mw;
    ANSWER(*most = board->most_limit_mw);
}

ASK_BOARD(nvmlDeviceSetPowerManagementLimit, WITH(unsigned mw), WITH(mw)) {
    if (mw < board->least_limit_mw || mw > board->most_limit_mw)
        return INVALID_ARGUMENT;
    board->limit_mw = mw;
    keep_limits();
    return SUCCESS;
}

/* ---- load */

ASK_BOARD(nvmlDeviceGetUtilizationRates, WITH(struct utilisation *used), WITH(used)) {
    const struct step *step = step_at(&script.utilisations, board->index, script_now_s());
    if (board->mig == 1) /* a board that is split does not tell */
        return NOT_SUPPORTED;
    ANSWER((*used = (struct utilisation){step ? step->value : 0, step ? step->other : 0}));
}

ASK_BOARD(nvmlDeviceGetTemperature, WITH(int sensor, unsigned *celsius), WITH(sensor, celsius)) {
    (void)sensor;
    ANSWER(*celsius = now_of(&script.temperatures, board, 35));
}

ASK_BOARD(nvmlDeviceGetTemperatureV, WITH(struct temperature *told), WITH(told)) {
    if (told->version != 0x100000C)
        return VERSION_MISMATCH;
    ANSWER(told->celsius = now_of(&script.temperatures, board, 35));
}

static uint64_t used_bytes(const struct board *board) {
    uint64_t used = 0;
    for (struct process *row = script.processes; row < script.processes + script.process_count; row++)
        used += is_running(row, board->index, script_now_s()) ? row->memory_bytes : 0;
    return used;
}

ASK_BOARD(nvmlDeviceGetMemoryInfo, WITH(struct memory *memory), WITH(memory)) {
    uint64_t used = used_bytes(board);
    ANSWER((*memory = (struct memory){board->memory_bytes, board->memory_bytes - used, used}));
}

ASK_BOARD(nvmlDeviceGetMemoryInfo_v2, WITH(struct memory_v2 *memory), WITH(memory)) {
    uint64_t used = used_bytes(board);
    if (memory->version != 0x02000028)
        return VERSION_MISMATCH;
    ANSWER((*memory = (struct memory_v2){memory->version, board->memory_bytes, 0, board->memory_bytes - used, used}));
}

static result list(const struct board *board, unsigned *count, struct process_info *infos) {
    unsigned room = *count, found = 0;
    for (struct process *row = script.processes; row < script.processes + script.process_count; row++) {
        if (!is_running(row, board->index, script_now_s()))
            continue;
        if (infos && found < room)
            infos[found] = (struct process_info){row->pid, row->memory_bytes, ~0u, ~0u};
        found++;
    }
    *count = found;
    return found > room || (found && !infos) ? INSUFFICIENT_SIZE : SUCCESS;
}

ASK_BOARD(nvmlDeviceGetComputeRunningProcesses_v2, WITH(unsigned *count, struct process_info *all), WITH(count, all)) {
    return list(board, count, all);
}
ASK_BOARD(nvmlDeviceGetComputeRunningProcesses_v3, WITH(unsigned *count, struct process_info *all), WITH(count, all)) {
    return list(board, count, all);
}
ASK_BOARD(nvmlDeviceGetGraphicsRunningProcesses_v3, WITH(unsigned *count, void *all), WITH(count, all)) {
    ANSWER(((void)all, *count = 0));
}
ASK_BOARD(nvmlDeviceGetMPSComputeRunningProcesses_v3, WITH(unsigned *count, void *all), WITH(count, all)) {
    ANSWER(((void)all, *count = 0));
}

/* ---- state */

ASK_BOARD(nvmlDeviceGetEccMode, WITH(unsigned *now, unsigned *then), WITH(now, then)) { ANSWER(*now = *then = board->ecc); }
ASK_BOARD(nvmlDeviceGetTotalEccErrors, WITH(int kind, int counter, unsigned long long *count), WITH(kind, counter, count)) {
    (void)kind, (void)counter;
    ANSWER(*count = 0);
}

ASK_BOARD(nvmlDeviceGetCurrentClocksThrottleReasons, WITH(unsigned long long *mask), WITH(mask)) {
    ANSWER(*mask = now_of(&script.throttles, board, 1));
}
ASK_BOARD(nvmlDeviceGetCurrentClocksEventReasons, WITH(unsigned long long *mask), WITH(mask)) {
    ANSWER(*mask = now_of(&script.throttles, board, 1));
}

ASK_BOARD(nvmlDeviceGetComputeMode, WITH(unsigned *mode), WITH(mode)) { ANSWER(*mode = 0); }
ASK_BOARD(nvmlDeviceGetPersistenceMode, WITH(unsigned *mode), WITH(mode)) { ANSWER(*mode = 1); }
ASK_BOARD(nvmlDeviceSetPersistenceMode, WITH(unsigned mode), WITH(mode)) { return (void)mode, NO_PERMISSION; }
ASK_BOARD(nvmlDeviceGetPerformanceState, WITH(int *state), WITH(state)) { ANSWER(*state = 0); }
ASK_BOARD(nvmlDeviceGetClockInfo, WITH(int kind, unsigned *mhz), WITH(kind, mhz)) { ANSWER(((void)kind, *mhz = 1980)); }
