// Drives the RTL top: registers, memory port and counters, so that no cycle passes through Python.
//
// Compiled against the class that Verilator makes of the top (MODEL) and called through ctypes.
// One instance serves one thread. The fields of Job are those of `evenspike_hw.engine.compiled.Job`.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>

#include "verilated.h"
#include MODEL_HEADER
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr int STATES = 5;
constexpr int ALL_PES = CLUSTERS * PES;
// Bits of what a collector writes.
constexpr int ENTRY_WRITE = 1 + ENTRY_BITS + MAP_BITS + TIMESTEPS * PES, COUNT_WRITE = 1 + ENTRY_BITS + MAP_BITS;

enum Register : uint32_t { CONTROL, INPUT, WEIGHTS, LOGITS, TABLE, TABLE_WORDS, PASS_BASE, FAULT = 9, WATCHDOG };
enum Command : uint32_t { START = 1, FILL = 2, ABORT = 4 };
enum Status : uint32_t { BUSY = 1, DONE = 2, ERROR = 4 };
enum Result : int { FINISHED, REFUSED, STALLED, INTERRUPTED, UNWRITTEN };
enum Interrupt : uint32_t { NEVER, BY_ABORT, BY_RESET };

struct Job {
    // What the memory holds, and where. Addresses and numbers of words are the port's, which has
    // LANES words of 64 bits in each.
    const uint64_t *memory;
    uint64_t words;
    uint32_t input, weights, logits, table, table_words, pass_base;
    // How the memory behaves. stall: of 65536 cycles, those in which it does nothing.
    // It begins to do so in cycle `stall_from` of the inference; 0: before it.
    uint32_t latency, stall, stall_from;
    uint64_t seed;
    // Cycles without any progress after which it is given up.
    uint64_t watchdog;
    // Of the accelerator's own watchdog, as its register takes it.
    uint32_t limit;
    // How the host breaks it off, if it does, and how many cycles behind the first command.
    uint32_t interrupt, interrupt_at;
    // From each layer: first entry of its first map of spikes, and how many there is room for in each
    // map, whose entries are a region behind those of the map before. In each cluster there is one for
    // each of its images of a batch and group of timesteps.
    uint32_t layers, cluster_maps, region;
    const uint32_t *base, *room;
    // Results. The spikes of a layer follow those of the layer before; those of its maps follow
    // each other, cluster by cluster. maps: of all clusters.
    uint32_t *cycles;      // [layers]
    uint32_t *states;      // [layers][ALL_PES][STATES]
    uint8_t *overflow;     // [layers][2][ALL_PES]: accumulators, membranes
    uint16_t *counts;      // [maps * sum of room]: entries of the row that starts here
    uint16_t *columns;     // [maps * sum of room]
    uint8_t *masks;        // [maps * sum of room][PES]
    uint32_t *closed;      // [maps * sum of room]: cycle in which the n-th window of each cluster closes
    uint64_t *logit_words; // [logit_count][LANES]
    uint32_t logit_count;
    uint32_t total_cycles, status, fault;
    // Waveform of the cycles [trace_first, trace_last], if a file is named and it was built for it.
    const char *trace;
    uint32_t trace_first, trace_last;
    // File for the ports of a part in every cycle, if one is named and it was built for it (`watched.py`):
    // a word that says what the cycle is, then `watch_words` of the port `watch` from `watch_at` on.
    // watch_pe: whose state it is; PES: nobody's. watch_layer: the last one that is recorded.
    const char *watch;
    uint32_t watch_at, watch_words, watch_pe, watch_layer;
};

// Bits of a port, whatever type its width has.
template <class T>
uint64_t bits(const T &port, int low, int width) {
    return (static_cast<uint64_t>(port) >> low) & (width == 64 ? ~0ull : (1ull << width) - 1);
}
template <std::size_t N>
uint64_t bits(const VlWide<N> &port, int low, int width) {
    uint64_t value = 0;
    for (int got = 0; got < width;) {
        int at = low + got, offset = at & 31;
        value |= static_cast<uint64_t>(port[at >> 5] >> offset) << got;
        got += 32 - offset;
    }
    return width == 64 ? value : value & ((1ull << width) - 1);
}

