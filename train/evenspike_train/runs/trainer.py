"""The training run: dense phase, rounds of pruning, final phase; resumable at any step.

What is random is drawn from generators keyed by (seed, phase, step or epoch), and the state file is
replaced atomically, so a run that is killed and resumed ends in the same weights as one that
was left alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from evenspike_core import files
from evenspike_core.data import DATA_SETS
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent
from evenspike_train import networks, tickets
from evenspike_train.data import Dataset, Stream, check_fits, generator_for
from evenspike_train.export.programs import impossible, unfollowable
from evenspike_train.networks import twin
from evenspike_train.networks.conversion import Conversion, evaluate_thresholds
from evenspike_train.networks.own import OwnNetwork
from evenspike_train.networks.shared_norm import share_statistics
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import dense_phase, hybrid, run_log, schedule
from evenspike_train.runs.distributed import ALONE, Team
from evenspike_train.runs.evaluation import evaluate
from evenspike_train.runs.export import read_history
from evenspike_train.runs.hardware import Measure
from evenspike_train.runs.lock import alone
from evenspike_train.runs.mask_update import update_masks
from evenspike_train.runs.optimizer import make_optimizer, momentum_of, of_phase
from evenspike_train.runs.probe import NetworkProbe
from evenspike_train.runs.reporter import Reporter
from evenspike_train.runs.run_state import RunState
from evenspike_train.runs.schedule import Phase
from evenspike_train.runs.start import FIT_IMAGES, Start, fit_norms, from_run
from evenspike_train.runs.training_step import TrainingStep
from evenspike_train.tickets import Place, early_time, fit
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.base import WeightMasks
from evenspike_train.tickets.u_ticket import layer_mean_evenness

TRIED = 2
"""Images on which a module of the user's is tried before it is trained."""

