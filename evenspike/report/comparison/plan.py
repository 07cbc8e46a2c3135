"""Which runs the comparison is made of: the sweeps of each recipe, small ones and full ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Study:
    """One recipe with all its sweeps.

    Parameters
    ----------
    network, data : as the recipe has them, for the papers' figures beside empty rows.
    full : whether its network has the papers' width, so that their figures stand beside it; it
        needs a GPU.
    sweeps : options of `evenspike sweep`, besides --out, and --recipe unless it is another's.
    companion : recipe of a run that its methods look at, trained first under its own name.
    apart : whether its methods stand beside no others: the figures of the comparison skip it, and
        one of its own shows it.
    """

    recipe: str
    network: str
    data: str
    full: bool
    sweeps: tuple[str, ...]
    apart: bool = False
    companion: str = ""

    @property
    def commands(self) -> list[str]:
        own = f"--recipe {self.recipe} "
        return [
            f"evenspike sweep {'' if options.startswith('--recipe') else own}{options}"
            for options in self.sweeps
        ]


FULL = (
    "--methods imp,u-ticket --seeds 1-5",
    "--methods u-ticket --seeds 1 --pes 2,4,8,32,64",
    "--methods dense,random,snip,early-bird,transferred,cycle-aware --seeds 1-5",
    "--methods imp+early-time,early-bird+early-time,u-ticket+early-time --seeds 1-5",
    "--methods imp+late-rewinding,u-ticket+late-rewinding --seeds 1",
    "--methods random,snip,imp,u-ticket,early-bird,transferred --seeds 1 --rounds 4,8,11",
)

META = "agc-vgg9-meta"
"""The meta-model of attention-guided compression."""

KINDS = ("", "-channel", "-channel-tenth", "-dense", "-fixed", "-converted", "-poisson")
"""Of the recipe agc-vgg9-small."""

AGC = "--methods agc --seeds 1-3"

ADMM = {"-admm": "--methods hard,admm --seeds 1-3", "-codes": "--methods admm --seeds 1-3"}
"""Of the recipe compression, whose page they share."""

COMPRESSION = (
    "--methods dense,imp,u-ticket --seeds 1-3",
    *(f"--recipe compression{kind} {options}" for kind, options in ADMM.items()),
    *(f"--recipe agc-vgg9-small{kind} {AGC}" for kind in ("", "-channel")),
)
"""The sweeps of one page that several recipes make."""

STUDIES: dict[str, Study] = {
    study.recipe: study
    for study in (
        Study(
            "vgg16-tiny",
            "vgg16",
            "fmnist",
            False,
            (
                "--methods imp,u-ticket --seeds 1-2",
                "--methods dense,random,early-bird,transferred,cycle-aware --seeds 1",
                "--methods imp+early-time,early-bird+early-time,u-ticket+early-time --seeds 1",
                "--methods imp+late-rewinding,u-ticket+late-rewinding --seeds 1",
                "--methods u-ticket --seeds 1 --pes 4,16",
                "--methods random,imp,u-ticket,early-bird --seeds 1 --rounds 3",
            ),
        ),
        Study(
            "vgg16-tiny-steep",
            "vgg16",
            "fmnist",
            False,
            ("--methods dense,random,snip,imp --seeds 1",),
        ),
        Study(
            "vgg16-hardware",
            "vgg16",
            "fmnist",
            False,
            ("--methods imp,u-ticket,cycle-aware --seeds 1-5",),
        ),
        *(
            Study(
                f"agc-vgg9-small{kind}",
                "agc-vgg9",
                "fmnist",
                False,
                (AGC,),
                apart=True,
                companion=META,
            )
            for kind in KINDS
        ),
        Study("compression", "agc-vgg9", "fmnist", False, COMPRESSION, apart=True, companion=META),
        *(
            Study(f"compression{kind}", "agc-vgg9", "fmnist", False, (options,), apart=True)
            for kind, options in ADMM.items()
        ),
        Study("vgg16-gpu", "vgg16", "fmnist", True, FULL),
        Study("resnet19", "resnet19", "fmnist", True, FULL),
    )
}
