#define _GNU_SOURCE
#include "script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct script script = {.driver = "999.00.fake"};
static double t0_s = -1;

/* ---- reading it */

static double set_s = -1;

__attribute__((visibility("default"))) void fake_nvml_set_clock(double seconds) {
    set_s = seconds;
}

static double clock_s(void) {
    const char *path = getenv("FAKE_NVML_CLOCK");
    double seconds = 0;
    struct timespec now;
    if (set_s >= 0)
        return set_s;
    if (path && *path) {
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%lf", &seconds) != 1)
            seconds = 0;
        if (file)
            fclose(file);
        return seconds;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

double script_now_s(void) {
    return clock_s() - t0_s;
}

static struct board *board_of(int index) {
    if (index < 0 || index >= MOST_BOARDS)
        return NULL;
    for (; script.board_count <= index; script.board_count++) {
        struct board *board = &script.boards[script.board_count];
        *board = (struct board){
            .index = script.board_count, .name = "Fake H100 80GB", .memory_bytes = 85899345920u, .base_mj = 123456789,
            .architecture = 9, .limit_mw = 700000, .usual_limit_mw = 700000, .least_limit_mw = 200000,
            .most_limit_mw = 700000, .idle_mw = 70000, .quantum_ms = 100, .has_counter = 1,
        };
        snprintf(board->uuid, NAME, "GPU-00000000-0000-0000-0000-%012d", script.board_count);
    }
    return &script.boards[index];
}

static void set(struct board *board, const char *key, const char *value) {
    uint64_t number = strtoull(value, NULL, 10);
    if (!strcmp(key, "name")) {
        snprintf(board->name, NAME, "%s", value);
        for (char *letter = board->name; *letter; letter++)
            *letter = *letter == '_' ? ' ' : *letter;
    }
    if (!strcmp(key, "uuid"))
        snprintf(board->uuid, NAME, "%s", value);
    if (!strcmp(key, "mem"))
        board->memory_bytes = number;
    if (!strcmp(key, "base_mj"))
        board->base_mj = number;
    if (!strcmp(key, "arch"))
        board->architecture = number;
    if (!strcmp(key, "limit"))
        board->limit_mw = board->usual_limit_mw = number;
    if (!strcmp(key, "min"))
        board->least_limit_mw = number;
    if (!strcmp(key, "max"))
        board->most_limit_mw = number;
    if (!strcmp(key, "energy"))
        board->has_counter = number;
    if (!strcmp(key, "quantum_ms"))
        board->quantum_ms = number;
    if (!strcmp(key, "idle_mw"))
        board->idle_mw = number;
    if (!strcmp(key, "mig"))
        board->mig = number;
    if (!strcmp(key, "slices"))
        board->slices = number < MOST_SLICES ? number : MOST_SLICES;
    if (!strcmp(key, "ecc"))
        board->ecc = number;
}

static void read_board(char *rest) {
    int index, used;
    if (sscanf(rest, "%d%n", &index, &used) != 1 || !board_of(index))
        return;
    for (char *word = strtok(rest + used, " \t\n"); word; word = strtok(NULL, " \t\n")) {
        char *equals = strchr(word, '=');
        if (!equals)
            continue;
        *equals = 0;
        set(board_of(index), word, equals + 1);
    }
}

static void read_step(struct steps *steps, const char *rest) {
    struct step row = {0};
    if (sscanf(rest, "%d %lf %lf %lf", &row.board, &row.at_s, &row.value, &row.other) >= 3 && steps->count < MOST_ROWS)
        steps->rows[steps->count++] = row;
}

static void read_event(struct events *events, const char *rest) {
    struct event row = {0};
    int found = sscanf(rest, "%d %95s %lf %lf %lf", &row.board, row.symbol, &row.from_s, &row.to_s, &row.value);
    if (found >= 4 && events->count < MOST_ROWS)
        events->rows[events->count++] = row;
}

static void read_reset(const char *rest) {
    struct event row = {0};
    if (sscanf(rest, "%d %lf", &row.board, &row.from_s) == 2 && script.resets.count < MOST_ROWS)
        script.resets.rows[script.resets.count++] = row;
}

static void read_process(const char *rest) {
    struct process row;
    unsigned long long bytes;
    if (sscanf(rest, "%d %u %llu %lf %lf", &row.board, &row.pid, &bytes, &row.from_s, &row.to_s) != 5)
        return;
    row.memory_bytes = bytes;
    if (script.process_count < MOST_ROWS)
        script.processes[script.process_count++] = row;
}

static void read_line(char *line) {
    char key[32];
    int used;
    line[strcspn(line, "#")] = 0;
    if (sscanf(line, "%31s%n", key, &used) != 1)
        return;
    char *rest = line + used;
    if (!strcmp(key, "t0"))
        t0_s = atof(rest);
    if (!strcmp(key, "driver"))
        sscanf(rest, "%95s", script.driver);
    if (!strcmp(key, "init_error"))
        script.init_error = atoi(rest);
    if (!strcmp(key, "gpu"))
        read_board(rest);
    if (!strcmp(key, "trace"))
        read_step(&script.traces, rest);
    if (!strcmp(key, "util"))
        read_step(&script.utilisations, rest);
    if (!strcmp(key, "temp"))
        read_step(&script.temperatures, rest);
    if (!strcmp(key, "throttle"))
        read_step(&script.throttles, rest);
    if (!strcmp(key, "proc"))
        read_process(rest);
    if (!strcmp(key, "fault"))
        read_event(&script.faults, rest);
    if (!strcmp(key, "glitch"))
        read_event(&script.glitches, rest);
    if (!strcmp(key, "hang"))
        read_event(&script.hangs, rest);
    if (!strcmp(key, "reset_energy"))
        read_reset(rest);
}

static void read_limits(void) {
    const char *path = getenv("FAKE_NVML_STATE");
    FILE *file = path && *path ? fopen(path, "r") : NULL;
    int index;
    unsigned limit_mw;
    if (!file)
        return;
    while (fscanf(file, "limit %d %u\n", &index, &limit_mw) == 2)
        if (index >= 0 && index < script.board_count)
            script.boards[index].limit_mw = limit_mw;
    fclose(file);
}

void keep_limits(void) {
    const char *path = getenv("FAKE_NVML_STATE");
    FILE *file = path && *path ? fopen(path, "w") : NULL;
    if (!file)
        return;
    for (int index = 0; index < script.board_count; index++)
        fprintf(file, "limit %d %u\n", index, script.boards[index].limit_mw);
    fclose(file);
}

void read_script(void) {
    static char read_path[512];
    static struct stat before;
    const char *path = getenv("FAKE_NVML_CONFIG");
    struct stat now;
    char line[1024];
    FILE *file;
    if (t0_s < 0)
        t0_s = clock_s();
    if (!path || stat(path, &now)) {
        board_of(script.board_count ? 0 : 1); /* two boards, without a script */
        return;
    }
    if (!strcmp(path, read_path) && now.st_size == before.st_size && now.st_ino == before.st_ino &&
        now.st_mtim.tv_sec == before.st_mtim.tv_sec && now.st_mtim.tv_nsec == before.st_mtim.tv_nsec)
        return;
    if (!(file = fopen(path, "r")))
        return;
    snprintf(read_path, sizeof read_path, "%s", path);
    before = now;
    memset(&script, 0, sizeof script);
    strcpy(script.driver, "999.00.fake");
    while (fgets(line, sizeof line, file))
        read_line(line);
    fclose(file);
    read_limits();
}

void log_call(const char *symbol, int board) {
    const char *path = getenv("FAKE_NVML_LOG");
    FILE *file = path && *path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    fprintf(file, "%.6f %d %s %d\n", script_now_s(), (int)getpid(), symbol, board);
    fclose(file);
}

/* ---- what holds at an instant */

const struct step *step_at(const struct steps *steps, int board, double at_s) {
    const struct step *found = NULL;
    for (const struct step *row = steps->rows; row < steps->rows + steps->count; row++)
        if (row->board == board && row->at_s <= at_s && (!found || row->at_s >= found->at_s))
            found = row;
    return found;
}

const struct event *event_at(const struct events *events, const char *symbol, int board, double at_s) {
    for (const struct event *row = events->rows; row < events->rows + events->count; row++) {
        int is_board = row->board == -1 || row->board == board;
        int is_symbol = !strcmp(row->symbol, "*") || !strcmp(row->symbol, symbol);
        if (is_board && is_symbol && row->from_s <= at_s && at_s < row->to_s)
            return row;
    }
    return NULL;
}

int is_running(const struct process *process, int board, double at_s) {
    return process->board == board && process->from_s <= at_s && at_s < process->to_s;
}

/* ---- the physics */

/* A board renews what it tells once a quantum. */
static double renewed_s(const struct board *board, double at_s) {
    double quantum_s = board->quantum_ms / 1000.0;
    return quantum_s > 0 ? (double)(int64_t)(at_s / quantum_s) * quantum_s : at_s;
}

static double drawn_mw(const struct board *board, double at_s) {
    const struct step *step = step_at(&script.traces, board->index, at_s);
    double drawn = step ? step->value : board->idle_mw;
    return drawn < board->limit_mw ? drawn : board->limit_mw;
}

/* The exact integral of the steps, in mJ. */
static double used_mj(const struct board *board, double from_s, double to_s) {
    double used = 0;
    while (from_s < to_s) {
        double next_s = to_s;
        for (const struct step *row = script.traces.rows; row < script.traces.rows + script.traces.count; row++)
            if (row->board == board->index && from_s < row->at_s && row->at_s < next_s)
                next_s = row->at_s;
        used += drawn_mw(board, from_s) * (next_s - from_s);
        from_s = next_s;
    }
    return used;
}

unsigned power_mw(const struct board *board, double at_s) {
    return drawn_mw(board, renewed_s(board, at_s));
}

uint64_t energy_mj(const struct board *board, double at_s) {
    uint64_t base_mj = board->base_mj;
    double from_s = 0;
    at_s = renewed_s(board, at_s);
    for (const struct event *row = script.resets.rows; row < script.resets.rows + script.resets.count; row++) {
        if (row->board == board->index && row->from_s <= at_s && row->from_s >= from_s) {
            from_s = row->from_s;
            base_mj = 0;
        }
    }
    return base_mj + (uint64_t)(used_mj(board, from_s, at_s) + 0.5);
}
