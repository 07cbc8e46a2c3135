"""The training run: dense phase, rounds of pruning, final phase; resumable at any step.

All randomness is drawn from generators keyed by (seed, phase, step or epoch), and
the state file is replaced atomically, so a run that is killed and resumed ends in
the same weights as one that was left alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenspike_core import files
from evenspike_core.data import DATA_SETS
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent
from evenspike_train import networks, tickets
from evenspike_train.data import Augmentation, Dataset, check_fits, generator_for
from evenspike_train.export.programs import impossible, unfollowable
from evenspike_train.networks import twin
from evenspike_train.networks.own import OwnNetwork
from evenspike_train.networks.shared_norm import share_statistics
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import checkpoint, dense_phase, run_state, schedule
from evenspike_train.runs.distillation import answers, distillation
from evenspike_train.runs.distributed import ALONE, Team
from evenspike_train.runs.evaluation import evaluate
from evenspike_train.runs.hardware import MAPPINGS, Hardware, Measure
from evenspike_train.runs.optimizer import learning_rate, loss_per_timestep, make_optimizer
from evenspike_train.runs.probe import NetworkProbe
from evenspike_train.runs.progress import RunProgress
from evenspike_train.runs.run_log import RunLog
from evenspike_train.runs.schedule import Phase
from evenspike_train.runs.start import FIT_IMAGES, Start, fit_norms
from evenspike_train.tickets import early_time, fit
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.figures import figures_of
from evenspike_train.tickets.u_ticket import layer_mean_evenness

TRIED = 2
"""Images on which a module of the user's is tried before it is trained."""

_KEPT = {"accuracy": "validation_accuracy", "firing_rate": "firing_rate"}
"""What the last validation measures and a ticket keeps, and its name there."""

_ORDER, _AUGMENT, _MASK, _PROBE = 1, 2, 3, 4  # streams of random numbers