// Puts words of 64 bits into a port of as many; zeros where there are none.
template <class T>
void put(T &port, const uint64_t *words) {
    port = words ? words[0] : 0;
}
template <std::size_t N>
void put(VlWide<N> &port, const uint64_t *words) {
    for (std::size_t n = 0; n < N; n++) port[n] = words ? words[n / 2] >> 32 * (n % 2) : 0;
}

struct Memory {
    struct Answer {
        uint64_t due;
        const uint64_t *words;
    };
    std::deque<Answer> answers;
};

class Machine {
  public:
    Machine() : top(new MODEL{&context}) {
        context.randReset(0);
#if VM_TRACE
        context.traceEverOn(true);
        top->trace(&waves, 99);
#endif
        top->rst = 1;
        for (int n = 0; n < 2; n++) clock();
        top->rst = 0;
        clock();  // it is behind a register
    }

    int run(Job &job) {
#if WATCH
        if (job.watch) watched = std::fopen(job.watch, "wb");
        if (job.watch && !watched) return UNWRITTEN;
        over = false;
        int result = infer(job);
        if (watched) result = std::ferror(watched) | std::fclose(watched) ? UNWRITTEN : result;
        watched = nullptr;
        return result;
    }

  private:
    int infer(Job &job) {
#endif
        random.seed(job.seed);
        idle = waited = 0;
        interrupted = false;
        columns.assign(static_cast<size_t>(CLUSTERS) * ENTRIES, 0);
        counts.assign(static_cast<size_t>(CLUSTERS) * ENTRIES, 0);
        masks.assign(static_cast<size_t>(CLUSTERS) * ENTRIES * PES, 0);
        forget();
        // After a reset it clears its accumulators.
        bool alive = settle(job);
        if (alive) {
            write(job, INPUT, job.input);
            write(job, WEIGHTS, job.weights);
            write(job, LOGITS, job.logits);
            write(job, PASS_BASE, job.pass_base);
            write(job, WATCHDOG, job.limit);
        }
        if (alive && job.table_words) {
            write(job, TABLE, job.table);
            write(job, TABLE_WORDS, job.table_words);
            write(job, CONTROL, FILL);
            alive = wait(job) && !(read(job, CONTROL) & ERROR);
        }
        if (alive) {
            write(job, CONTROL, START);
            alive = wait(job);
        }
        if (interrupted) {
            // What the memory owes then comes while the next run waits.
            if (job.interrupt == BY_RESET) {
                top->rst = 1;
                step(job, false);
                top->rst = 0;
            } else {
                write(job, CONTROL, ABORT);
            }
            step(job, false);  // what it does is seen a cycle later
            return INTERRUPTED;
        }
        job.status = read(job, CONTROL);
        job.fault = read(job, FAULT);
        job.total_cycles = cycle;
#if VM_TRACE
        if (tracing) waves.close();
        tracing = false;
#endif
        if (job.status & ERROR) return REFUSED;
        if (alive) return FINISHED;
        write(job, CONTROL, ABORT);
        settle(job);
        return STALLED;
    }

  private:
    VerilatedContext context;
    std::unique_ptr<MODEL> top;
    Memory memory;
    std::mt19937_64 random;
    std::vector<uint16_t> columns, counts;
    std::vector<uint8_t> masks;
    uint32_t cycle = 0, layer_start = 0, windows[CLUSTERS] = {}, offset = 0;
    uint64_t now = 0, idle = 0, waited = 0;
    bool interrupted = false;
#if VM_TRACE
    VerilatedVcdC waves;
    bool tracing = false;
#endif
#if WATCH
    std::FILE *watched = nullptr;
    bool over = false;  // the layer that is recorded last