_KEPT = {"accuracy": "validation_accuracy", "firing_rate": "firing_rate"}
"""What the last validation measures and a ticket keeps, and its name there."""


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
        self.team, self.recipe, self.data, self.directory = team, recipe, data, Path(directory)
        self.device = data.train.images.device
        check_fits(data, DATA_SETS[recipe.data.name])
        self.method = tickets.build(recipe.method)
        self.phases = schedule.phases(recipe, self.method)
        self.model = self._make_model()
        self.state = RunState(
            self.directory, self.model, self._make_optimizer, self.method, self.phases, team
        )
        self.stepper = TrainingStep(recipe, data, self.state, team, teacher)
        self.reporter = Reporter(recipe, data, self.state, team, measure, progress, say)
        self._dense, self._start = dense, start
        self._probed: NetworkProbe | None = None  # of the network as it is
        weights = weight_masks.originals(self.model)
        sizes = {name: one.numel() for name, one in weights.items()}
        fit.check_layers(recipe.method, sizes)
        self.method.check_layers(sizes)
        fit.check_data(recipe.method, recipe.dense.images, len(data.train))
        self._check_method()
        team.check_batches(recipe.optimizer.batch, ((p.name, p.config.images) for p in self.phases))

    def _make_model(self) -> networks.SpikingNetwork:
        """The recipe's network as it is initialised, with masks."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        model = networks.build(recipe.network).to(self.device)
        if isinstance(model, OwnNetwork):
            model.check(self.data.train.images[:TRIED], schedule.tried(recipe))
        networks.channels_last(model)
        share_statistics(model, self.team.size)
        weight_masks.attach(model)
        return model

    def _make_optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        """A fresh optimiser of the network, as the phase has it."""
        return make_optimizer(self.model, of_phase(self.recipe.optimizer, phase.config))

    def _check_method(self) -> None:
        """Raise EvenspikeError for a network, or a companion, that the method has no use for."""
        few = self.data.train.images[:TRIED]
        self.method.check(self.model, few)
        dense = of_phase(self.recipe.optimizer, self.recipe.dense)
        if self.method.rewires and not dense.momentum:
            raise EvenspikeError(
                f"optimizer: momentum is 0, but {self.recipe.method.name} grows weights by it"
            )
        if self.method.companion:
            other = from_run(Path(self.method.companion))
            companion = other.model.to(self.device)
            if other.recipe.network.activation == "relu":
                twin.to_relu(companion)
            self.method.attend(companion, other.digest, self.model, few)

    # --- the run ---------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the figures of the finished ticket."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with alone(self.directory) if self.team.leads else nullcontext():
            return self._run()

    def _run(self) -> dict[str, Any]:
        state = self.state
        resumed = self.resume()
        self.team.check_same(f"{self.directory}: phase and step", state.phase_index, state.step)
        if not resumed:
            self._begin()
        while state.phase_index < len(self.phases):
            phase = self.phases[state.phase_index]
            self._run_phase(phase)
            if phase.final:
                self.save()
                break
            if phase.config.images:
                validation = self.data.validation.first(self.recipe.compute.round_validation)
                figures = evaluate(
                    self.model,
                    validation,
                    autocast=self.stepper.autocast,
                    progress=self.reporter.within,
                    kind=self.recipe.optimizer.loss,
                )
                self._report(phase, figures)
            if phase.name == "dense" and phase.config.images and not twin.is_twin(self.model):
                state.write(dense_phase.FILE, self.result())
            if self.method.rounds:
                started = time.monotonic()
                pruned = self._update_masks(phase.index + 1)
                self.reporter.log("pruned", **pruned, update_seconds=time.monotonic() - started)
            state.next_phase()
            self.save()
        return self.finish()

    def save(self) -> None:
        """Replace the state file; what lies there stays where this raises EvenspikeError."""
        self.state.save(self.reporter.log_bytes())

    def resume(self) -> bool:
        """Go on from the directory's state, if there is one."""
        length = self.state.resume(self.stepper.steps(self.recipe.method.snapshot))
        if length is not None:
            self.reporter.cut(length)
        return length is not None

    def _begin(self) -> None:
        """A run that is not there yet: its recipe, and what it begins with."""
        self.reporter.cut(0)  # of a run that was killed before its first checkpoint
        if self.team.leads:
            files.write(self.directory / "recipe.toml", self.recipe.text)
        reason = impossible(self.recipe)
        if not reason and isinstance(self.model, OwnNetwork):
            reason = unfollowable(self.model, self.data.train.images[:TRIED])
        if reason:
            self.reporter.log("notice", text=f"this run will give no Program: {reason}")
        generator = generator_for(self.recipe.seed, Stream.MASK, 0)
        with torch.no_grad():
            first = self.method.begin(weight_masks.originals(self.model), generator)
        if first is not None:
            self._write_masks(first)
        if self._dense is not None:
            self._take_dense_phase(self._dense)
        if self._start is not None:
            self._begin_with(self._start)

    def _write_masks(self, masks: WeightMasks) -> None:
        """Give the network these masks; what they leave out is 0 from now on."""
        self.team.follow(masks)
        weight_masks.write(self.model, masks)
        weight_masks.zero_dead(self.model)
        self.state.carried = weight_masks.read(self.model)

    def _take_dense_phase(self, directory: Path) -> None:
        """Begin behind the last step of another run's dense phase."""
        state = self.state
        found = dense_phase.read(directory, self.recipe, self.model.state_dict(), self.device)
        self.model.load_state_dict(found.model)
        state.keep_snapshot(found.snapshot)
        state.images_seen, state.seconds = found.images_seen, found.seconds
        state.step = self.stepper.steps(self.recipe.dense.images)
        self.reporter.log("dense", taken_from=directory.name)

    def _begin_with(self, start: Start) -> None:
        """Take over the network that a fine-tuning begins with."""
        self.model.load_state_dict(start.model.state_dict())
        if start.rebuilt:
            fit_norms(self.model, self.data.train.images[self._drawn()[:FIT_IMAGES]])
        self.team.follow(self.model.state_dict())  # what each has fitted agrees to rounding
        self.state.carried = weight_masks.read(self.model)
        self.reporter.log("start", digest=start.digest, sparsity=start.sparsity)

    # --- a phase ---------------------------------------------------------------

    def _run_phase(self, phase: Phase) -> None:
        state, method = self.state, self.recipe.method
        self.model.train()
        self._prepare(phase)
        if phase.final and state.step == 0 and self.method.conversion is not None:
            self._convert(self.method.conversion)
        steps = self.stepper.steps(phase.config.images)
        snapshot_step = self.stepper.steps(method.snapshot)
        probe_images = fit.early_time_images(method, len(self.data.train))
        probe_step = self.stepper.steps(probe_images) if method.early_time else -1
        self.reporter.begin(phase)
        ended = False
        while True:
            # A search that ends before its snapshot is due rewinds to its end.
            if phase.index == 0 and (
                state.step == min(snapshot_step, steps) or (ended and not state.snapshot)
            ):
                state.take_snapshot()
            if phase.index == 0 and state.step == min(probe_step, steps):
                self._choose_timesteps(phase)
            if ended or state.step >= steps:
                break
            ended = self._step(phase, steps)

    def _step(self, phase: Phase, steps: int) -> bool:
        """One step, and what is due behind it; returns whether the phase ends before its images."""
        loss = self.stepper.train(phase)
        if not math.isfinite(loss):
            raise EvenspikeError(
                f"{phase.name}: the loss is {loss} at step {self.state.step}; "
                "lower the learning rate"
            )
        if phase.config.ema:
            self.state.average(phase.config.ema)
        at = Place(phase.index, self.state.step, steps, self._epoch_ended())
        figures = self.method.progressed(self.model, at)
        if figures:
            self.reporter.log("updated", step=self.state.step, **figures)
        ended = self._settled(phase)
        if phase.final:
            self._validate_on_the_way(steps)
        if not ended and self._due():
            self.save()
        self.reporter.step(phase, loss, steps)
        return ended

    def _prepare(self, phase: Phase) -> None:
        """Have the network computed as the phase wants it."""
        self.reporter.log_change("kernels", kernels=self.stepper.prepare(phase))

    def _convert(self, how: Conversion) -> None:
        """Thresholds for the spiking network that the twin has become, and what that is worth."""
        steps = self.model.timesteps
        self.model.timesteps = self.recipe.network.timesteps
        images = self.data.train.images[self._drawn()[: how.images]]
        thresholds = evaluate_thresholds(self.model, images, how)
        self.team.follow(self.model.state_dict())
        figures = evaluate(
            self.model,
            self.data.validation,
            progress=self.reporter.within,
            what="validation, converted",
        )
        self.model.timesteps = steps
        rounded = {name: round(one, 6) for name, one in thresholds.items()}
        self.reporter.log(
            "converted", timesteps=self.recipe.network.timesteps, thresholds=rounded, **figures
        )

    def _choose_timesteps(self, phase: Phase) -> None:
        """Early-Time: fewer timesteps for the rest of the search, if few images tell them."""
        method = self.recipe.method
        divergence = early_time.divergences(self._probe().logits(), method.early_time_logits)
        chosen = method.early_timesteps or early_time.choose(divergence, method.divergence)
        self.state.early_timesteps = self.team.follow_number(chosen)
        shares = [round(value / divergence[0], 5) if divergence[0] else 0.0 for value in divergence]
        self.reporter.log("early-time", timesteps=self.state.early_timesteps, divergence=shares)
        self._prepare(phase)
        self.model.train()

    def _epoch_ended(self) -> bool:
        """Return whether the last step was the last of an epoch."""
        batch, size, step = self.recipe.optimizer.batch, len(self.data.train), self.state.step
        return step * batch // size > (step - 1) * batch // size

    def _due(self) -> bool:
        """Return whether a checkpoint is due: at the end of an epoch, if asked for, and by time."""
        compute = self.recipe.compute
        if compute.checkpoint_epochs and self._epoch_ended():
            return True
        return self.state.unsaved() > compute.checkpoint_seconds

    def _settled(self, phase: Phase) -> bool:
        """Return whether the search of the dense phase is over before its images are."""
        if phase.index or not self.method.watches_epochs or not self._epoch_ended():
            return False
        weights = weight_masks.originals(self.model)
        if self.method.rewires:
            self._rewire(phase, weights)
            return False
        figures = self.method.after_epoch(weights, weight_masks.read(self.model))
        self.reporter.log("epoch", step=self.state.step, **figures)
        return bool(self.team.follow_number(int(figures.get("stop", False))))

    def _rewire(self, phase: Phase, weights: dict[str, torch.Tensor]) -> None:
        """Move weights behind an epoch, to where the momentum is."""
        progress = self.state.step / self.stepper.steps(phase.config.images)
        momentum = momentum_of(self.state.optimizer, weights)
        masks, figures = self.method.rewire(
            weights, weight_masks.read(self.model), momentum, progress
        )
        weight_masks.check_living(masks, f"step {self.state.step}")
        self._write_masks(masks)
        self.reporter.log("epoch", step=self.state.step, **figures)

    def _validate_on_the_way(self, steps: int) -> None:
        """A line for each point of the final phase's curve, of which the last is its end."""
        compute = self.recipe.compute
        points, step = compute.final_validations, self.state.step
        if step * points // steps > (step - 1) * points // steps:
            validation = self.data.validation.first(compute.round_validation)
            figures = evaluate(
                self.model,
                validation,
                progress=self.reporter.within,
                kind=self.recipe.optimizer.loss,
            )
            self.reporter.log("validation", step=step, of=steps, **figures)

    def _update_masks(self, number: int) -> dict[str, float]:
        """Prune after phase `number - 1`; returns figures for the log."""
        probe = self._probed or self._probe()
        self._probed = None
        self.reporter.within("new masks", 0, None)
        return update_masks(self.recipe, self.state, self.team, number, probe)

    def _report(self, phase: Phase, figures: dict[str, float]) -> None:
        """The line of a round; the update of the masks that follows asks about the same network."""
        self._probed = None if twin.is_twin(self.model) else self._probe()
        self.reporter.trained(phase, figures, self._probed)

    def _probe(self) -> NetworkProbe:
        steps, within = self.recipe.network.timesteps, self.reporter.within
        kind = self.recipe.optimizer.loss
        return NetworkProbe(self.model, steps, self.data.train, self._drawn(), within, kind)

    def _drawn(self) -> torch.Tensor:
        """The training images in the order in which they are measured."""
        generator = generator_for(self.recipe.seed, Stream.PROBE)
        return torch.randperm(len(self.data.train), generator=generator).to(self.device)

    # --- results ---------------------------------------------------------------

    def result(self) -> dict[str, Any]:
        """Return what an exporter needs: weights with masks, recipe and how they were made."""
        return {
            "model": {k: v.clone() for k, v in self.state.weights().items()},
            "recipe": self.recipe.text,
            "images_seen": self.state.images_seen,
            "seconds": self.state.seconds,
        }

    def _dense_rate(self) -> float:
        """Firing rate of the dense network, by the log; 0 where it has not been measured."""
        lines = read_history(self.directory / run_log.FILE, ("trained",))
        dense = [line for line in lines if line["round"] == 0 and "firing_rate" in line]
        return float(dense[-1]["firing_rate"]) if dense else 0.0

    def finish(self) -> dict[str, Any]:
        """Choose plain or averaged weights by validation (in float32), write ``ticket.pt``."""
        self.model.timesteps = self.recipe.network.timesteps
        weights, masks = weight_masks.originals(self.model), weight_masks.read(self.model)
        weight_masks.write(self.model, self.method.finish(weights, masks))
        candidates = {"plain": {k: v.clone() for k, v in self.model.state_dict().items()}}
        if self.state.ema is not None:
            candidates["average"] = {**candidates["plain"], **self.state.ema}
        scores = {}
        for name, weights in candidates.items():
            self.model.load_state_dict(weights)
            scores[name] = evaluate(
                self.model,
                self.data.validation,
                progress=self.reporter.within,
                what=f"validation, {name} weights",
                kind=self.recipe.optimizer.loss,
            )
            self.reporter.log("validated", weights=name, **scores[name])
        best = max(scores, key=lambda name: scores[name]["accuracy"])
        self.model.load_state_dict(candidates[best])
        masks = weight_masks.read(self.model)
        self._report(self.phases[-1], scores[best])
        figures = {
            "weights": best,
            **{_KEPT[name]: figure for name, figure in scores[best].items() if name in _KEPT},
            "sparsity": weight_masks.sparsity(masks),
            "evenness": layer_mean_evenness(masks, self.recipe.method.pes),
            "images_seen": self.state.images_seen,
            **hybrid.figures(self.model, self.data.validation, self.reporter.within),
        }
        rate = scores[best].get("firing_rate", 0.0)
        figures["r_mem"] = self.method.memory(masks)
        figures |= self.method.residual(masks, rate, self._dense_rate())
        self.state.write("ticket.pt", {**self.result(), "figures": figures})
        self.reporter.log("finished", **figures)
        return figures
