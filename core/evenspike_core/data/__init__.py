"""Data sets as exact integers: one file a format, and a table of the data sets by name.

`load` gives a split of any data set of `DATA_SETS` as uint8 pixels and int64 labels, checked;
`shipped` the hundred Fashion-MNIST images that come with the package.  Which files go where is in
docs/data.md.
"""

from __future__ import annotations

from evenspike_core.data.idx import PADDED_SIDE, pad_to_32, read_idx
from evenspike_core.data.loading import load
from evenspike_core.data.registry import DATA_SETS, find
from evenspike_core.data.shipped_images import (
    first_of_each_class,
    shipped,
    shipped_files,
    shipped_indices,
    write_shipped,
)
from evenspike_core.data.spec import SPLITS, DataSet, Images, Labels

__all__ = [
    "DATA_SETS",
    "PADDED_SIDE",
    "SPLITS",
    "DataSet",
    "Images",
    "Labels",
    "find",
    "first_of_each_class",
    "load",
    "pad_to_32",
    "read_idx",
    "shipped",
    "shipped_files",
    "shipped_indices",
    "write_shipped",
]
