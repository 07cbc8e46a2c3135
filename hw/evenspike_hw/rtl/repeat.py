"""Repeat: equal components side by side, which may be elaborated once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

C = TypeVar("C", bound=wiring.Component)


class Once:
    """A platform for which `repeat` elaborates one component, and instantiates its module.

    Sixteen PEs take Amaranth sixteen times as long as one. An instance is a closed box, which no
    transformer of what is around it gets into: so Amaranth's own simulator cannot run the design,
    and a reset that is inserted around the instances does not reach them.

    modules: what is to be converted beside the design, by the names of their modules.
    reset: resets all instances; whoever builds the design drives it.
    """

    def __init__(self) -> None:
        self.modules: dict[str, wiring.Component] = {}
        self.reset = Signal()


def repeat(m: Module, platform: object, name: str, number: int, make: Callable[[], C]) -> list[C]:
    """Adds so many equal components to the module, `name` and a number each, and returns them.

    On the platform `Once` they are interfaces of the component's signature with an instance behind
    each; all that have a name are the same component then, wherever they are.
    """
    if not isinstance(platform, Once):
        found = [make() for _ in range(number)]
        for at, component in enumerate(found):
            m.submodules[f"{name}{at}"] = component
        return found
    if name not in platform.modules:
        platform.modules[name] = make()
    signature = platform.modules[name].signature
    ports: list[Any] = [signature.create(path=(f"{name}{at}",)) for at in range(number)]
    for at, interface in enumerate(ports):
        m.submodules[f"{name}{at}"] = Instance(
            name,
            ("i", "clk", ClockSignal()),
            ("i", "rst", platform.reset),
            *(
                ("i" if member.flow is In else "o", "__".join(map(str, path)), value)
                for path, member, value in signature.flatten(interface)
            ),
        )
    return ports