class Trainer:
    """One run in one directory.

    Files: ``recipe.toml`` (as given), ``log.jsonl`` (a line for each event), ``state.pt``
    (everything needed to go on), ``snapshot.pt`` (what weights are rewound to), ``dense.pt`` and
    ``ticket.pt`` (results).
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        directory: Path,
        measure: Measure | None = None,
        dense: Path | None = None,
        team: Team = ALONE,
        progress: Progress = silent,
        say: Callable[[str], None] | None = None,
        start: Start | None = None,
        teacher: networks.SpikingNetwork | None = None,
    ) -> None:
        """Parameters
        ----------
        measure : tells what a round's network costs on the accelerator.
        dense : the folder of another run, whose dense phase a new run takes over (`dense_phase`).
        team : the processes that train together.
        progress : is told how far the run is, in units of its whole work.
        say : is called with each line of the log, but for those that only say how far it is.
        start : what a fine-tuning begins with; a run that goes on does not look at it.
        teacher : whose answers the final phase is trained with, too.
        """
        self.team = team
        self.recipe, self.data, self.directory = recipe, data, Path(directory)
        self.device = data.train.images.device
        check_fits(data, DATA_SETS[recipe.data.name])
        self.method = tickets.build(recipe.method)
        torch.manual_seed(recipe.seed)
        self.model = networks.build(recipe.network).to(self.device)
        if isinstance(self.model, OwnNetwork):
            self.model.check(data.train.images[:TRIED], schedule.tried(recipe))
        if self.device.type != "cpu" or recipe.compute.precision != "fp32":
            networks.channels_last(self.model)
        share_statistics(self.model, team.size)
        weight_masks.attach(self.model)
        self.optimizer = make_optimizer(self.model, recipe.optimizer)
        self.carried = weight_masks.read(self.model)
        self.snapshot: dict[str, Tensor] = {}  # empty until it is taken
        self.ema: dict[str, Tensor] | None = None
        self.phase_index, self.step, self.images_seen, self.seconds = 0, 0, 0, 0.0
        self.phase_start = 0.0  # seconds when the phase began
        self.early_timesteps: int | None = None  # once Early-Time has chosen them
        self._saved_at = time.monotonic()
        self._clock = time.monotonic()
        self._log = RunLog(self.directory)
        self._dense, self._start = dense, start
        self._teacher = None if teacher is None else teacher.to(self.device).eval()
        self._probed: NetworkProbe | None = None  # of the network as it is
        self._hardware = Hardware(measure if team.leads else None, recipe, data)
        self._unmeasured = ""  # why, as last logged
        self._kernels = ""  # as last logged
        self.phases = schedule.phases(recipe, self.method)
        self._say = say
        work = [self._work(phase) for phase in self.phases]
        self._progress = RunProgress(work, progress if team.leads else silent)
        weights = weight_masks.originals(self.model)
        fit.check_layers(recipe.method, {name: one.numel() for name, one in weights.items()})
        fit.check_data(recipe.method, recipe.dense.images, len(data.train))
        team.check_batches(recipe.optimizer.batch, ((p.name, p.config.images) for p in self.phases))

    # --- state -----------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self.directory / name

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if self.team.leads:
            checkpoint.write(self._path(name), content)

    def _weights(self) -> dict[str, Tensor]:
        """The model's state dict, to be kept; raises EvenspikeError where it is not finite."""
        weights: dict[str, Tensor] = self.model.state_dict()
        phase = self.phases[self.phase_index].name
        run_state.check_finite(weights, f"{phase}, step {self.step}")
        return weights

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now

    def save(self) -> None:
        """Replace the state file; what lies there stays where this raises EvenspikeError."""
        self._tick()
        self._write(
            run_state.FILE,
            {
                "model": self._weights(),
                "optimizer": self.optimizer.state_dict(),
                "carried": self.carried,
                "ema": self.ema,
                "phase_index": self.phase_index,
                "step": self.step,
                "images_seen": self.images_seen,
                "seconds": self.seconds,
                "phase_start": self.phase_start,
                "early_timesteps": self.early_timesteps,
                "search": self.method.state(),
                "log_bytes": self._log.length(),
            },
        )
        self._saved_at = time.monotonic()

    def resume(self) -> bool:
        """Go on from the directory's state, if there is one."""
        path = self._path(run_state.FILE)
        if not path.is_file():
            return False
        expected, network = self.model.state_dict(), self.recipe.network
        phases = len(self.phases)
        found = run_state.read(path, expected, self.carried, phases, network, self.device)
        self.model.load_state_dict(found["model"])
        run_state.load_optimizer(path, self.optimizer, found["optimizer"])
        try:
            self.method.load_state(found["search"], self.carried)
        except ValueError as error:
            raise EvenspikeError(f"{path}: search: {error}") from error
        for field in run_state.PLAIN:
            setattr(self, field, found[field])
        self._cut_log(found["log_bytes"])
        path = self._path(run_state.SNAPSHOT)
        if path.is_file():
            self.snapshot = checkpoint.read(path, {}, self.device)
            name = run_state.describe(network)
            checkpoint.check_tensors(str(path), self.snapshot, expected, name)
        elif self.phase_index or self.step > self._steps(self.recipe.method.snapshot):
            raise EvenspikeError(f"{path}: no such file, but the run is past where it takes one")
        self._clock = time.monotonic()
        return True

    def _cut_log(self, length: int) -> None:
        if self.team.leads:
            self._log.cut(length)

    def log(self, event: str, **figures: Any) -> None:
        self._tick()
        if not self.team.leads:
            return
        line = {
            "event": event,
            "phase": self.phases[min(self.phase_index, len(self.phases) - 1)].name,
            "images_seen": self.images_seen,
            "seconds": round(self.seconds, 3),
            **{k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()},
        }
        text = self._log.append(line)
        if self._say is not None and event != "progress":
            self._say(text)

    def _work(self, phase: Phase, images: int | None = None) -> int:
        """Units of work of so many of a phase's images, of all where no number is given."""
        steps = schedule.timesteps(phase, self.recipe, self.method, self.early_timesteps)
        return steps * min(phase.config.images, phase.config.images if images is None else images)

    def _show(self, phase: Phase, loss: float) -> None:
        batch, size = self.recipe.optimizer.batch, len(self.data.train)
        passed = min(self.step * batch, phase.config.images)
        epochs = passed / size, phase.config.images / size
        self._progress.step(phase.index, self._work(phase, passed), batch, epochs, loss)

    def _steps(self, images: int) -> int:
        """Steps in which so many images are passed; the last may be a smaller one."""
        return -(-images // self.recipe.optimizer.batch)

    # --- one step --------------------------------------------------------------

    def autocast(self) -> Any:
        enabled = self.recipe.compute.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _batch_indices(self, phase: Phase, position: int) -> Tensor:
        """Training images of the batch that starts `position` images into the phase."""
        size, batch = len(self.data.train), self.recipe.optimizer.batch
        wanted = min(batch, phase.config.images - position)
        parts = []
        while wanted > 0:
            epoch, offset = divmod(position, size)
            if getattr(self, "_order_key", None) != (phase.index, epoch):
                generator = generator_for(self.recipe.seed, _ORDER, phase.index, epoch)
                self._order = torch.randperm(size, generator=generator)
                self._order_key = (phase.index, epoch)
            part = self._order[offset : offset + wanted]
            parts.append(part)
            position += len(part)
            wanted -= len(part)
        return torch.cat(parts).to(self.device)

    def _train_step(self, phase: Phase, augment: Augmentation) -> float:
        config, batch = phase.config, self.recipe.optimizer.batch
        position = self.step * batch
        index = self._batch_indices(phase, position)
        generator = generator_for(self.recipe.seed, _AUGMENT, phase.index, self.step)
        mine = self.team.share(len(index))
        images = augment(self.data.train.images[index], generator)[mine]
        labels = self.data.train.labels[index][mine]
        rate = learning_rate(self.recipe.optimizer, config.lr, position / config.images)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.autocast():
            logits = self._forward(images)
        loss = loss_per_timestep(logits, labels, config.label_smoothing)
        if self._teacher is not None and phase.final:
            taught = distillation(logits, answers(self._teacher, images), self.recipe.teacher)
            loss = torch.lerp(loss, taught, self.recipe.teacher.weight)
        loss = loss * (len(labels) / len(index))  # so that the processes' sum is the mean
        loss.backward()
        mean_loss = self.team.sum_gradients(self.model, loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.images_seen += len(index)
        return mean_loss

    def _choose_forward(self) -> Callable[[Tensor], Tensor]:
        """The model itself, or the CPU kernels that skip pruned weights where they pay."""
        compute = self.recipe.compute
        if self.device.type != "cpu" or compute.precision != "bf16":
            return self.model
        from evenspike_train.runs import sparse_cpu  # noqa: PLC0415 - needs numba, and only here

        detached = self.recipe.network.neuron.detach_reset  # the kernels know nothing else
        if (
            not isinstance(self.model, networks.VGG16)  # theirs are 3x3 maps without shortcuts
            or twin.is_twin(self.model)
            or not detached
            or self.model.norm_parts > 1  # they normalise all timesteps together
            or sparse_cpu.work_share(self.model) >= compute.sparse_below
        ):
            return self.model
        return sparse_cpu.SparseForward(self.model)

    def _log_kernels(self) -> None:
        """Say what computes the convolutions, when it is not what computed them before."""
        if self._forward is self.model:
            kernels = "dense, torch"
            if self.device.type == "cpu" and not isinstance(self.model, networks.VGG16):
                kernels += f" ({self.model.config.name} has no sparse kernels)"
            elif self.device.type == "cpu" and self.model.norm_parts > 1:
                kernels += " (the sparse kernels have no batch norm per timestep)"
        else:
            from evenspike_train.kernels import sparse_kernels  # noqa: PLC0415 - as in _choose_forward

            images = self.model.timesteps * self.recipe.optimizer.batch
            kernels = f"sparse, {sparse_kernels.built_for(images)}"
        if kernels != self._kernels:
            self._kernels = kernels
            self.log("kernels", kernels=kernels)

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        """Running average of parameters and batch-norm statistics."""
        state = self.model.state_dict()
        if self.ema is None:
            self.ema = {k: v.clone() for k, v in state.items() if v.is_floating_point()}
            return
        # The first steps count for more, so that the start is forgotten quickly.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        names = list(self.ema)
        torch._foreach_lerp_([self.ema[n] for n in names], [state[n] for n in names], 1 - decay)

    # --- phases ----------------------------------------------------------------

    def _take_snapshot(self) -> None:
        self.snapshot = {k: v.clone() for k, v in self._weights().items()}
        self._write(run_state.SNAPSHOT, self.snapshot)

    def _take_dense_phase(self, directory: Path) -> None:
        """Begin behind the last step of another run's dense phase."""
        found = dense_phase.read(directory, self.recipe, self.model.state_dict(), self.device)
        self.model.load_state_dict(found.model)
        self.snapshot = found.snapshot
        self._write(run_state.SNAPSHOT, self.snapshot)
        self.images_seen, self.seconds = found.images_seen, found.seconds
        self.step = self._steps(self.recipe.dense.images)
        self.log("dense", taken_from=directory.name)

    def _begin_with(self, start: Start) -> None:
        """Take over the network that a fine-tuning begins with."""
        self.model.load_state_dict(start.model.state_dict())
        if start.rebuilt:
            order = torch.randperm(
                len(self.data.train), generator=generator_for(self.recipe.seed, _PROBE)
            )[:FIT_IMAGES]
            fit_norms(self.model, self.data.train.images[order.to(self.device)])
        self.carried = weight_masks.read(self.model)
        self.log("start", digest=start.digest, sparsity=start.sparsity)

    def _set_neurons(self, phase: Phase) -> None:
        """Spiking neurons with the phase's timesteps, or the twin's; and what computes them."""
        if self.method.on_twin and not phase.final:
            twin.to_relu(self.model)
        elif self.method.on_twin:
            twin.to_spiking(self.model, self.recipe.network.neuron)
        self.model.timesteps = schedule.timesteps(
            phase, self.recipe, self.method, self.early_timesteps
        )
        self._forward = self._choose_forward()
        self._log_kernels()

    def _probe(self) -> NetworkProbe:
        generator = generator_for(self.recipe.seed, _PROBE)
        order = torch.randperm(len(self.data.train), generator=generator).to(self.device)
        steps, within = self.recipe.network.timesteps, self._progress.within
        return NetworkProbe(self.model, steps, self.data.train, order, within)

    def _choose_timesteps(self, phase: Phase) -> None:
        """Early-Time: fewer timesteps for the rest of the search, if few images tell them."""
        method = self.recipe.method
        divergence = early_time.divergences(self._probe().logits(), method.early_time_logits)
        chosen = method.early_timesteps or early_time.choose(divergence, method.divergence)
        self.early_timesteps = self.team.follow_number(chosen)
        shares = [round(value / divergence[0], 5) if divergence[0] else 0.0 for value in divergence]
        self.log("early-time", timesteps=self.early_timesteps, divergence=shares)
        self._set_neurons(phase)
        self.model.train()

    def _epoch_ended(self) -> bool:
        """Return whether the last step was the last of an epoch."""
        batch, size = self.recipe.optimizer.batch, len(self.data.train)
        return self.step * batch // size > (self.step - 1) * batch // size

    def _due(self) -> bool:
        """Return whether a checkpoint is due: at the end of each epoch, and now and then."""
        waited = time.monotonic() - self._saved_at
        return self._epoch_ended() or waited > self.recipe.compute.checkpoint_seconds

    def _settled(self, phase: Phase) -> bool:
        """Return whether the search of the dense phase is over before its images are."""
        if phase.index or not self.method.watches_epochs or not self._epoch_ended():
            return False
        weights = weight_masks.originals(self.model)
        figures = self.method.after_epoch(weights, weight_masks.read(self.model))
        self.log("epoch", step=self.step, **figures)
        return bool(self.team.follow_number(int(figures["stop"])))

    def _validate_on_the_way(self, steps: int) -> None:
        """A line for each point of the final phase's curve, of which the last is its end."""
        compute = self.recipe.compute
        points, step = compute.final_validations, self.step
        if step * points // steps > (step - 1) * points // steps:
            validation = self.data.validation.first(compute.round_validation)
            figures = evaluate(self.model, validation, progress=self._progress.within)
            self.log("validation", step=step, of=steps, **figures)

    def _run_phase(self, phase: Phase) -> None:
        config = phase.config
        self.model.train()
        self._set_neurons(phase)
        base = self.recipe.augmentation
        augment = Augmentation(base.flip, base.shift, max(base.cutout, config.cutout))
        method, steps = self.recipe.method, self._steps(config.images)
        snapshot_step = self._steps(method.snapshot)
        probe_images = fit.early_time_images(method, len(self.data.train))
        probe_step = self._steps(probe_images) if method.early_time else -1
        losses: list[float] = []
        reported = time.monotonic()
        self._progress.begin(
            phase.index, phase.name, self._work(phase, self.step * self.recipe.optimizer.batch)
        )
        ended = False
        while True:
            # A search that ends before its snapshot is due rewinds to its end.
            if phase.index == 0 and (
                self.step == min(snapshot_step, steps) or (ended and not self.snapshot)
            ):
                self._take_snapshot()
            if phase.index == 0 and self.step == min(probe_step, steps):
                self._choose_timesteps(phase)
            if ended or self.step >= steps:
                break
            losses.append(self._train_step(phase, augment))
            if not math.isfinite(losses[-1]):
                raise EvenspikeError(
                    f"{phase.name}: the loss is {losses[-1]} at step {self.step}; "
                    "lower the learning rate"
                )
            if config.ema:
                self._average(config.ema)
            self._show(phase, losses[-1])
            ended = self._settled(phase)
            if phase.final:
                self._validate_on_the_way(steps)
            if not ended and self._due():
                self.save()
            if time.monotonic() - reported > 60:
                self.log("progress", step=self.step, of=steps, loss=sum(losses) / len(losses))
                losses, reported = [], time.monotonic()

    def _rewind(self, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
        """Weights to start the next round with, as the recipe says."""
        config = self.recipe.method
        if config.rewind == "weights":
            state = {k: v for k, v in self.snapshot.items() if not k.endswith(".mask")}
            self.model.load_state_dict(state, strict=False)
        for name, original in weight_masks.originals(self.model).items():
            recovered = after[name] & ~before[name]
            if config.recover == "zero":
                original.data[recovered] = 0.0
            elif config.recover == "snapshot":
                key = f"{name}.parametrizations.weight.original"
                original.data[recovered] = self.snapshot[key][recovered]
            # Pruned weights are left to the weight decay: they may be recovered as "kept".

    @torch.no_grad()
    def _update_masks(self, number: int) -> dict[str, float]:
        """Prune (and balance) after phase `number - 1`; restart the optimiser."""
        weights = weight_masks.originals(self.model)
        generator = generator_for(self.recipe.seed, _MASK, number)
        last = number == self.method.rounds
        before = weight_masks.read(self.model)
        probe = self._probed or self._probe()
        self._probed = None
        self._progress.within("new masks", 0, None)
        report = self.method.update(weights, before, self.carried, generator, last, probe)
        self.team.follow(report.masks, report.carried)
        weight_masks.check_living(report.masks, f"round {number}")
        weight_masks.write(self.model, report.masks)
        self.carried = report.carried
        self._rewind(before, report.masks)
        self.optimizer = make_optimizer(self.model, self.recipe.optimizer)
        pes = self.recipe.method.pes
        return {
            "round": number,
            "sparsity": weight_masks.sparsity(report.masks),
            "evenness": layer_mean_evenness(report.masks, pes),
            **report.figures,
        }

    def _hardware_figures(self, phase: Phase) -> dict[str, float]:
        """Return the cycle model's figures and how long they took; log once why there are none."""
        started, asked = time.monotonic(), MAPPINGS if phase.final else ("",)
        try:
            figures = self._hardware.figures(self.model, asked, self._progress.within)
        except EvenspikeError as error:
            if str(error) != self._unmeasured:
                self._unmeasured = str(error)
                self.log("unmeasured", reason=self._unmeasured)
            return {}
        if figures:
            figures["measure_seconds"] = round(time.monotonic() - started, 3)
        return figures

    def _report(self, phase: Phase, figures: dict[str, float]) -> None:
        """The line of a round: the ticket that was trained in it, and what it is worth."""
        measured = self._hardware_figures(phase)
        # The update of the masks that follows asks about the same network.
        probe = self._probed = None if twin.is_twin(self.model) else self._probe()
        counted = figures_of(weight_masks.read(self.model), self.recipe.method.pes, probe)
        self._tick()
        self.log(
            "trained",
            round=phase.index,
            timesteps=self.model.timesteps,
            **figures,
            **counted,
            **measured,
            round_seconds=round(self.seconds - self.phase_start, 3),
        )

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the figures of the finished ticket."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with run_state.alone(self.directory) if self.team.leads else nullcontext():
            return self._run()

    def _run(self) -> dict[str, Any]:
        resumed = self.resume()
        self.team.check_same(f"{self.directory}: phase and step", self.phase_index, self.step)
        if not resumed:
            self._cut_log(0)  # of a run that was killed before its first checkpoint
            if self.team.leads:
                files.write(self._path("recipe.toml"), self.recipe.text)
            reason = impossible(self.recipe) or self._impossible()
            if reason:
                self.log("notice", text=f"this run will give no Program: {reason}")
            if self._dense is not None:
                self._take_dense_phase(self._dense)
            if self._start is not None:
                self._begin_with(self._start)
        while self.phase_index < len(self.phases):
            phase = self.phases[self.phase_index]
            self._run_phase(phase)
            if phase.final:
                self.save()
                break
            if phase.config.images:
                validation = self.data.validation.first(self.recipe.compute.round_validation)
                figures = evaluate(
                    self.model,
                    validation,
                    autocast=self.autocast,
                    progress=self._progress.within,
                )
                self._report(phase, figures)
            if phase.name == "dense" and phase.config.images and not twin.is_twin(self.model):
                self._write(dense_phase.FILE, self.result())
            if self.method.rounds:
                started = time.monotonic()
                pruned = self._update_masks(phase.index + 1)
                self.log("pruned", **pruned, update_seconds=time.monotonic() - started)
            self.phase_index += 1
            self.step = 0
            self.phase_start = self.seconds
            self.ema = None  # an average of this phase's weights says nothing about the next's
            self.save()
        return self.finish()

    def _impossible(self) -> str:
        """Why a module of the user's has no integer form; empty where nothing speaks against it."""
        if not isinstance(self.model, OwnNetwork):
            return ""
        return unfollowable(self.model, self.data.train.images[:TRIED])

    # --- results ---------------------------------------------------------------

    def result(self) -> dict[str, Any]:
        """Return what an exporter needs: weights with masks, recipe and how they were made."""
        return {
            "model": {k: v.clone() for k, v in self._weights().items()},
            "recipe": self.recipe.text,
            "images_seen": self.images_seen,
            "seconds": self.seconds,
        }

    def finish(self) -> dict[str, Any]:
        """Choose plain or averaged weights by validation (in float32), write ``ticket.pt``."""
        self.model.timesteps = self.recipe.network.timesteps
        candidates = {"plain": {k: v.clone() for k, v in self.model.state_dict().items()}}
        if self.ema is not None:
            candidates["average"] = {**candidates["plain"], **self.ema}
        scores = {}
        for name, state in candidates.items():
            self.model.load_state_dict(state)
            scores[name] = evaluate(
                self.model,
                self.data.validation,
                progress=self._progress.within,
                what=f"validation, {name} weights",
            )
            self.log("validated", weights=name, **scores[name])
        best = max(scores, key=lambda name: scores[name]["accuracy"])
        self.model.load_state_dict(candidates[best])
        masks = weight_masks.read(self.model)
        self._report(self.phases[-1], scores[best])
        figures = {
            "weights": best,
            **{_KEPT[name]: figure for name, figure in scores[best].items() if name in _KEPT},
            "sparsity": weight_masks.sparsity(masks),
            "evenness": layer_mean_evenness(masks, self.recipe.method.pes),
            "images_seen": self.images_seen,
        }
        self._write("ticket.pt", {**self.result(), "figures": figures})
        self.log("finished", **figures)
        return figures
