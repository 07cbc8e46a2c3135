"""Bench of TileCounter: every output in every cycle against the rounds of nested loops."""

from __future__ import annotations

from itertools import chain

from evenspike_core.arch import Arch
from evenspike_hw.rtl.descriptor import LAYER
from evenspike_hw.rtl.tiles import TileCounter
from tests.helpers.driver import Bench, pack, test
from tests.helpers.layers import ENTRIES, Layer, Round, batch, layer, noise, rounds

ARCH = Arch(pes=4)
component = TileCounter


def outputs(turn: Round) -> dict[str, int]:
    return {
        "top": turn.top,
        "left": turn.left,
        "height": turn.height,
        "width": turn.width,
        "last_row": turn.height - 1,
        "last_column": turn.width - 1,
        "last_slot": turn.slots - 1,
        "last_image": int(turn.last_image),
        "first_row": turn.first_row & ARCH.accumulators - 1,
        "last_group": int(turn.last_group),
        "last_round": int(turn.last),
        "last": int(turn.ends_layer),
        "entry": turn.entry,
        "offset": turn.offset,
    }


async def begin(bench: Bench, fields: Layer, advance: bool = False) -> None:
    await bench.cycle(layer=pack(LAYER, fields), start=1, advance=int(advance))


async def walk(
    bench: Bench, fields: Layer, pause: float, rest: int | None = None, again: float = 0.0
) -> int:
    """The images of the rounds after a start, or the first `rest` of them; returns how many.

    again: how often behind a round's last image its first one follows.
    """
    found, before = 0, False
    turns = list(chain.from_iterable(rounds(fields)))
    at = 0
    while at < len(turns):
        turn, ends = turns[at], at == len(turns) - 1
        while True:
            rewind = bench.chance(again)
            # The last advance would leave the layer: no block does that.
            back = rewind and turn.last_image
            go = not bench.chance(pause) and (back or not ends)
            stays = ends and not go and bench.chance(pause)
            out = await bench.cycle(start=0, advance=int(go), rewind=int(rewind))
            bench.check(out, outputs(turn))
            bench.cover("advance in two cycles in a row", go and before)
            before = go
            if go or (ends and not stays):
                break
            bench.cover("pause at the layer's last round", stays)
        _corners(bench, fields, turn)
        images = 1 << fields["log_images"]
        at += 1 - images * (go and back)
        bench.cover("back to the first of several images", go and back and images > 1)
        found += 1
        if found == rest:
            break
    return found


def _corners(bench: Bench, fields: Layer, turn: Round) -> None:
    cover = bench.cover
    rows, columns = 1 << fields["log_tile_height"], 1 << fields["log_tile_width"]
    cover("tile clipped in its height", turn.height < rows and turn.top)
    cover("tile clipped in its width", turn.width < columns and turn.left)
    cover("tile as large as the map", (rows, columns) == (fields["height"], fields["width"]))
    cover("tile larger than the map", rows > fields["height"] and columns > fields["width"])
    cover("tile of 256 rows", turn.height == 256)
    cover("tile of 256 columns", turn.width == 256)
    cover("map of 511 rows", turn.last and fields["height"] == 511)
    cover("map of 511 columns", turn.last and fields["width"] == 511)
    cover("last pass uses fewer slots", turn.ends_layer and turn.slots < 1 << fields["log_slots"])
    cover("all 64 slots", turn.slots == 64)
    cover("2048 passes", fields["passes"] > 2048)
    cover(
        "second row of tiles of a later pass",
        turn.top == rows and turn.entry != fields["spike_base"] + fields["tile_stride"] & ENTRIES,
    )
    cover("entry wraps", turn.entry < fields["spike_base"])
    cover("32 groups", turn.last and fields["groups"] == 32)
    cover("several groups of several tiles", turn.last_group and turn.offset and turn.left)
    cover("images of a later group", not turn.last_image and turn.last_group and turn.offset)
    cover("images of a later part", fields["parts"] > 1 and turn.last and turn.first_row)
    cover("offset wraps", turn.offset < fields["region"] and turn.last_group and turn.offset)


