"""Importing: any feed-forward spiking network of torch as a `Network`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import (
    PIXEL_MAX,
    TIMESTEPS_MAX,
    Coding,
    Layer,
    Program,
    Readout,
    Segment,
)
from evenspike_train.lowering import forms, frameworks, registry
from evenspike_train.lowering.assemble import Assembler
from evenspike_train.lowering.axes import canonical, expected, flat, named
from evenspike_train.lowering.forms import Form, Impossible, Source
from evenspike_train.lowering.functions import of_time
from evenspike_train.lowering.network import Network
from evenspike_train.lowering.recorder import Recorder, tensors
from evenspike_train.lowering.values import Broken, Membrane, Value

EXAMPLES = 4
"""Examples on which a network is followed, of those that are given."""

assert frameworks  # whose neurons are in the registry now


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
        currents from pixels. Frames of zeros and ones are spikes; others are direct-coded one by one.
    timesteps : T, where the module does not say it.
    encoder : how the host makes spikes of an input, where it is not as above: "rate", "latency",
        "frames" or "direct".
    scale : what the module gets for a byte of 1; 1 for examples of bytes, else 1/255 unless given.
    time_axis : of frames.
    readout : "membrane" for the last neurons' membrane, where the module gives it beside the spikes.
    names : of the Program's layers, in their order; by default their modules' paths.
    seed : of rate coding.

    Raises EvenspikeError for what has no integer form, naming the module's path, the line of the
    forward pass, and what would do.
    """
    module = _unwrapped(module)
    label = name or type(module).__name__
    coding = None if encoder is None else Coding(encoder)
    wanted = None if readout is None else Readout(readout)
    entry = _Input(module, example, coding, scale, time_axis, timesteps, seed, label)
    with _quiet(module):
        run = _run(module, entry)
    recorder = run.recorder
    value, tensor = _chosen(run, wanted, label)
    steps = recorder.timesteps or 1
    if steps > TIMESTEPS_MAX:
        raise EvenspikeError(f"{label}: {steps} timesteps; a Program holds {TIMESTEPS_MAX} at most")
    content = value.content
    assert isinstance(content, (Form, Membrane))
    assembler = Assembler(recorder, entry.source, entry.coding, entry.spikes, seed, names)
    layers = assembler.run(content)
    outputs = _outputs(value, tensor, steps)
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
        if handler is not None and handler.clear is not None:
            handler.clear(one)


