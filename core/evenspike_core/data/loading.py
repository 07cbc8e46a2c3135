"""Look-up: a split of a data set by name, from the first place that has its files."""

from __future__ import annotations

import os
from pathlib import Path

from evenspike_core.data import cache
from evenspike_core.data.checks import checked_images, checked_labels
from evenspike_core.data.download import fetch
from evenspike_core.data.registry import DATA_SETS
from evenspike_core.data.spec import SPLITS, DataSet, Images, Labels
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent


def load(
    name: str, folder: Path | None, split: str, progress: Progress = silent
) -> tuple[Images, Labels]:
    """One split of a data set.

    Files are looked up in `folder/name`, below `folder` where torchvision, Keras and Tonic put
    them, and in `folder` itself; the first place that has them is read.  Without a folder it is
    where the system's package puts them, then `./data`, Keras's own folder and the user's cache
    folder.  A folder that is given is the only one: what is installed never stands in for files
    that are missing there.  What is nowhere is unpacked from the authors' archive, where that is in
    one of these places, or downloaded, if the table has an address: into `folder/name`, where
    `folder` exists, or the cache folder.

    Parameters
    ----------
    name : of a data set in `DATA_SETS`.
    folder : where the user keeps the data, or None for the usual places.
    split : "train" or "test".
    progress : is told of downloading and of decoding.

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
    places = _places(spec, folder)
    found = _found(spec, places, split, progress)
    if found is not None:
        return found
    failed = ""
    if spec.downloads and (folder is None or folder.is_dir()):
        home = places[0] if folder is not None else places[-1]
        files = spec.downloads[split]
        archived = [p for p in places if any(f.packed and (p / f.file).is_file() for f in files)]
        home = archived[0] if archived else home
        try:
            for wanted in files:
                fetch(wanted, home, progress)
        except EvenspikeError as error:
            failed = f"; it cannot be {'unpacked' if archived else 'downloaded'}: {error}"
        else:
            found = _found(spec, [home], split, progress)
            if found is not None:
                return found
    raise EvenspikeError(_missing(spec, split, folder is None, failed, places))


def _places(spec: DataSet, folder: Path | None) -> list[Path]:
    """Folders that may hold the files, in the order in which they are looked at."""
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    roots = [folder] if folder is not None else [Path("data"), keras]
    below = [root / part for root in roots for part in (spec.name, *spec.folders, "")]
    if folder is not None:
        return below
    package = [spec.package.folder] if spec.package is not None else []
    return [*package, *below, cache.folder() / spec.name]


def _found(
    spec: DataSet, places: list[Path], split: str, progress: Progress
) -> tuple[Images, Labels] | None:
    for place in places:
        for layout in spec.layouts:
            found = layout.read(place, split, progress)
            if found is not None:
                images = checked_images(place, found[0], spec.shape)
                limits = (0, spec.classes - 1)
                return images, checked_labels(place, found[1], len(images), limits)
    return None


def _missing(spec: DataSet, split: str, installed: bool, failed: str, places: list[Path]) -> str:
    files = "; or ".join(layout.describe(split) for layout in spec.layouts)
    package = ""
    if spec.package is not None:
        alone = "" if installed else " and give no folder"
        package = f", or install the package {spec.package.name} (Debian){alone}"
    looked = ", ".join(str(place) for place in places)
    return (
        f"data set {spec.name}: {files} not found; "
        f"put them into the data folder{package}{failed}; looked in {looked}"
    )
