"""Inputs: an example as a network takes it, and as the Program made of it does."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TypeVar

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
from evenspike_train.lowering import forms
from evenspike_train.lowering.axes import named
from evenspike_train.lowering.forms import Source
from evenspike_train.lowering.recorder import Recorder
from evenspike_train.lowering.values import Value

EXAMPLES = 4
"""Examples on which a network is followed, of those that are given."""


class Input:
    """An example as the module takes it, and as the Program does.

    coding : of the encoder. source : of the pixels or spikes.
    tensor : what the module gets; frames : whether it has an axis of time, `axis`.
    inputs : uint8 [B, ...], the same for the Program.
    spikes : [T, B, C, H, W] of a network that takes spikes; None where it takes pixels.
    """

    def __init__(
        self,
        module: nn.Module,
        example: object,
        coding: Coding | None,
        scale: float | None,
        axis: int,
        timesteps: int | None,
        seed: int,
        label: str,
    ) -> None:
        given = _used(example, coding, axis, timesteps, label)
        self.frames = given.dim() in (3, 5)
        self.axis = axis
        self.timesteps = timesteps
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
        front = ordered.shape[: ordered.dim() - len(shape)]
        self.inputs: np.ndarray = ordered.reshape(*front, *full).cpu().numpy()
        self.spikes: np.ndarray | None = None
        self.source = Source("input", full, self.frames, pixels=coding is Coding.DIRECT)
        tensor = given
        if coding is Coding.FRAMES:
            self.spikes = np.moveaxis(self.inputs, 1, 0)
        elif coding is not Coding.DIRECT:
            self.spikes = self._encoded(seed, label)
            spikes = torch.from_numpy(self.spikes.astype(np.float32))
            tensor = spikes.reshape(*spikes.shape[:2], *given.shape[1:])
            tensor = tensor if axis == 0 else tensor.transpose(0, 1).contiguous()
            self.frames = True
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
                f"{PIXEL_MAX * self.scale:.4g}. Give another scale=, or take no mean off in front "
                "of the network (a batch norm behind the first convolution does the same)"
            )
        return values.round().clamp(0, PIXEL_MAX).to(torch.uint8)

    def _encoded(self, seed: int, label: str) -> np.ndarray:
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
        return np.stack(planes, 1)

    def value(self, recorder: Recorder, tensor: Tensor, when: int | None, *, single: bool) -> Value:
        """The value of the tensor that the module gets."""
        if self.source.pixels:
            form = forms.identity(self.source, self.scale)
        else:
            form = forms.identity(self.source)
        content = recorder.content(("entry", self.source), lambda: form)
        lead = "B" if single or not self.frames else self._lead
        names = lead + ("C" if tensor.dim() - len(lead) == 1 else "CHW")
        if not single and self.frames:
            recorder.time(int(tensor.shape[self.axis]))
        return Value(content, named(names, tensor.shape), when)


def plain(example: object, label: str) -> Tensor:
    """An example as a tensor of a type that torch computes with.

    Byte order, strides and wide types of numpy are no matter: unsigned integers of more than a byte
    become int64, long doubles float64, truths float32.

    Raises EvenspikeError for what holds no real numbers.
    """
    if isinstance(example, np.ndarray):
        if example.dtype.kind not in "biuf":
            raise EvenspikeError(f"{label}: an example of {example.dtype}, not of real numbers")
        wide = {"f": np.float64, "u": np.int64}.get(example.dtype.kind)
        native = example.dtype.newbyteorder("=")
        if wide and (native.itemsize > 8 or (native.kind == "u" and native.itemsize > 1)):
            native = np.dtype(wide)
        example = np.ascontiguousarray(example, native) if example.ndim else example.astype(native)
    try:
        given = torch.as_tensor(example)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        kind = type(example).__name__
        raise EvenspikeError(
            f"{label}: an example that is a {kind}; a tensor or an array of numbers is needed"
        ) from error
    if given.is_meta:
        raise EvenspikeError(f"{label}: the example is on device meta, where it has no numbers")
    if given.is_complex() or given.is_quantized:
        raise EvenspikeError(f"{label}: an example of {given.dtype}, not of real numbers")
    if given.layout is not torch.strided:
        given = given.to_dense()
    if given.dtype == torch.bool:
        return given.float()
    unsigned = (torch.uint16, torch.uint32, torch.uint64)
    return given.detach().to(torch.int64) if given.dtype in unsigned else given.detach()


_Choice = TypeVar("_Choice", bound=StrEnum)


def chosen(what: str, value: str | None, kind: type[_Choice]) -> _Choice | None:
    """One of some words; raises EvenspikeError that lists them for another."""
    if value is None:
        return None
    if value not in list(kind):
        raise EvenspikeError(f"{what}: {value!r}; there are {', '.join(kind)}")
    return kind(value)


def check_options(timesteps: int | None, scale: float | None, time_axis: int, seed: int) -> None:
    """Raise EvenspikeError for a number that nothing could be done with."""
    for what, number in (("timesteps", timesteps), ("time_axis", time_axis), ("seed", seed)):
        if number is not None and not isinstance(number, (int, np.integer)):
            raise EvenspikeError(f"{what}: {number!r} is no whole number")
    if timesteps is not None and not 1 <= timesteps <= TIMESTEPS_MAX:
        raise EvenspikeError(f"timesteps: {timesteps}; 1 to {TIMESTEPS_MAX} are possible")
    if scale is not None and not (isinstance(scale, (int, float)) and 0 < scale < math.inf):
        raise EvenspikeError(f"scale: {scale}; a number above 0 is needed")
    if time_axis not in (0, 1):
        raise EvenspikeError(f"time_axis: {time_axis}; 0 or 1")
    if seed < 0:
        raise EvenspikeError(f"seed: {seed}; 0 or more")


def _like(module: nn.Module, tensor: Tensor) -> Tensor:
    """The tensor on the module's device and, unless it holds bytes, of its type."""
    like = next((one for one in module.parameters() if one.is_floating_point()), None)
    if like is None:
        return tensor
    if tensor.dtype == torch.uint8 or not tensor.is_floating_point():
        return tensor.to(like.device)
    return tensor.to(like.device, like.dtype)


def _used(
    example: object,
    coding: Coding | None,
    axis: int,
    timesteps: int | None,
    label: str,
) -> Tensor:
    """The examples that are used, checked."""
    given = plain(example, label)
    if given.dim() not in (2, 3, 4, 5):
        raise EvenspikeError(
            f"{label}: an example of {tuple(given.shape)}; [B, C, H, W] or [B, F], or with an "
            "axis of timesteps, is possible"
        )
    frames = given.dim() in (3, 5)
    if coding in (Coding.RATE, Coding.LATENCY) and (frames or timesteps is None):
        raise EvenspikeError(
            f"{label}: {coding} coding makes frames of images; give it images and timesteps="
        )
    if coding is Coding.FRAMES and not frames:
        raise EvenspikeError(f"{label}: frames need an axis of timesteps, here {given.dim()} axes")
    if not given.numel() or not bool(torch.isfinite(given.double()).all()):
        raise EvenspikeError(f"{label}: the example is empty, or holds numbers that are not finite")
    batch = 1 - axis if frames else 0
    given = given.narrow(batch, 0, min(EXAMPLES, given.shape[batch]))
    if given.shape[batch] == 1:  # an axis of one entry could not be told from others
        given = torch.cat([given, given], batch)
    return given
