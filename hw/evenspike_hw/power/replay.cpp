// Replays a netlist of gates with recorded inputs, a cycle at a time, and counts what its nets do.
//
// Every net is a byte that is 0 or 1, every gate a table of truth; they come in an order in which a
// gate follows those it reads. Called through ctypes; the fields of Netlist and Job are those of
// `evenspike_hw.power.replay`.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int INPUTS = 6;

struct Netlist {
    uint32_t nets, steps, flip_flops, rams;
    // A step is a gate with so many inputs, or (inputs == READ) a read of RAM `nets[0]` by its port
    // `nets[1]` that needs no clock.
    const uint8_t *inputs;   // [steps]
    const uint32_t *reads;   // [steps][INPUTS]
    const uint32_t *writes;  // [steps]
    const uint64_t *tables;  // [steps]
    const uint32_t *next, *state;  // [flip_flops]
    // Of each RAM: depth, width, bits of an address, readers, writers, and then for each reader: whether
    // it has a clock, enable, address, data; for each writer: enable of each bit, address, data.
    const uint32_t *ports;
    const uint8_t *content;  // [sum of depth * width]
};

struct Job {
    const uint32_t *record;  // [cycles][words]
    uint32_t words;
    uint64_t cycles;
    uint64_t reset;          // cycles before the first, with its inputs and `reset_net` 1
    uint32_t reset_net;      // nets: there is none
    uint32_t inputs, outputs;
    const uint32_t *input_net, *input_bit;    // where in the words of a cycle it is
    const uint32_t *output_net, *output_bit;
    const uint8_t *kind;     // [cycles]: which counters the cycle goes into; NONE: into none
    uint32_t kinds;
    uint64_t *counted;       // [kinds]: cycles
    uint64_t *toggles;       // [kinds][nets]
    uint64_t *high;          // [kinds][nets]
    uint64_t *ram_reads;     // [kinds][rams]
    uint64_t *ram_writes;    // [kinds][rams]
    uint64_t differs_at;     // the first cycle in which an output is not the recorded one; cycles: none
    uint32_t differs;        // which output
};

constexpr uint8_t READ = 255, NONE = 255;

struct Port {
    bool clocked;
    const uint32_t *enable, *address, *data;
    uint64_t last;  // address that was read before
};
struct Ram {
    uint32_t depth, width, bits;
    std::vector<Port> readers, writers;
    std::vector<uint8_t> words;
};

class Replay {
  public:
    Replay(const Netlist &netlist, Job &job)
        : of(netlist), job(job), value(of.nets), before(of.nets), next(of.flip_flops) {
        value[1] = 1;
        const uint32_t *at = of.ports;
        const uint8_t *content = of.content;
        for (uint32_t n = 0; n < of.rams; n++) {
            Ram ram{at[0], at[1], at[2], {}, {}, {}};
            uint32_t readers = at[3], writers = at[4];
            at += 5;
            for (uint32_t port = 0; port < readers; port++) {
                ram.readers.push_back({at[0] != 0, at + 1, at + 2, at + 2 + ram.bits, ~0ull});
                at += 2 + ram.bits + ram.width;
            }
            for (uint32_t port = 0; port < writers; port++) {
                ram.writers.push_back({true, at, at + ram.width, at + ram.width + ram.bits, 0});
                at += 2 * ram.width + ram.bits;
            }
            size_t size = static_cast<size_t>(ram.depth) * ram.width;
            ram.words.assign(content, content + size);
            content += size;
            rams.push_back(std::move(ram));
        }
        for (uint32_t kind = 0; kind < job.kinds; kind++) {
            toggled.emplace_back(of.nets);
            raised.emplace_back(of.nets);
            waiting.push_back(0);
        }
        reads.resize(of.rams);
        writes.resize(of.rams);
    }

    void run() {
        job.differs_at = job.cycles;
        for (uint64_t n = 0; n < job.reset && job.cycles; n++) {
            put(job.record);
            if (job.reset_net < of.nets) value[job.reset_net] = 1;
            settle();
            clock();
        }
        for (uint64_t cycle = 0; cycle < job.cycles; cycle++) {
            const uint32_t *words = job.record + cycle * job.words;
            put(words);
            settle();
            for (uint32_t n = 0; n < job.outputs; n++) {
                if (value[job.output_net[n]] == bit(words, job.output_bit[n])) continue;
                job.differs_at = cycle;
                job.differs = n;
                return;
            }
            count(cycle ? job.kind[cycle] : NONE);
            clock();
        }
        for (uint32_t kind = 0; kind < job.kinds; kind++) flush(kind);
    }

  private:
    const Netlist &of;
    Job &job;
    std::vector<uint8_t> value, before, next;
    std::vector<Ram> rams;
    // Counters of a byte, which go into those of 64 bits before they overflow.
    std::vector<std::vector<uint8_t>> toggled, raised;
    std::vector<uint32_t> waiting;
    std::vector<uint8_t> reads, writes;

    static uint8_t bit(const uint32_t *words, uint32_t at) { return words[at >> 5] >> (at & 31) & 1; }

