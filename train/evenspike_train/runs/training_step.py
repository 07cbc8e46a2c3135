"""Training step: a batch through the network and back, and what computes it.

All randomness is drawn from generators keyed by (seed, phase, step or epoch), so that a run that
goes on in the middle draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evenspike_train import networks
from evenspike_train.data import Augmentation, Dataset, Stream, generator_for
from evenspike_train.networks import bernoulli, twin
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import schedule
from evenspike_train.runs.distillation import answers, distillation
from evenspike_train.runs.distributed import Team
from evenspike_train.runs.optimizer import learning_rate, loss_of, mean_rate, of_phase
from evenspike_train.runs.run_state import RunState
from evenspike_train.runs.schedule import Phase
from evenspike_train.tickets import masks as weight_masks


class TrainingStep:
    """Trains the network of a `RunState`, a batch at a time."""

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        state: RunState,
        team: Team,
        teacher: networks.SpikingNetwork | None = None,
    ) -> None:
        self.recipe, self.data, self.state, self.team = recipe, data, state, team
        self.device = data.train.images.device
        self._teacher = None if teacher is None else teacher.to(self.device).eval()
        self._forward: Callable[[Tensor], Tensor] = state.model
        self._augment = recipe.augmentation
        self._order_key: tuple[int, int] | None = None

    def steps(self, images: int) -> int:
        """Steps in which so many images are passed; the last may be a smaller one."""
        return -(-images // self.recipe.optimizer.batch)

    def autocast(self) -> Any:
        """The precision that the recipe computes in."""
        enabled = self.recipe.compute.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def prepare(self, phase: Phase) -> str:
        """Neurons, timesteps and augmentation of a phase; returns what computes the convolutions.

        To be called again when the masks or the number of timesteps have changed.
        """
        state, method = self.state, self.state.method
        if method.on_twin and not phase.final:
            twin.to_relu(state.model)
        elif method.on_twin:
            twin.to_spiking(state.model, self.recipe.network.neuron)
        weight_masks.pass_gradients(state.model, method.dense_gradients and not phase.final)
        state.model.timesteps = schedule.timesteps(
            phase, self.recipe, method, state.early_timesteps
        )
        base = self.recipe.augmentation
        cutout = max(base.cutout, phase.config.cutout)
        self._augment = Augmentation(base.flip, base.shift, cutout)
        self._forward = self._choose_forward(phase)
        return self._kernels()

    def train(self, phase: Phase) -> float:
        """One step; returns its mean loss over all processes."""
        state, config, batch = self.state, phase.config, self.recipe.optimizer.batch
        position = state.step * batch
        index = self._batch_indices(phase, position)
        generator = generator_for(self.recipe.seed, Stream.AUGMENT, phase.index, state.step)
        mine = self.team.share(len(index))
        whole = self._augment(self.data.train.images[index], generator)
        images, seen = whole[mine], self._entering(whole, phase)[mine]
        labels = self.data.train.labels[index][mine]
        schedule_of = of_phase(self.recipe.optimizer, config)
        rate = learning_rate(schedule_of, config.lr, position / config.images)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        if self.recipe.network.dropout or self.recipe.network.conv_dropout:
            key = (self.recipe.seed, Stream.DROPOUT, phase.index, state.step, self.team.rank)
            seed = generator_for(*key).initial_seed()
            state.model.generator = torch.Generator(self.device).manual_seed(seed)
        spikes: list[Tensor] = []
        state.method.before_step(state.model, images)
        with self.autocast():
            if self._records(phase):
                logits = state.model(seen, record=spikes)
            else:
                logits = self._forward(seen)
        loss = loss_of(self.recipe.optimizer.loss, logits, labels, config.label_smoothing)
        if config.activity:
            loss = loss + config.activity * mean_rate(spikes)
        if self._teacher is not None and phase.final:
            taught = distillation(logits, answers(self._teacher, images), self.recipe.teacher)
            loss = torch.lerp(loss, taught, self.recipe.teacher.weight)
        term = state.method.loss_term(state.model, spikes)
        loss = loss if term is None else loss + term
        loss = loss * (len(labels) / len(index))  # so that the processes' sum is the mean
        loss.backward()
        mean_loss = self.team.sum_gradients(state.model, loss)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            state.method.after_step(state.model)
        state.step += 1
        state.images_seen += len(index)
        return mean_loss

    def _records(self, phase: Phase) -> bool:
        """Whether a step looks at the spikes of the layers."""
        return self.state.method.reads_spikes or phase.config.activity > 0

    def _entering(self, images: Tensor, phase: Phase) -> Tensor:
        """What the network is given: the images, or spikes that are drawn of them for this step."""
        if self.recipe.network.input != "bernoulli" or twin.is_twin(self.state.model):
            return images
        key = (self.recipe.seed, Stream.INPUT, phase.index, self.state.step)
        return bernoulli.drawn(images, self.state.model.timesteps, generator_for(*key))

    def _batch_indices(self, phase: Phase, position: int) -> Tensor:
        """Training images of the batch that starts `position` images into the phase."""
        size, batch = len(self.data.train), self.recipe.optimizer.batch
        wanted = min(batch, phase.config.images - position)
        parts = []
        while wanted > 0:
            epoch, offset = divmod(position, size)
            if self._order_key != (phase.index, epoch):
                generator = generator_for(self.recipe.seed, Stream.ORDER, phase.index, epoch)
                self._order = torch.randperm(size, generator=generator)
                self._order_key = (phase.index, epoch)
            part = self._order[offset : offset + wanted]
            parts.append(part)
            position += len(part)
            wanted -= len(part)
        return torch.cat(parts).to(self.device)

    def _choose_forward(self, phase: Phase) -> Callable[[Tensor], Tensor]:
        """The model itself, or the CPU kernels that skip pruned weights where they pay."""
        model, compute = self.state.model, self.recipe.compute
        if self.device.type != "cpu" or compute.precision == "fp32":
            return model
        # need numba, and only here
        from evenspike_train.runs import sparse_cpu, sparse_networks  # noqa: PLC0415

        if (
            sparse_networks.missing(model)
            or self._records(phase)  # they record none
            or sparse_cpu.work_share(model) >= compute.sparse_below
        ):
            return model
        return sparse_networks.sparse_forward(model)

    def _kernels(self) -> str:
        """What computes the convolutions, in words."""
        model = self.state.model
        if self._forward is not model:
            from evenspike_train.kernels import sparse_kernels  # noqa: PLC0415 - needs numba

            images = model.timesteps * self.recipe.optimizer.batch
            return f"sparse, {sparse_kernels.built_for(images)}"
        why = ""
        if self.device.type == "cpu" and self.recipe.compute.precision != "fp32":
            from evenspike_train.runs import sparse_networks  # noqa: PLC0415 - needs numba

            why = sparse_networks.missing(model)
        return f"dense, torch ({why})" if why else "dense, torch"