class _Input:
    """An example as the module takes it, and as the Program does.

    coding : of the encoder. source : of the pixels or spikes.
    tensor : what the module gets; frames : whether it has an axis of time, `axis`.
    inputs : uint8 [B, ...], the same for the Program.
    spikes : [T, B, C, H, W] of a network that takes spikes; None where it takes pixels.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Tensor | np.ndarray,
        coding: Coding | None,
        scale: float | None,
        axis: int,
        timesteps: int | None,
        seed: int,
        label: str,
    ) -> None:
        given = torch.as_tensor(example)
        if given.dim() not in (2, 3, 4, 5):
            raise EvenspikeError(
                f"{label}: an example of {tuple(given.shape)}; [B, C, H, W] or [B, F], or with an "
                "axis of timesteps, is possible"
            )
        self.frames = given.dim() in (3, 5)
        self.axis = axis
        self.timesteps = timesteps
        if coding in (Coding.RATE, Coding.LATENCY) and (self.frames or timesteps is None):
            raise EvenspikeError(
                f"{label}: {coding} coding makes frames of images; give it images and timesteps="
            )
        if coding is Coding.FRAMES and not self.frames:
            raise EvenspikeError(
                f"{label}: frames need an axis of timesteps, here {given.dim()} axes"
            )
        if not given.numel() or not bool(torch.isfinite(given.double()).all()):
            raise EvenspikeError(
                f"{label}: the example is empty, or holds numbers that are not finite"
            )
        batch = 1 - axis if self.frames else 0
        given = given.narrow(batch, 0, min(EXAMPLES, given.shape[batch]))
        if given.shape[batch] == 1:  # an axis of one entry could not be told from others
            given = torch.cat([given, given], batch)
        if self.frames:
            self.timesteps = int(given.shape[axis])
            if timesteps is not None and timesteps != self.timesteps:
                raise EvenspikeError(
                    f"{label}: {self.timesteps} frames in axis {axis} for {timesteps} timesteps"
                )
        binary = bool(((given == 0) | (given == 1)).all())
        if coding is None:
            coding = Coding.FRAMES if self.frames and binary else Coding.DIRECT
        if coding is Coding.FRAMES and not binary:
            raise EvenspikeError(f"{label}: frames of spikes are zeros and ones; these are not")
        self.coding = coding
        self.scale = scale or (1.0 if given.dtype == torch.uint8 else 1.0 / PIXEL_MAX)
        pixels = self._bytes(given, label) if coding is not Coding.FRAMES else given.to(torch.uint8)
        ordered = pixels.transpose(0, 1) if self.frames and axis == 0 else pixels
        shape = tuple(int(n) for n in ordered.shape[2 if self.frames else 1 :])
        full = (shape[0], 1, 1) if len(shape) == 1 else (shape[0], shape[1], shape[2])
        self.inputs: np.ndarray = ordered.reshape(
            *ordered.shape[: ordered.dim() - len(shape)], *full
        )
        self.inputs = self.inputs.cpu().numpy()  # type: ignore[union-attr]
        self.spikes: np.ndarray | None = None
        self.source = Source("input", full, self.frames)
        tensor = given
        if coding is Coding.FRAMES:
            self.spikes = np.moveaxis(self.inputs, 1, 0)
        elif coding is not Coding.DIRECT:
            self._encode(seed, label)
            assert self.spikes is not None
            spikes = torch.from_numpy(self.spikes.astype(np.float32))
            tensor = spikes.reshape(*spikes.shape[:2], *given.shape[1:])
            self.frames, self.axis = True, 0
            self.source = Source("input", full)
        elif given.is_floating_point():
            tensor = pixels.to(given.dtype) * self.scale
        self.tensor = _like(module, tensor)
        self._lead = "TB" if self.axis == 0 else "BT"

    def _bytes(self, given: Tensor, label: str) -> Tensor:
        values = given.double() / self.scale
        if values.min() < 0 or values.max() > PIXEL_MAX + 0.5:
            raise EvenspikeError(
                f"{label}: the example reaches from {float(given.min()):.4g} to "
                f"{float(given.max()):.4g}; a pixel is a byte times {self.scale:.4g}, so 0 to "
                f"{PIXEL_MAX * self.scale:.4g}. Give another scale=, or take no mean off in front of "
                "the network (a batch norm behind the first convolution does the same)"
            )
        return values.round().clamp(0, PIXEL_MAX).to(torch.uint8)

    def _encode(self, seed: int, label: str) -> None:
        """The encoder's spikes of the pixels."""
        steps, shape = self.timesteps or 1, self.source.shape
        first = Layer(
            "input", (), np.zeros(shape[0], np.int32), shape[1:], 1, coding=self.coding, seed=seed
        )
        none = Segment(0, np.zeros((1, shape[0], 1, 1), np.int16))
        last = Layer("last", (none,), np.zeros(1, np.int32), (1, 1), 1, readout=Readout.PSUM)
        program = Program(label, steps, shape, (first, last))
        planes = [
            reference.timestep_planes(reference.encode(program, one), steps) for one in self.inputs
        ]
        self.spikes = np.stack(planes, 1)

    def value(self, recorder: Recorder, tensor: Tensor, when: int | None, *, single: bool) -> Value:
        """The value of the tensor that the module gets."""
        if self.coding is Coding.DIRECT:
            recorder.pixels(self.source)
            form = forms.identity(self.source, self.scale)
        else:
            form = forms.identity(self.source)
        content = recorder.content(("entry", self.source), lambda: form)
        lead = "B" if single or not self.frames else self._lead
        names = lead + ("C" if tensor.dim() - len(lead) == 1 else "CHW")
        if not single and self.frames:
            recorder.time(int(tensor.shape[self.axis]))
        return Value(content, named(names, tensor.shape), when)


def _like(module: nn.Module, tensor: Tensor) -> Tensor:
    """The tensor on the module's device and, unless it holds bytes, of its type."""
    like = next((one for one in module.parameters() if one.is_floating_point()), None)
    if like is None:
        return tensor
    if tensor.dtype == torch.uint8 or not tensor.is_floating_point():
        return tensor.to(like.device)
    return tensor.to(like.device, like.dtype)


class _Run:
    """One or several forward passes that have been followed; `results` is one for each of them."""

    def __init__(self, recorder: Recorder, results: list[Any]) -> None:
        self.recorder = recorder
        self.results = results


def _run(module: nn.Module, entry: _Input) -> _Run:
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


def _failed(module: nn.Module, error: Exception) -> EvenspikeError:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    line, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "site-packages" not in name and "/lowering/" not in name:
            line = f" ({name.rsplit('/', 1)[-1]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return EvenspikeError(f"{type(module).__name__}: does not run on the example: {reason}{line}")


def _by_steps(module: nn.Module, entry: _Input) -> _Run:
    _clear(module)
    assert entry.timesteps is not None
    return _passes(module, entry, entry.timesteps, single=True)


def _passes(module: nn.Module, entry: _Input, count: int, *, single: bool) -> _Run:
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
        except Exception as error:
            raise _failed(module, error) from error
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
                f"{content.neurons.path}: what it gives as its membrane is not what the machine has "
                "at the end of a timestep: there a hard reset has cleared it, and a soft one has not "
                "been taken off yet; read the spikes, or use neurons that do not fire"
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


def _outputs(value: Value, tensor: Tensor, steps: int) -> np.ndarray:
    """The module's own outputs [B, classes], as a sum over the timesteps or the last membrane."""
    content = value.content
    if isinstance(content, Membrane):
        return canonical(tensor, value.dims, content.neurons.drive.shape)[0, :, :, 0, 0].numpy()
    assert isinstance(content, Form)
    numbers = canonical(tensor, value.dims, content.shape)[..., 0, 0]
    if isinstance(value.when, frozenset):
        return (numbers[0] / value.share).numpy()
    return numbers.sum(0).numpy()


__all__ = ["EXAMPLES", "import_network"]