    void put(const uint32_t *words) {
        for (uint32_t n = 0; n < job.inputs; n++) value[job.input_net[n]] = bit(words, job.input_bit[n]);
    }

    uint64_t word(const uint32_t *nets, uint32_t count) const {
        uint64_t found = 0;
        for (uint32_t n = 0; n < count; n++) found |= static_cast<uint64_t>(value[nets[n]]) << n;
        return found;
    }

    void settle() {
        uint8_t *v = value.data();
        const uint32_t *in = of.reads;
        for (uint32_t n = 0; n < of.steps; n++, in += INPUTS) {
            unsigned row;
            switch (of.inputs[n]) {
            case 0: row = 0; break;
            case 1: row = v[in[0]]; break;
            case 2: row = v[in[0]] | v[in[1]] << 1; break;
            case 3: row = v[in[0]] | v[in[1]] << 1 | v[in[2]] << 2; break;
            case 4: row = v[in[0]] | v[in[1]] << 1 | v[in[2]] << 2 | v[in[3]] << 3; break;
            case READ: read(in[0], in[1]); continue;
            default:
                row = 0;
                for (int k = 0; k < of.inputs[n]; k++) row |= v[in[k]] << k;
            }
            v[of.writes[n]] = of.tables[n] >> row & 1;
        }
    }

    void read(uint32_t number, uint32_t port) {
        Ram &ram = rams[number];
        Port &of = ram.readers[port];
        uint64_t address = word(of.address, ram.bits);
        if (address != of.last) reads[number] = 1;
        of.last = address;
        take(ram, of, address);
    }

    void take(const Ram &ram, const Port &port, uint64_t address) {
        const uint8_t *from = address < ram.depth ? &ram.words[address * ram.width] : nullptr;
        for (uint32_t n = 0; n < ram.width; n++) value[port.data[n]] = from ? from[n] : 0;
    }

    void count(uint8_t kind) {
        bool counts = kind != NONE;
        for (uint32_t n = 0; n < of.rams; n++) {
            for (const Port &port : rams[n].readers) reads[n] += port.clocked && value[*port.enable];
            for (const Port &port : rams[n].writers) {
                bool any = false;
                for (uint32_t k = 0; k < rams[n].width; k++) any |= value[port.enable[k]];
                writes[n] += any;
            }
            if (counts) {
                job.ram_reads[kind * of.rams + n] += reads[n];
                job.ram_writes[kind * of.rams + n] += writes[n];
            }
            reads[n] = writes[n] = 0;
        }
        if (counts) {
            uint8_t *__restrict t = toggled[kind].data(), *__restrict h = raised[kind].data();
            const uint8_t *__restrict v = value.data(), *__restrict b = before.data();
            for (uint32_t n = 0; n < of.nets; n++) {
                t[n] += v[n] ^ b[n];
                h[n] += v[n];
            }
            job.counted[kind]++;
            if (++waiting[kind] == 255) flush(kind);
        }
        std::memcpy(before.data(), value.data(), of.nets);
    }

    void flush(uint32_t kind) {
        uint64_t *toggles = job.toggles + static_cast<size_t>(kind) * of.nets;
        uint64_t *high = job.high + static_cast<size_t>(kind) * of.nets;
        for (uint32_t n = 0; n < of.nets; n++) {
            toggles[n] += toggled[kind][n];
            high[n] += raised[kind][n];
            toggled[kind][n] = raised[kind][n] = 0;
        }
        waiting[kind] = 0;
    }

    // What a port reads of a word that is written in the same cycle is what was there before.
    void clock() {
        for (uint32_t n = 0; n < of.flip_flops; n++) next[n] = value[of.next[n]];
        // All that the RAMs are given is taken before any net changes.
        asked.clear();
        given.clear();
        for (const Ram &ram : rams) {
            for (const Port &port : ram.readers)
                asked.push_back(port.clocked && value[*port.enable] ? word(port.address, ram.bits) : IDLE);
            for (const Port &port : ram.writers) {
                asked.push_back(word(port.address, ram.bits));
                for (uint32_t n = 0; n < ram.width; n++)
                    given.push_back(value[port.enable[n]] << 1 | value[port.data[n]]);
            }
        }
        const uint64_t *address = asked.data();
        const uint8_t *bits = given.data();
        for (Ram &ram : rams) {
            for (const Port &port : ram.readers) {
                if (*address != IDLE) take(ram, port, *address);
                address++;
            }
            for (size_t port = 0; port < ram.writers.size(); port++, address++)
                for (uint32_t n = 0; n < ram.width; n++, bits++)
                    if (*address < ram.depth && *bits & 2) ram.words[*address * ram.width + n] = *bits & 1;
        }
        for (uint32_t n = 0; n < of.flip_flops; n++) value[of.state[n]] = next[n];
    }

    static constexpr uint64_t IDLE = ~0ull;
    std::vector<uint64_t> asked;
    std::vector<uint8_t> given;
};

}  // namespace

extern "C" void evenspike_replay(const Netlist *netlist, Job *job) { Replay(*netlist, *job).run(); }
