"""Assembling: from what an output depends on to the layers of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import PIXELS, Coding, Readout
from evenspike_train.lowering import forms
from evenspike_train.lowering.forms import Form, Impossible, Pooled, Source
from evenspike_train.lowering.network import FloatLayer
from evenspike_train.lowering.neurons import NeuronModel
from evenspike_train.lowering.pooling import pooled
from evenspike_train.lowering.recorder import Recorder
from evenspike_train.lowering.segments import FloatSegment, segments_of
from evenspike_train.lowering.values import Membrane, Neurons

_RELAY = NeuronModel(0.0)
"""Neurons that send on what they get, at once and once."""


class Assembler:
    """Makes the layers of one network.

    Parameters
    ----------
    entry : the input. coding : what the encoder does with it.
    spikes : of the input by timestep, [T, B, C, H, W], where it is spikes; None for pixels.
    names : of the layers, in their order; by default those of their modules.
    """

    def __init__(
        self,
        recorder: Recorder,
        entry: Source,
        coding: Coding,
        spikes: np.ndarray | None,
        seed: int,
        names: Sequence[str] = (),
    ) -> None:
        self._recorder = recorder
        self._steps = recorder.timesteps or 1
        self._entry = entry
        self._coding = coding
        self._given = tuple(names)
        self._of = {id(layer.source): layer for layer in recorder.layers}
        self._index: dict[int, int] = {}
        self.layers: list[FloatLayer] = []
        if coding is not Coding.DIRECT:
            self._index[id(entry)] = 0
            self.layers.append(
                FloatLayer(
                    self._name("input"),
                    "input",
                    (),
                    np.zeros(entry.shape[0]),
                    entry.shape[1:],
                    NeuronModel(0.0),
                    coding=coding,
                    seed=seed,
                    spikes=None if spikes is None else spikes != 0,
                )
            )

    def run(self, output: Form | Membrane) -> tuple[FloatLayer, ...]:
        """The layers up to an output; raises EvenspikeError naming the layer that is impossible."""
        readout, neurons, form = self._output(output)
        needed = self._needed(form)
        if neurons is not None and any(
            source is neurons.source or source.whole is neurons.source for source in needed
        ):
            raise self._refused(
                neurons.path, "its membrane is the output, and other layers read its spikes"
            )
        for layer in self._recorder.layers:
            wanted = [s for s in needed if layer.source in (s, s.whole)]
            if wanted:
                self._add(layer, wanted)
        for source in needed:
            if id(source) not in self._index:
                self._relay(source)
        self._last(readout, neurons, form)
        if self._given and len(self._given) != len(self.layers):
            raise EvenspikeError(f"{len(self._given)} names for {len(self.layers)} layers")
        return tuple(self.layers)

    # ---- the order ------------------------------------------------------------------------------

    def _output(self, output: Form | Membrane) -> tuple[Readout, Neurons | None, Form]:
        """(read-out, its neurons if it has any, the form that is read)."""
        if isinstance(output, Membrane):
            return Readout.MEMBRANE, output.neurons, self._drive(output.neurons)
        spikes = output.spikes
        layer = self._of.get(id(spikes))
        if layer is None or (layer is self._recorder.layers[0] and self._direct):
            return Readout.PSUM, None, output
        drive = self._drive(layer)
        if layer.source in self._needed(drive):
            return Readout.PSUM, None, output
        readers = [
            one
            for one in self._recorder.layers
            if one is not layer and self._reads(one, layer.source)
        ]
        if readers:  # it is an output and a source: what reads it out is a layer of its own
            return Readout.PSUM, None, output
        return Readout.COUNT, layer, drive

    @property
    def _direct(self) -> bool:
        return self._coding is Coding.DIRECT

    @staticmethod
    def _reads(layer: Neurons, source: Source) -> bool:
        form = layer.drive.form if isinstance(layer.drive, Pooled) else layer.drive
        return any(source in (term.source, term.source.whole) for term in form.terms)

    def _drive(self, layer: Neurons) -> Form:
        if isinstance(layer.drive, Pooled):
            raise self._refused(layer.path, "a max-pool in front of the last neurons")
        return layer.drive

    def _needed(self, form: Form) -> list[Source]:
        """All sources that a form depends on."""
        found: dict[int, Source] = {}
        waiting = [term.source for term in form.terms]
        while waiting:
            source = waiting.pop()
            if id(source) in found or source is self._entry:
                continue
            found[id(source)] = source
            if source.whole is not None and source.whole.whole is not None:
                waiting.append(source.whole)
            elif source.whole is self._entry:
                continue
            else:
                layer = self._of[id(source.whole or source)]
                drive = layer.drive.form if isinstance(layer.drive, Pooled) else layer.drive
                waiting += [term.source for term in drive.terms]
        return list(found.values())

    # ---- layers ---------------------------------------------------------------------------------

    def _add(self, layer: Neurons, wanted: list[Source]) -> None:
        """A layer of neurons with its pool; twice, if it is read with and without."""
        whole = [source for source in wanted if source.whole is None]
        pooled = [source for source in wanted if source.whole is not None]
        form = layer.drive.form if isinstance(layer.drive, Pooled) else layer.drive
        pixels = [term for term in form.terms if term.source is self._entry and self._direct]
        for source in (*whole, *pooled):
            if pixels and self.layers:
                if source in pooled and self.layers[0].path == layer.path:
                    continue  # made of the first one's spikes, by a relay
                raise self._refused(
                    layer.path,
                    f"a second layer reads the pixels ({self.layers[0].path} is the first); the "
                    "host makes the spikes of one layer",
                )
            if pixels and len(pixels) < len(form.terms):
                raise self._refused(layer.path, "reads pixels and spikes")
            if self._direct and not pixels and not self.layers:
                raise self._refused(layer.path, "the first neurons do not read the input")
            pool = 1 if source.whole is None else 2
            made = self._spiking(layer, form, pool, host=bool(pixels))
            self._index[id(source)] = len(self.layers)
            self.layers.append(made)

    def _spiking(self, layer: Neurons, form: Form, pool: int, *, host: bool) -> FloatLayer:
        first = isinstance(layer.drive, Pooled)
        if first and not host:
            raise self._refused(layer.path, "only the first layer can pool in front of neurons")
        if first and pool > 1:
            raise self._refused(layer.path, "a max-pool in front of its neurons and one behind")
        pool = 2 if first else pool
        size = form.size
        if pool > 1:
            size = (size[0] // 2 * 2, size[1] // 2 * 2)
        spikes, drives = self._recorded(layer)
        if pool > 1 and not first:
            drives = drives[..., : size[0], : size[1]]
            spikes = pooled(spikes)
        gain = layer.model.gain
        segments = self._segments(form, size, gain, layer.path)
        return FloatLayer(
            self._name(_path(form) or layer.path),
            layer.path,
            segments,
            gain * form.bias,
            size,
            layer.model,
            pool,
            coding=Coding.DIRECT if host else None,
            pool_first=first,
            spikes=spikes,
            drives=drives * gain,
        )

    def _relay(self, source: Source) -> None:
        """A layer that sends on the spikes of another one, pooled."""
        whole = cast("Source", source.whole)
        if id(whole) not in self._index:
            self._relay(whole)
        at = self._index[id(whole)]
        before = self.layers[at]
        size = (whole.shape[1] // 2 * 2, whole.shape[2] // 2 * 2)
        drives = spikes = None
        if before.spikes is not None:
            drives = before.spikes[..., : size[0], : size[1]].astype(np.float64)
            spikes = pooled(before.spikes)
        form = forms.identity(whole)
        self._index[id(source)] = len(self.layers)
        self.layers.append(
            FloatLayer(
                self._name(f"{before.name}.pool"),
                before.path,
                self._segments(form, size, 1.0, before.path),
                form.bias,
                size,
                _RELAY,
                2,
                spikes=spikes,
                drives=drives,
            )
        )

    def _last(self, readout: Readout, neurons: Neurons | None, form: Form) -> None:
        path = neurons.path if neurons else (_path(form) or "output")
        if form.size != (1, 1):
            raise self._refused(
                path,
                f"the output is a map of {form.size}; the last layer gives one number a class, so "
                "take a mean over the map, or flatten it into a linear layer",
            )
        if any(term.source is self._entry and self._direct for term in form.terms):
            raise self._refused(path, "the output reads the pixels; there are no spikes between")
        model = neurons.model if neurons else self.layers[-1].neuron
        gain = model.gain if neurons else 1.0
        if not neurons and not 0 < model.threshold < np.inf:
            model = replace(model, threshold=1.0)
        drives = self._recorded(neurons)[1] * gain if neurons else None
        segments = self._segments(form, form.size, gain, path)
        self.layers.append(
            FloatLayer(
                self._name(_path(form) or path),
                path,
                segments,
                gain * form.bias,
                form.size,
                model if neurons else replace(model, strict=False),
                readout=readout,
                drives=drives,
            )
        )

    def _segments(
        self, form: Form, size: tuple[int, int], gain: float, path: str
    ) -> tuple[FloatSegment, ...]:
        found: list[FloatSegment] = []
        for number, term in enumerate(form.terms):
            if term.source is self._entry and self._direct:
                source = PIXELS
            elif id(term.source) in self._index:
                source = self._index[id(term.source)]
            else:
                self._relay(term.source)
                source = self._index[id(term.source)]
            try:
                found += segments_of(term, source, size, gain, first=number == 0)
            except Impossible as error:
                raise self._refused((*term.pools, *term.modules) or (path,), str(error)) from error
        return tuple(found)

    def _refused(self, paths: str | Sequence[str], reason: str) -> EvenspikeError:
        """An error that names modules, and the lines on which they are applied."""
        names = [paths] if isinstance(paths, str) else paths
        lines = "".join(self._recorder.line(one) for one in names)
        return EvenspikeError(f"{', '.join(names)}: {reason}{lines}")

    # ---- names and records ----------------------------------------------------------------------

    def _name(self, wanted: str) -> str:
        at = len(self.layers)
        if at < len(self._given):
            return self._given[at]
        taken = {layer.name for layer in self.layers}
        candidates = (f"{wanted}.{n}" if n else wanted for n in range(len(taken) + 1))
        return next(name for name in candidates if name not in taken)

    def _recorded(self, layer: Neurons) -> tuple[np.ndarray, np.ndarray]:
        """Spikes and drives of all timesteps, [T, B, C, H, W]."""
        spikes = np.concatenate(list(_by_time(layer.spikes)))
        drives = np.concatenate(list(_by_time(layer.drives)))
        steps = self._steps
        if len(spikes) != steps:
            raise self._refused(
                layer.path, f"its neurons ran for {len(spikes)} timesteps, others for {steps}"
            )
        batch = max(spikes.shape[1], drives.shape[1])
        shape = (steps, batch, *spikes.shape[2:])
        return np.broadcast_to(spikes, shape) != 0, np.broadcast_to(
            drives, (steps, batch, *drives.shape[2:])
        )


def _by_time(parts: dict[int, np.ndarray]) -> Iterator[np.ndarray]:
    for t in sorted(parts):
        yield parts[t]


def _path(form: Form) -> str:
    """Path of the first module whose weights a form holds."""
    return next((term.modules[0] for term in form.terms if term.modules), "")
