/* What the emulated driver plays: boards, the power they draw, and what goes wrong with them, from a text file.
 *
 * FAKE_NVML_CONFIG  the script; read again whenever it changes, so that a test can rewrite it live
 * FAKE_NVML_CLOCK   a file that holds "now" in seconds: virtual time. Without it time is CLOCK_MONOTONIC; whoever has
 *                   loaded the library can also call fake_nvml_set_clock(double)
 * FAKE_NVML_LOG     a file that gets a line for every call: seconds, process, function, board
 * FAKE_NVML_STATE   a file that keeps the power limits that were set
 *
 * A line each, `#` begins a comment, times are seconds after t0, board -1 is every board, symbol * every function:
 *   t0 SECONDS                    where time begins. Give it: then a process that starts later sees the same counter
 *   driver VERSION
 *   init_error CODE
 *   gpu BOARD name=A_B uuid= mem=BYTES arch=9 limit=MW min=MW max=MW base_mj= energy=0|1 quantum_ms=100 idle_mw= ecc=
 *             mig=0|1|2 slices=N  mig 2: not supported. slices: MIG devices, each of which tells the whole board's power
 *   trace BOARD T MW              it draws MW from T on
 *   util BOARD T GPU% MEMORY%     temp BOARD T CELSIUS     throttle BOARD T MASK
 *   proc BOARD PID BYTES FROM TO
 *   fault BOARD SYMBOL FROM TO CODE     the call fails with this nvmlReturn_t
 *   glitch BOARD SYMBOL FROM TO VALUE   the call answers this raw value
 *   hang BOARD SYMBOL FROM TO           the call does not return before TO
 *   reset_energy BOARD T                the counter starts again from 0, as when the driver is reloaded
 */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <stdint.h>

enum { MOST_BOARDS = 16, MOST_ROWS = 512, MOST_SLICES = 7, NAME = 96 };

struct board {
    int index;
    char name[NAME], uuid[NAME];
    uint64_t memory_bytes, base_mj;
    unsigned architecture, limit_mw, usual_limit_mw, least_limit_mw, most_limit_mw, idle_mw, quantum_ms, mig, slices, ecc;
    int has_counter;
};

struct step { /* a value from an instant on */
    int board;
    double at_s, value, other;
};

struct event { /* something between two instants */
    int board;
    char symbol[NAME];
    double from_s, to_s, value;
};

struct process {
    int board;
    unsigned pid;
    uint64_t memory_bytes;
    double from_s, to_s;
};

struct steps {
    int count;
    struct step rows[MOST_ROWS];
};

struct events {
    int count;
    struct event rows[MOST_ROWS];
};

struct script {
    int init_error, board_count, process_count;
    char driver[NAME];
    struct board boards[MOST_BOARDS];
    struct steps traces, utilisations, temperatures, throttles;
    struct events faults, glitches, hangs, resets;
    struct process processes[MOST_ROWS];
};

extern struct script script;

void read_script(void);     /* bring `script` up to date with the file */
double script_now_s(void);  /* seconds after t0 */
void keep_limits(void);     /* write down the power limits */
void log_call(const char *symbol, int board);

const struct step *step_at(const struct steps *steps, int board, double at_s);
const struct event *event_at(const struct events *events, const char *symbol, int board, double at_s);
int is_running(const struct process *process, int board, double at_s);

unsigned power_mw(const struct board *board, double at_s);
uint64_t energy_mj(const struct board *board, double at_s);

#endif