@test
async def after_a_reset(bench: Bench) -> None:
    """A reset clears all outputs; a layer's start after it counts as any other."""
    nothing = dict.fromkeys(outputs(next(rounds(layer(bench, 4, 40)))[0]), 0)
    bench.check(await bench.cycle(), nothing)
    for length in range(1, 8):
        # A reset in the middle of the third row of tiles of the second pass.
        shape = {"log_tile_height": 1, "log_tile_width": 1, "width": 6, "groups": 1 + length % 2}
        fields = layer(bench, 4, 40, passes=3, **shape)
        fields |= {"height": 6, "pool": 0}
        await begin(bench, fields)
        await walk(bench, fields, 0, (9 + length) * fields["groups"])
        await bench.cycle(advance=0)
        await bench.reset()
        bench.check(await bench.cycle(), nothing)
        await begin(bench, fields)
        await walk(bench, fields, 0.3)


@test
async def long_counts(bench: Bench) -> None:
    """Every bit of the counters: passes, the sides of a map and of a tile, slots, groups."""
    one = {"height": 1, "width": 1, "log_tile_height": 0, "log_tile_width": 0, "pool": 0}
    long = 0xFFF if bench.transactions > 1000 else 0x801
    for passes in (long, 0x555, 1, 2):
        single = {"groups": 1, "parts": 1, "log_images": 0}
        fields = noise(bench, **one, **single, passes=passes, log_slots=6, slots_last=37)
        await begin(bench, fields)
        assert await walk(bench, fields, 0) == passes
    for groups in (32, 21, 10, 1):
        shape = {"passes": 2, "height": 2, "width": 2}
        fields = layer(bench, 2, 2, **one | shape, groups=groups)
        await begin(bench, fields)
        assert await walk(bench, fields, 0) == 8 * groups
    for log, parts in ((6, 1), (5, 2), (0, 64), (2, 21), (3, 127)):
        shape = {"passes": 1, "height": 1, "width": 2, "groups": 2}
        fields = layer(bench, 2, 2, **one | shape, log_images=log, parts=parts)
        await begin(bench, fields)
        assert await walk(bench, fields, 0) == 4 * parts << log
    for size in (511, 256, 257, 255):
        for log in (8, 7, 3):
            for side in ("height", "width"):
                fields = layer(bench, 20, 40, passes=2, log_slots=6, groups=1, **{side: size})
                fields |= {"pool": 0, side: size, f"log_tile_{side}": log, "slots_last": 64}
                await begin(bench, fields)
                await walk(bench, fields, 0)


@test
async def start_at_any_time(bench: Bench) -> None:
    """A start goes before an advance, and needs no layer to be over."""
    for n in range(60):
        fields = layer(bench, 8, 60, **batch(bench))
        await begin(bench, fields, advance=n % 2 == 1)
        bench.cover("start and advance at once", n % 2)
        rest = bench.random.randrange(1, 6)
        found = await walk(bench, fields, 0.3, rest)
        bench.cover("start in the middle of a layer", found == rest)
    # Without an advance nothing moves, whatever a block shows of its fields that do not count.
    fields = layer(bench, 8, 60, passes=2)
    await begin(bench, fields)
    free = ("host", "loads", "chunks", "chunk_base", "timesteps", "leak", "hard", "threshold")
    for _ in range(50):
        fields |= {name: value for name, value in noise(bench).items() if name in free}
        out = await bench.cycle(layer=pack(LAYER, fields), start=0, advance=0)
        bench.check(out, outputs(next(rounds(fields))[0]))


@test
async def random_layers(bench: Bench) -> None:
    """Layers of all shapes, one after another; an advance is seen in the next cycle."""
    done = layers = 0
    while done < bench.transactions or layers < 2:
        fields = layer(bench, 16, bench.random.choice((3, 20, 120)), **batch(bench))
        for name in ("log_tile_height", "log_tile_width"):
            fields[name] = bench.random.randrange(fields["pool"], 7)
        if bench.chance(0.1):
            # A tile for the whole map.
            for side in ("height", "width"):
                fields[side] = 1 << fields[f"log_tile_{side}"]
        await begin(bench, fields)
        again = bench.random.choice((0.0, 0.0, 0.3))
        done += await walk(bench, fields, bench.random.choice((0.0, 0.1, 0.6)), again=again)
        bench.cover("layer after layer without a pause", layers)
        layers += 1
        if layers > 1 and bench.chance(0.5):
            for _ in range(bench.random.randrange(1, 3)):
                await bench.cycle(advance=0)