    // Writes what the part's ports are in this cycle.
    void record(const Job &job) {
        over |= top->running && top->number > job.watch_layer;
        if (!watched || over) return;
        uint32_t state = job.watch_pe < PES ? bits(top->states, 3 * job.watch_pe, 3) : 0;
        uint32_t head = top->running | top->last_write << 1 | state << 2 | static_cast<uint32_t>(top->number) << 8;
        std::fwrite(&head, sizeof head, 1, watched);
        std::fwrite(&top->watch[job.watch_at], sizeof(uint32_t), job.watch_words, watched);
    }
#endif

    void forget() {
        cycle = layer_start = offset = 0;
        std::fill_n(windows, CLUSTERS, 0u);
    }

    void clock() {
        top->clk = 0;
        top->eval();
#if VM_TRACE
        if (tracing) waves.dump(2 * now);
#endif
        top->clk = 1;
        top->eval();
#if VM_TRACE
        if (tracing) waves.dump(2 * now + 1);
#endif
        now++;
    }

    void bus(uint32_t write, uint32_t address, uint32_t data) {
        // Verilator spells the `__` of a port's name `___05F`.
        top->registers___05Fwrite = write;
        top->registers___05Faddress = address;
        top->registers___05Fdata = data;
    }
    // The memory works on while the host does, or what it was asked last stays on the port.
    void write(Job &job, uint32_t address, uint32_t data) {
        bus(1, address, data);
        step(job, false);
        bus(0, CONTROL, 0);
    }
    uint32_t read(Job &job, uint32_t address) {
        bus(0, address, 0);
        step(job, false);
        bus(0, CONTROL, 0);
        return top->registers___05Fread;
    }

    // Waits until it is idle; false if that does not come.
    bool settle(Job &job) {
        for (uint64_t waited = 0; waited <= job.watchdog; waited++)
            if (!(read(job, CONTROL) & BUSY)) return true;
        return false;
    }

    // Clocks until the accelerator is idle again; false if the watchdog has had enough.
    bool wait(Job &job) {
        forget();
        step(job, false);  // the command has been taken
        for (;;) {
            bool stalls = job.stall && cycle >= job.stall_from && (random() & 0xFFFF) < job.stall;
            bool progress = step(job, stalls);
            if (!(top->registers___05Fread & BUSY)) return true;
            if (job.interrupt && ++waited == job.interrupt_at) {
                interrupted = true;
                return false;
            }
            idle = progress ? 0 : idle + 1;
            if (idle > job.watchdog) return false;
        }
    }

    bool step(Job &job, bool stalls) {
        top->memory___05Frequest___05Fready = top->memory___05Fwrite___05Fready = !stalls;
        top->memory___05Fresponse___05Fvalid = 0;
        if (!stalls && !memory.answers.empty() && memory.answers.front().due <= now) {
            top->memory___05Fresponse___05Fvalid = 1;
            put(top->memory___05Fresponse___05Fpayload, memory.answers.front().words);
            memory.answers.pop_front();
        }
        top->clk = 0;
        top->eval();
#if WATCH
        record(job);
#endif
        bool progress = top->running && observe(job);
        if (top->memory___05Fwrite___05Fvalid && top->memory___05Fwrite___05Fready) {  // the last ones may come when it runs no more
            uint32_t at = top->memory___05Fwrite___05Faddress - job.logits;
            for (int lane = 0; lane < LANES && at < job.logit_count; lane++)
                job.logit_words[static_cast<size_t>(at) * LANES + lane] = bits(top->memory___05Fwrite___05Fdata, 64 * lane, 64);
            progress = true;
        }
        progress |= top->memory___05Fresponse___05Fvalid;
        if (top->memory___05Frequest___05Fvalid && top->memory___05Frequest___05Fready) {
            uint64_t address = top->memory___05Frequest___05Fpayload;
            const uint64_t *words = address < job.words ? job.memory + address * LANES : nullptr;
            memory.answers.push_back({now + job.latency, words});
            progress = true;
        }
#if VM_TRACE
        bool inside = job.trace && cycle >= job.trace_first && cycle <= job.trace_last && top->running;
        if (inside && !tracing) {
            waves.open(job.trace);
            tracing = true;
        } else if (!inside && tracing) {
            waves.close();
            tracing = false;
        }
        if (tracing) waves.dump(2 * now);
#endif
        top->clk = 1;
        top->eval();
#if VM_TRACE
        if (tracing) waves.dump(2 * now + 1);
#endif
        now++;
        return progress;
    }

