"""The data sets by name."""

from __future__ import annotations

from pathlib import Path

from evenspike_core.data.cifar import BATCHES, CifarFiles
from evenspike_core.data.events import SHAPE as EVENT_SHAPE
from evenspike_core.data.events import EventFolder
from evenspike_core.data.idx import PADDED_SIDE, IdxPair
from evenspike_core.data.image_folder import ImageFolder
from evenspike_core.data.keras_file import KerasFile
from evenspike_core.data.spec import DataSet, Download, Package
from evenspike_core.data.svhn import SvhnFile
from evenspike_core.errors import EvenspikeError

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

CIFAR100 = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
    "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
    "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy",
    "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal",
    "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman",
    "worm",
)  # fmt: skip
"""The fine classes, which its authors number in alphabetical order."""


def _idx_files(address: str, images: str, labels: str, start: str) -> tuple[Download, ...]:
    return (
        Download(f"{address}/{start}-images-idx3-ubyte.gz", images),
        Download(f"{address}/{start}-labels-idx1-ubyte.gz", labels),
    )


MNIST_ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist"
"""PyTorch's copy: the authors' own address does not answer to programs any more."""

FMNIST_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
CIFAR_ADDRESS = "https://www.cs.toronto.edu/~kriz"
SVHN_ADDRESS = "http://ufldl.stanford.edu/housenumbers"

CIFAR10_FILE = Download(
    f"{CIFAR_ADDRESS}/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
)
CIFAR100_FILE = Download(
    f"{CIFAR_ADDRESS}/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
)

_ALL = (
    DataSet(
        "mnist",
        10,
        (1, PADDED_SIDE, PADDED_SIDE),
        (IdxPair("mnist"), KerasFile()),
        DIGITS,
        folders=("MNIST/raw",),
        downloads={
            "train": _idx_files(
                MNIST_ADDRESS,
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "train",
            ),
            "test": _idx_files(
                MNIST_ADDRESS,
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
                "t10k",
            ),
        },
    ),
    DataSet(
        "fmnist",
        10,
        (1, PADDED_SIDE, PADDED_SIDE),
        (IdxPair("fmnist"),),
        CLOTHES,
        folders=("FashionMNIST/raw", "fashion-mnist"),
        package=Package("dataset-fashion-mnist", Path("/usr/share/datasets/fashion-mnist")),
        downloads={
            "train": _idx_files(
                FMNIST_ADDRESS,
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "train",
            ),
            "test": _idx_files(
                FMNIST_ADDRESS,
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
                "t10k",
            ),
        },
    ),
    DataSet(
        "cifar10",
        10,
        (3, 32, 32),
        (
            CifarFiles(
                "cifar-10-batches-py", {"train": BATCHES, "test": ("test_batch",)}, 10, pickled=True
            ),
            CifarFiles(
                "cifar-10-batches-bin",
                {"train": tuple(f"{name}.bin" for name in BATCHES), "test": ("test_batch.bin",)},
                10,
            ),
        ),
        CIFAR10,
        folders=("cifar-10-batches-py-target",),
        downloads={"train": (CIFAR10_FILE,), "test": (CIFAR10_FILE,)},
    ),
    DataSet(
        "cifar100",
        100,
        (3, 32, 32),
        (
            CifarFiles(
                "cifar-100-python", {"train": ("train",), "test": ("test",)}, 100, pickled=True
            ),
            CifarFiles("cifar-100-binary", {"train": ("train.bin",), "test": ("test.bin",)}, 100),
        ),
        CIFAR100,
        folders=("cifar-100-python-target",),
        downloads={"train": (CIFAR100_FILE,), "test": (CIFAR100_FILE,)},
    ),
    DataSet(
        "svhn",
        10,
        (3, 32, 32),
        (SvhnFile(),),
        DIGITS,
        folders=("SVHN",),
        downloads={
            "train": (
                Download(f"{SVHN_ADDRESS}/train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
            ),
            "test": (
                Download(f"{SVHN_ADDRESS}/test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
            ),
        },
    ),
    DataSet(
        "cifar10-jpeg",
        10,
        (3, 32, 32),
        (
            ImageFolder(
                "cifar10-jpeg", "cifar10-jpeg", {"train": "train", "test": "test"}, 10, 32, CIFAR10
            ),
        ),
        CIFAR10,
    ),
    DataSet(
        "tiny-imagenet",
        200,
        (3, 64, 64),
        (
            ImageFolder(
                "tiny-imagenet", "tiny-imagenet-200", {"train": "train", "test": "val"}, 200, 64
            ),
        ),
    ),
    DataSet(
        "nmnist",
        10,
        EVENT_SHAPE,
        (
            EventFolder(
                "nmnist", "NMNIST", (34, 34), ".bin", 10, DIGITS, {"train": "Train", "test": "Test"}
            ),
        ),
        DIGITS,
    ),
    DataSet(
        "cifar10-dvs",
        10,
        EVENT_SHAPE,
        (EventFolder("cifar10-dvs", "CIFAR10DVS", (128, 128), ".aedat4", 10, CIFAR10),),
        CIFAR10,
    ),
    DataSet(
        "ncaltech101",
        101,
        EVENT_SHAPE,
        (
            EventFolder("ncaltech101", "NCALTECH101/Caltech101", (240, 180), ".bin", 101),
            EventFolder("ncaltech101", "Caltech101", (240, 180), ".bin", 101),
        ),
    ),
)

DATA_SETS = {spec.name: spec for spec in _ALL}
"""Every data set that can be named, by its name."""


def find(name: str) -> DataSet:
    """The data set of this name; raises EvenspikeError with the names there are."""
    if name not in DATA_SETS:
        raise EvenspikeError(f"no data set {name!r}; there are {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
