"""Importing: any feed-forward spiking network of torch as a `Network`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import (
    TIMESTEPS_MAX,
    Coding,
    Readout,
)
from evenspike_train.lowering import frameworks, registry
from evenspike_train.lowering.assemble import Assembler
from evenspike_train.lowering.axes import canonical, expected, flat, named
from evenspike_train.lowering.exits import exits
from evenspike_train.lowering.forms import Form, Impossible
from evenspike_train.lowering.inputs import Input, check_options, chosen
from evenspike_train.lowering.network import Network
from evenspike_train.lowering.recorder import Recorder
from evenspike_train.lowering.rules.parts import of_time
from evenspike_train.lowering.trees import tensors
from evenspike_train.lowering.values import Broken, Membrane, Value

_KNOWN = (frameworks,)
"""Importing them has filled the registry."""


def import_network(
    module: nn.Module,
    example: Tensor | np.ndarray,
    *,
    timesteps: int | None = None,
    name: str | None = None,
    encoder: Coding | str | None = None,
    scale: float | None = None,
    time_axis: int = 0,
    readout: Readout | str | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
) -> Network:
    """Follow a spiking network through one run on an example.

    The module may take all timesteps at once, [T, B, ...], loop over them in its `forward`, or take
    a single one: then it is run `timesteps` times, and what it gives adds up.

    Parameters
    ----------
    example : images [B, C, H, W] or features [B, F], or with an axis of time frames of them; the
        first four of the batch are used. Images are direct-coded: the first layer computes its
        currents from pixels. Frames of zeros and ones are spikes; others are direct-coded.
    timesteps : T, where the module does not say it.
    encoder : how the host makes spikes of an input, where it is not as above: "rate", "latency",
        "frames" or "direct".
    scale : what the module gets for a byte of 1; 1 for examples of bytes, else 1/255 unless given.
    time_axis : of frames, those that an encoder makes of images among them.
    readout : "membrane" for the last neurons' membrane, where the module gives it beside spikes.
    names : of the Program's layers, in their order; by default their modules' paths.
    seed : of rate coding.

    Raises EvenspikeError for what has no integer form, naming the module's path, the line of the
    forward pass, and what would do.
    """
    if not isinstance(module, nn.Module):
        kind = module.__name__ if isinstance(module, type) else type(module).__name__
        raise EvenspikeError(f"{kind}: no torch.nn.Module that has been made")
    check_options(timesteps, scale, time_axis, seed)
    module = _unwrapped(module)
    label = name or type(module).__name__
    coding = chosen("encoder", encoder, Coding)
    wanted = chosen("readout", readout, Readout)
    entry = Input(module, example, coding, scale, time_axis, timesteps, seed, label)
    with _quiet(module):
        run = _run(module, entry)
    recorder = run.recorder
    value, tensor = _chosen(run, wanted, label)
    steps = recorder.timesteps or 1
    if steps > TIMESTEPS_MAX:
        raise EvenspikeError(f"{label}: {steps} timesteps; a Program holds {TIMESTEPS_MAX} at most")
    content = cast("Form | Membrane", value.content)
    assembler = Assembler(recorder, entry.source, entry.coding, entry.spikes, seed, names)
    layers = assembler.run(content)
    outputs = _outputs(value, tensor)
    if isinstance(content, Form) and layers[-1].readout is Readout.COUNT:
        outputs = outputs / content.terms[0].scale  # spikes, whatever the module makes of them
    return Network(label, steps, entry.source.shape, layers, entry.inputs, outputs, value.final)


def _unwrapped(module: nn.Module) -> nn.Module:
    """The network inside of what compiles or distributes it."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__ in ("DataParallel", "DistributedDataParallel"):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