    // Counts one cycle of the inference.
    bool observe(Job &job) {
        cycle++;
        uint32_t layer = top->number;
        if (layer >= job.layers) return false;
        bool progress = false;
        uint32_t *states = job.states + static_cast<size_t>(layer) * ALL_PES * STATES;
        for (int pe = 0; pe < ALL_PES; pe++) {
            uint32_t state = bits(top->states, 3 * pe, 3);
            states[pe * STATES + state]++;
            progress |= state == 1 || state == 4;
        }
        uint32_t room = job.room[layer];
        for (int cluster = 0; cluster < CLUSTERS; cluster++) progress |= collect(job, layer, cluster);
        if (top->last_write) {
            job.cycles[layer] = cycle - layer_start;
            uint8_t *overflow = job.overflow + static_cast<size_t>(layer) * 2 * ALL_PES;
            for (int pe = 0; pe < ALL_PES; pe++) {
                overflow[pe] = bits(top->accumulator_overflow, pe, 1);
                overflow[ALL_PES + pe] = bits(top->membrane_overflow, pe, 1);
            }
            for (int cluster = 0; cluster < CLUSTERS; cluster++) {
                size_t base = static_cast<size_t>(cluster) * ENTRIES + job.base[layer];
                for (uint32_t map = 0; map < job.cluster_maps && room; map++) {
                    std::memcpy(job.counts + offset, &counts[base], room * sizeof(uint16_t));
                    std::memcpy(job.columns + offset, &columns[base], room * sizeof(uint16_t));
                    std::memcpy(job.masks + static_cast<size_t>(offset) * PES, &masks[base * PES],
                                static_cast<size_t>(room) * PES);
                    offset += room;
                    base += job.region;
                }
            }
            layer_start = cycle;
            std::fill_n(windows, CLUSTERS, 0u);
            progress = true;
        }
        return progress;
    }

    // Takes what a cluster's collector writes; whether a window closes.
    bool collect(Job &job, uint32_t layer, int cluster) {
        size_t memory = static_cast<size_t>(cluster) * ENTRIES;
        int low = cluster * ENTRY_WRITE;
        if (bits(top->entry_write, low, 1)) {
            size_t at = memory + bits(top->entry_write, low + 1, ENTRY_BITS) % ENTRIES;
            low += 1 + ENTRY_BITS;
            columns[at] = bits(top->entry_write, low, MAP_BITS);
            for (int pe = 0; pe < PES; pe++)
                masks[at * PES + pe] = bits(top->entry_write, low + MAP_BITS + TIMESTEPS * pe, TIMESTEPS);
        }
        low = cluster * COUNT_WRITE;
        if (!bits(top->count_write, low, 1)) return false;
        size_t at = memory + bits(top->count_write, low + 1, ENTRY_BITS) % ENTRIES;
        counts[at] = bits(top->count_write, low + 1 + ENTRY_BITS, MAP_BITS);
        uint32_t most = job.cluster_maps * job.room[layer];
        if (windows[cluster] < most) job.closed[offset + cluster * most + windows[cluster]++] = cycle;
        return true;
    }
};

}  // namespace

extern "C" {
void *evenspike_new() { return new Machine(); }
void evenspike_delete(void *machine) { delete static_cast<Machine *>(machine); }
int evenspike_run(void *machine, Job *job) { return static_cast<Machine *>(machine)->run(*job); }
}
