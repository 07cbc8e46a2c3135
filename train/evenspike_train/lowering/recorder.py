"""Recorder: a network run once on an example, and what happened on the way.

The forward pass is run as it is, on tensors with numbers, so loops over time, shapes and containers
need no special treatment. Every torch function that touches a tensor of known content says what
comes out (`functions`), every module in the registry is a layer of neurons. What depends on the
numbers of an activation (`numbers`) or on chance (`draws`) would be followed silently for this
example alone; it is refused. What is written in place through a view is not known of the tensors
that share its memory (`edits`).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn.modules import module as torch_modules
from torch.overrides import TorchFunctionMode

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering import edits, functions, numbers, registry
from evenspike_train.lowering.axes import Dims, canonical, expected, flat
from evenspike_train.lowering.draws import Draws, own
from evenspike_train.lowering.forms import Form, Impossible, Pooled, Source, identity
from evenspike_train.lowering.neurons import NeuronModel
from evenspike_train.lowering.trees import tensors
from evenspike_train.lowering.values import Broken, Content, Membrane, Neurons, Value

_LIBRARIES = ("torch", "spikingjelly", "snntorch", "sinabs", "norse")


def user_line() -> str:
    """File and line of the code that is running, outside of torch and this package."""
    here = Path(__file__).parent
    frame = sys._getframe(1)  # noqa: SLF001 - a stack of names and lines costs a second
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        library = any(f"site-packages/{name}/" in path.as_posix() for name in _LIBRARIES)
        if path.parent == here and frame.f_code.co_name == "_passes":
            return ""  # what comes now has called the network, not made it
        if not library and here not in path.parents and not path.name.startswith("<"):
            return f"{path.name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


class Recorder(TorchFunctionMode):
    """Follows the tensors of one network through one or several forward passes."""

    def __init__(self, module: nn.Module, timesteps: int | None) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.layers: list[Neurons] = []
        self._names = {id(one): name for name, one in module.named_modules()}
        self._root = type(module).__name__
        self._modules = [module]
        self._inside = 0  # of how many modules of neurons
        self._busy = False
        self._written: dict[int, tuple[Tensor, dict[int, Value]]] = {}
        self._pools: dict[int, Source] = {}
        self._values: dict[int, tuple[Tensor, Value, int]] = {}
        self._edits = edits.Edits()
        self._draws = Draws()
        self.refusal: EvenspikeError | None = None
        self.lines: dict[str, dict[str, None]] = {}
        self._contents: dict[Any, Content] = {}
        self._kept: list[Any] = []
        self._models: dict[int, NeuronModel] = {}
        self._layers: dict[int, Neurons] = {}
        self._calls: dict[int, int] = {}
        held = [*module.parameters(), *module.buffers()]
        self._held = {id(one) for one in held}

    # ---- tensors and what they hold -----------------------------------------------------------

    def __getitem__(self, tensor: Tensor) -> Value | None:
        found = self._values.get(id(tensor))
        count = self._edits.count(tensor)
        if found is None:
            return self._edited(tensor, "a tensor of which a part was written") if count else None
        _, value, known = found
        if count != known and not isinstance(value.content, Broken):
            value = self[tensor] = self._edited(
                tensor, "it was changed in place through another view"
            )
        return value

    def _edited(self, tensor: Tensor, what: str) -> Value:
        line = self._edits.line(tensor)
        return Value(Broken(f"{self.where}: {what}{line}"), ())

    def __setitem__(self, tensor: Tensor, value: Value) -> None:
        self._values[id(tensor)] = tensor, value, self._edits.count(tensor)

    def known(self, tree: Any) -> list[Value]:
        """Values of the tensors in nested arguments."""
        values = [self[one] for one in tensors(tree)]
        return [value for value in values if value is not None]

    def pooled_form(self, form: Form) -> Pooled:
        """The 2x2 max-pool of currents."""
        found = self.content(("max", form), lambda: Pooled(form))
        if not isinstance(found, Pooled):
            raise Impossible("a max-pool of something else")
        return found

    def steps_of(self, target: Tensor) -> dict[int, Value]:
        """What has been written into a tensor, entry by entry."""
        return self._written.setdefault(id(target), (target, {}))[1]

    @property
    def path(self) -> str:
        """Path of the innermost module that is running."""
        return self._names.get(id(self._modules[-1]), "") or self._root

    def _here(self) -> None:
        self.lines.setdefault(self.path, {})[user_line()] = None

    def line(self, path: str) -> str:
        """Where the code applies a module's kernels or neurons, as ` (FILE:LINE)`; else empty."""
        found = " or ".join(line for line in self.lines.get(path, ()) if line)
        return f" ({found})" if found else ""

    @property
    def where(self) -> str:
        """The innermost module that is running, for a message: its path and its class."""
        kind = type(self._modules[-1]).__name__
        return kind if self.path == kind else f"{self.path} ({kind})"

    @property
    def module(self) -> nn.Module:
        """The innermost module that is running."""
        return self._modules[-1]

    def broken(self, reason: str, dims: Dims = ()) -> Value:
        line = user_line()
        return Value(Broken(f"{self.where}: {reason}" + (f" ({line})" if line else "")), dims)

    def pooled(self, source: Source) -> Source:
        """The 2x2 max-pool of a source; what is over of an odd map is left out."""
        if id(source) not in self._pools:
            channels, height, width = source.shape
            shape = channels, height // 2, width // 2
            self._pools[id(source)] = Source(source.name, shape, source.changes, source)
        return self._pools[id(source)]

    def time(self, steps: int) -> None:
        """There is an axis of this many timesteps; raises `Impossible` where there was another."""
        if self.timesteps is not None and self.timesteps != steps:
            raise Impossible(f"{steps} timesteps here, {self.timesteps} elsewhere")
        self.timesteps = steps

    def content(self, key: Sequence[Any], make: Callable[[], Content]) -> Content:
        """What an operation makes: one object for all timesteps at which it is the same one.

        key: of the operation; contents and tensors in it are told apart by what they are.
        """
        wanted = self.path, *(self._key(part) for part in key)
        if wanted not in self._contents:
            self._contents[wanted] = make()
            self._kept.append(key)
        return self._contents[wanted]

    def _key(self, part: Any) -> Any:
        if isinstance(part, (list, tuple)):
            return tuple(self._key(one) for one in part)
        if isinstance(part, Tensor):
            if id(part) in self._held:
                return id(part)
            # Computed on the way, as a masked weight is: the same numbers are the same tensor.
            data = part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            return part.dtype, tuple(part.shape), hashlib.sha256(data.tobytes()).digest()
        if isinstance(part, (Form, Pooled, Membrane, Broken, Source)):
            return id(part)
        return part

    # ---- functions ----------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._inside or self._busy:
            return func(*args, **kwargs)
        name = functions.name_of(func)
        held = list(tensors((args, kwargs)))
        given = self.known(held)
        before, seed = (edits.versions(held) if given else []), own(kwargs)
        followed = args
        if given and args and functions.in_place(func) and self._constant(args[0]):
            followed = (args[0].clone(), *args[1:])  # as it was before
        result = func(*args, **kwargs)
        drawn = self._draws.drawn() or own(kwargs) != seed
        if drawn and not any(isinstance(one, nn.Parameter) for one in held):  # a lazy layer's
            self._chance(name)
        if not given:
            return result
        if numbers.read(func, name, args, kwargs, result):
            self._numbers(name)
        outputs = list(tensors(result))
        if name == "__setitem__":
            found = functions.written(self, *args)
        else:
            found = functions.follow(self, name, followed, kwargs, given, result) if outputs else []
        for one in edits.changed(name, held, before, result):
            self._edits.note(one, user_line())
        for tensor, value in found:
            self[tensor] = value
        if any(self._is_broken(one) for one in outputs) and numbers.sized(
            func, args, kwargs, outputs
        ):
            self._numbers(name)
        if name in functions.KERNELS:
            self.lines.setdefault(self.path, {})[user_line()] = None
        return result

    def _is_broken(self, tensor: Tensor) -> bool:
        value = self[tensor]
        return value is not None and isinstance(value.content, Broken)

    def _constant(self, given: Any) -> bool:
        return isinstance(given, Tensor) and self[given] is None

    def held(self, tensor: Tensor) -> bool:
        """Whether anything is known of this very tensor."""
        return id(tensor) in self._values

    def _numbers(self, name: str) -> NoReturn:
        self._refuse(
            registry.refusal(self.module)
            or f"forward takes the numbers of an activation ({name.strip('_')}) at {user_line()}; "
            "what it does must not depend on them"
        )

    def _chance(self, name: str) -> NoReturn:
        self._refuse(
            registry.refusal(self.module)
            or f"forward draws random numbers ({name.strip('_')}) at {user_line()}; what it does "
            'must be the same each time. Spikes are drawn by the encoder: ask for encoder="rate"'
        )

    def _refuse(self, reason: str) -> NoReturn:
        """Refuse the network, even if its forward pass catches the error."""
        self.refusal = self.refusal or EvenspikeError(f"{self.where}: {reason}")
        raise self.refusal

    # ---- modules ------------------------------------------------------------------------------

    def _enter(self, module: nn.Module, _: Any) -> None:
        self._modules.append(module)
        handler = registry.find(module)
        if handler is None:
            return
        if not self._inside and id(module) not in self._models:
            self._busy = True
            model = handler.describe(module, self.where)
            model.check(self.where)
            self._models[id(module)] = model
            self._busy = False
        self._inside += 1

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        self._busy = True
        try:
            handler = registry.find(module)
            if handler is not None:
                self._inside -= 1
                self._draws.forget()
                if not self._inside:
                    self._fire(module, handler, args, kwargs, result)
                return
            if self._inside:
                return
            self._judge(module, self.known((args, kwargs)), list(tensors(result)))
        finally:
            self._modules.pop()
            self._busy = False

    def _judge(self, module: nn.Module, given: list[Value], results: list[Tensor]) -> None:
        """Another module has run: where what it gives is not known, say why."""
        if not given or any(isinstance(value.content, Broken) for value in given):
            return
        found = [self[one] for one in results]
        if found and all(value is None for value in found):
            reason = registry.refusal(module) or (
                f"what {type(module).__name__} gives is computed where it cannot be followed; if "
                "it is a layer of neurons, register it (evenspike_train.lowering.register)"
            )
        elif any(value is not None and isinstance(value.content, Broken) for value in found):
            reason = registry.refusal(module)
        else:
            return
        if reason:
            for one in results:
                self[one] = self.broken(reason)

    def _fire(
        self, module: nn.Module, handler: registry.Handler, args: Any, kwargs: Any, result: Any
    ) -> None:
        """A layer of neurons has run."""
        outputs = list(tensors(result))
        inputs = list(tensors((args, kwargs)))
        value = self[inputs[0]] if inputs else None
        if value is None:
            return
        try:
            found = self._neurons(module, handler, inputs, value)
        except Impossible as error:
            for one in outputs:
                self[one] = self.broken(str(error))
            return
        neurons, at = found
        if neurons is None:
            for one in outputs:
                self[one] = value
            return
        spikes = outputs[0]
        dims = value.dims
        if len(value.dims) != spikes.dim() or spikes.shape != inputs[0].shape:
            self[spikes] = self.broken("spikes of another shape than the drive")
            return
        shape = neurons.drive.shape
        neurons.spikes[at] = canonical(spikes, dims, shape).numpy().copy()  # it may be written to
        neurons.drives[at] = canonical(inputs[0], dims, shape).numpy().copy()
        when = None if at < 0 else at
        content = self.content(("spikes", neurons.source), lambda: identity(neurons.source))
        self[spikes] = Value(content, dims, when)
        last = at if at >= 0 else (self.timesteps or 1) - 1
        rest = dims[1:] if at < 0 else dims
        for membrane in outputs[1:]:
            self._membrane(membrane, neurons, handler.membrane, module, last, rest)
        kept = handler.membrane(module) if handler.membrane else None
        if kept is not None and self[kept] is None:
            self[kept] = Value(Membrane(neurons, last), rest, last)

    def _membrane(
        self, tensor: Tensor, neurons: Neurons, read: Any, module: Any, at: int, dims: Dims
    ) -> None:
        value = Value(Membrane(neurons, at), dims, at)
        if read is None or read(module) is None:
            # It may go back into the neuron, but says something else than the machine's.
            value = Value(Membrane(neurons, at), dims, at, final=True)
        self[tensor] = value

    def _neurons(
        self, module: nn.Module, handler: registry.Handler, inputs: list[Tensor], value: Value
    ) -> tuple[Neurons | None, int]:
        """The layer that a call belongs to, and the timestep (-1: all of them)."""
        content, call = value.content, self._calls.get(id(module), 0)
        self._calls[id(module)] = call + 1
        if isinstance(content, Broken):
            return None, 0
        if isinstance(content, Membrane) or isinstance(value.when, frozenset):
            raise Impossible("neurons get something else than currents of one timestep")
        name = type(module).__name__
        every = handler.steps(module)
        names = flat(value.dims)
        if names not in self._layouts(content.shape):
            raise Impossible(
                f"{name} gets a tensor whose dimensions are not timesteps, examples, channels, "
                f"rows and columns in this order, but {names}"
            )
        if every:
            steps = inputs[0].shape[0]
            if "T" not in flat(value.dims[:1]) and (steps > 1 or self.timesteps not in (None, 1)):
                raise Impossible(
                    f"{name} takes all timesteps at once, [T, B, ...], and gets a tensor without "
                    'an axis of them; give it one, or set step_mode="s"'
                )
            if flat(value.dims[:1]) not in ("T", ""):
                raise Impossible(
                    f"{name} takes all timesteps at once, [T, B, ...], and gets them folded into "
                    "the batch"
                )
            self.time(steps)
            if call:
                raise Impossible(f"{name} runs twice; each layer of neurons needs a module")
            at = -1
        else:
            if "T" in names:
                raise Impossible(
                    f"{name} takes one timestep a call, and gets a tensor with an axis of them"
                )
            if value.when not in (None, call):
                raise Impossible(
                    f"{name} gets timestep {value.when} in its call number {call}; each call is a "
                    "timestep, and each layer of neurons needs a module"
                )
            self._state(module, inputs[1:], call)
            at = call
        if id(module) not in self._layers:
            source = Source(self.path, content.shape)
            self._here()
            model = self._models[id(module)]
            self._layers[id(module)] = Neurons(self.path, content, model, source)
            self.layers.append(self._layers[id(module)])
        neurons = self._layers[id(module)]
        if neurons.drive is not content:
            raise Impossible(
                f"{name} gets something else in timestep {call} than before: recurrence, or a "
                "module that serves two layers; each layer of neurons needs a module of its own"
            )
        return neurons, at

    @staticmethod
    def _layouts(shape: tuple[int, int, int]) -> set[str]:
        base = expected(shape, "CHW")
        return {lead + base for lead in ("", "B", "TB", "T")}

    def _state(self, module: nn.Module, states: list[Tensor], call: int) -> None:
        """Check the membrane that the caller of a neuron hands back."""
        for state in states:
            value = self[state]
            if value is None:
                if bool((state != 0).any()):
                    raise Impossible("a membrane that does not start at 0")
                if call:
                    raise Impossible(f"its membrane starts anew in timestep {call}")
                continue
            content = value.content
            layer = self._layers.get(id(module))
            if not isinstance(content, Membrane) or content.neurons is not layer:
                raise Impossible("a membrane that is not its own of the timestep before")
            if content.at != call - 1:
                raise Impossible(f"its membrane of timestep {content.at} in timestep {call}")

    def settle(self) -> None:
        """Take the number of timesteps from that of the neurons' calls, if nothing else says it."""
        counts = {self._calls[key] for key in self._layers}
        if self.timesteps is None and len(counts) == 1 and max(counts) > 1:
            self.timesteps = counts.pop()

    @property
    def single_steps(self) -> bool:
        """Whether neurons that take one timestep a call have run, each of them once."""
        once = [self._calls[key] == 1 for key in self._layers]
        return bool(once) and all(once) and all(-1 not in one.spikes for one in self.layers)

    # ---- the pass -----------------------------------------------------------------------------

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow what runs in this context."""
        before = Function.__dict__["apply"]

        def apply(kind: Any, *args: Any, **kwargs: Any) -> Any:
            result = before.__get__(None, kind)(*args, **kwargs)
            if not self._inside and self.known((args, kwargs)):
                for one in tensors(result):
                    self[one] = self.broken(
                        f"{kind.__name__} is a function with a derivative of its own; if a layer "
                        "of neurons does so, register it (evenspike_train.lowering.register)"
                    )
            return result

        with ExitStack() as stack:
            enter = torch_modules.register_module_forward_pre_hook(self._enter)
            stack.callback(enter.remove)
            leave = torch_modules.register_module_forward_hook(self._leave, with_kwargs=True)
            stack.callback(leave.remove)
            Function.apply = classmethod(apply)  # type: ignore[method-assign,assignment]
            stack.callback(setattr, Function, "apply", before)
            with self:
                yield
