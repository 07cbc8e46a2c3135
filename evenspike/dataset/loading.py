"""Look-up: a split of a data set by name, from the first place that has its files."""

from __future__ import annotations

from pathlib import Path

from evenspike.dataset.checks import checked_images, checked_labels
from evenspike.dataset.registry import DATA_SETS
from evenspike.dataset.spec import SPLITS, DataSet, Images, Labels
from evenspike.errors import EvenspikeError


def load(name: str, folder: Path | None, split: str) -> tuple[Images, Labels]:
    """One split of a data set.

    Files are looked up in `folder/name` and `folder`; without a folder, where the system's package
    puts them.  A folder that is given is the only place: what is installed never stands in for
    files that are missing there.

    Parameters
    ----------
    name : of a data set in `DATA_SETS`.
    folder : where the user keeps the data, or None for the system's.
    split : "train" or "test".

    Returns
    -------
    images uint8 [N, *shape] and labels int64 [N], 0 to classes - 1, with the data set's `shape`
    and `classes`: [N, C, H, W], and for event data frames of counts, [N, T, C, H, W].  Images of
    MNIST and Fashion-MNIST are framed with zeros (`pad_to_32`).  The array may be mapped from a
    file and read-only.

    Raises EvenspikeError for another name or split, for files that are nowhere (saying where they
    may lie), and for files that do not hold images and labels of this kind.
    """
    if name not in DATA_SETS or split not in SPLITS:
        raise EvenspikeError(
            f"no split {split!r} of data set {name!r}; there are {', '.join(SPLITS)} of "
            f"{', '.join(DATA_SETS)}"
        )
    spec = DATA_SETS[name]
    places = [folder / name, folder] if folder is not None else []
    if folder is None and spec.package is not None:
        places = [spec.package.folder]
    for place in places:
        for layout in spec.layouts:
            found = layout.read(place, split)
            if found is not None:
                images = checked_images(place, found[0], spec.shape)
                limits = (0, spec.classes - 1)
                return images, checked_labels(place, found[1], len(images), limits)
    raise EvenspikeError(_missing(spec, split, folder is None, places))


def _missing(spec: DataSet, split: str, installed: bool, places: list[Path]) -> str:
    files = "; or ".join(layout.describe(split) for layout in spec.layouts)
    package = ""
    if spec.package is not None:
        alone = "" if installed else " and give no folder"
        package = f", or install the package {spec.package.name} (Debian){alone}"
    looked = ", ".join(str(place) for place in places) or "nowhere: no folder was given"
    return (
        f"data set {spec.name}: {files} not found; "
        f"put them into the data folder{package}; looked in {looked}"
    )