@contextmanager
def _quiet(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; neurons start and end without a state."""
    training = {one: one.training for one in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            _clear(module)
            yield
    finally:
        _clear(module)
        for one, was in training.items():
            one.training = was


def _clear(module: nn.Module) -> None:
    for one in module.modules():
        handler = registry.find(one)
        if handler is None or handler.clear is None:
            continue
        try:
            handler.clear(one)
        except (Exception, SystemExit) as error:
            raise _failed(one, error) from error


class _Run:
    """One or several forward passes that have been followed; `results` is one for each of them."""

    def __init__(self, recorder: Recorder, results: list[Any]) -> None:
        self.recorder = recorder
        self.results = results


def _run(module: nn.Module, entry: Input) -> _Run:
    """Run the module on the whole input; on one timestep after the other where it takes them so."""
    steps = entry.timesteps
    several = steps is not None and steps > 1
    try:
        run = _passes(module, entry, 1, single=False)
    except EvenspikeError:
        if not (several and entry.frames):
            raise
        with suppress(EvenspikeError):  # what the first attempt said is the reason
            return _by_steps(module, entry)
        raise
    run.recorder.settle()
    if run.recorder.single_steps:
        if steps is None:
            raise EvenspikeError(
                f"{type(module).__name__}: takes a single timestep; say how many there are "
                "(timesteps=)"
            )
        if several:
            return _by_steps(module, entry)
    return run


def _failed(module: nn.Module, error: BaseException) -> EvenspikeError:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    if isinstance(error, SystemExit):
        reason = exits(error)
    line, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "site-packages" not in name and "/lowering/" not in name:
            line = f" ({name.rsplit('/', 1)[-1]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return EvenspikeError(f"{type(module).__name__}: does not run on the example: {reason}{line}")


def _by_steps(module: nn.Module, entry: Input) -> _Run:
    _clear(module)
    return _passes(module, entry, entry.timesteps or 1, single=True)


def _passes(module: nn.Module, entry: Input, count: int, *, single: bool) -> _Run:
    recorder = Recorder(module, entry.timesteps)
    results = []
    for t in range(count):
        tensor = entry.tensor
        if single and entry.frames:
            tensor = tensor.select(entry.axis, t)
        elif count > 1:
            tensor = tensor.clone()
        when = t if single and entry.frames else None
        recorder[tensor] = entry.value(recorder, tensor, when, single=single)
        try:
            with recorder.following():
                results.append(module(tensor))
        except EvenspikeError:
            raise
        except (Exception, SystemExit) as error:
            if recorder.refusal:
                raise recorder.refusal from error
            raise _failed(module, error) from error
        if recorder.refusal:  # the module has caught it, and gone another way
            raise recorder.refusal
    return _Run(recorder, results)


def _parts(result: Any) -> list[Any]:
    """The outputs of a module: a tensor each, or a list of one for each timestep."""
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, tuple) else [result]


def _chosen(run: _Run, wanted: Readout | None, label: str) -> tuple[Value, Tensor]:
    """The output that is read, with its numbers: [T, B, classes] or [B, classes]."""
    candidates: list[tuple[Value | None, Tensor]] = []
    for index in range(len(_parts(run.results[0]))):
        parts = [_parts(result)[index] for result in run.results]
        found = list(tensors(parts))
        if found:
            candidates.append(_together(run.recorder, found, len(parts) > 1))
    if not candidates:
        raise EvenspikeError(f"{label}: gives no tensor")
    membranes = [c for c in candidates if c[0] and isinstance(c[0].content, Membrane)]
    if wanted is Readout.MEMBRANE:
        if not membranes:
            raise EvenspikeError(f"{label}: gives no membrane")
        value, tensor = membranes[0]
    else:
        value, tensor = candidates[0]
    if value is not None and isinstance(value.content, Broken):
        raise EvenspikeError(value.content.reason)
    if not run.recorder.layers:
        raise EvenspikeError(
            f"{label}: has no neurons that are known; register their module "
            "(evenspike_train.lowering.register)"
        )
    if value is None:
        raise EvenspikeError(
            f"{label}: what it gives does not depend on the example in a way that can be followed"
        )
    return _readable(run.recorder, value, tensor, label)


def _together(
    recorder: Recorder, found: list[Tensor], several: bool
) -> tuple[Value | None, Tensor]:
    """One output of several passes, or a list with one for each timestep, as one."""
    values = [recorder[one] for one in found]
    if len(found) == 1 and not several:
        return values[0], found[0]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, found[0]
    broken = next((value for value in known if isinstance(value.content, Broken)), None)
    if broken is not None:
        return broken, found[0]
    try:
        content = of_time(recorder, known)
    except Impossible as error:
        return Value(Broken(f"output: {error}"), ()), found[0]
    dims = (*named("T", [len(known)]), *known[0].dims)
    return Value(content, dims, final=any(v.final for v in known)), torch.stack(found)


def _readable(recorder: Recorder, value: Value, tensor: Tensor, label: str) -> tuple[Value, Tensor]:
    """Check that the output is something that a last layer gives."""
    content, steps = value.content, recorder.timesteps or 1
    if isinstance(content, Membrane):
        if value.final:
            raise EvenspikeError(
                f"{content.neurons.path}: what it gives as its membrane is not what the machine "
                "has at the end of a timestep: there a hard reset has cleared it, and a soft one "
                "has not been taken off yet; read the spikes, or use neurons that do not fire"
            )
        if content.at == -1:  # of all timesteps: the last one counts
            content = Membrane(content.neurons, steps - 1)
            tensor = tensor[-1]
            dims = value.dims[1:] if flat(value.dims[:1]) in ("T", "") else value.dims
            value = Value(content, dims, steps - 1)
        if content.at != steps - 1:
            raise EvenspikeError(
                f"{content.neurons.path}: its membrane after timestep {content.at + 1} of {steps}; "
                "that after the last one can be read"
            )
        return value, tensor
    if not isinstance(content, Form):
        raise EvenspikeError(f"{label}: a max-pool is its output")
    if not content.changes:
        raise EvenspikeError(f"{label}: no neurons lie between the example and the output")
    whole = frozenset(range(steps))
    if value.when is not None and value.when != whole and not (steps == 1 and value.when == 0):
        which = [value.when] if isinstance(value.when, int) else sorted(value.when)
        raise EvenspikeError(
            f"{label}: the output is that of timestep {', '.join(map(str, which))} of 0 to "
            f"{steps - 1}; the sum or mean over all of them can be read (torch.stack them), or the "
            "last membrane"
        )
    names = flat(value.dims).replace("T", "").replace("B", "")
    if names != expected(content.shape, "CHW"):
        raise EvenspikeError(f"{label}: the output has dimensions {names}, not one number a class")
    return value, tensor


def _outputs(value: Value, tensor: Tensor) -> np.ndarray:
    """The module's own outputs [B, classes], as a sum over the timesteps or the last membrane."""
    content = value.content
    if isinstance(content, Membrane):
        return canonical(tensor, value.dims, content.neurons.drive.shape)[0, :, :, 0, 0].numpy()
    form = cast("Form", content)
    numbers = canonical(tensor, value.dims, form.shape)[..., 0, 0]
    if isinstance(value.when, frozenset):
        return (numbers[0] / value.share).numpy()
    return numbers.sum(0).numpy()


__all__ = ["import_network"]
