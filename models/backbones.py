"""The table of backbones: one entry each, and nothing else to do for a new one.

An entry names the Keras application, how its input is scaled, where it can be cut
into a frozen and a trained part, and the paper's recipe for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from common.errors import InputError
from models.augmentation_names import IDENTITY, IMAGE_AND_MIRROR, Augmentation
from schema import contract

if TYPE_CHECKING:
    import keras

Scaling = Literal["caffe", "tf", "torch", "unit"]
# Of a channel: the mean over height and width, the largest value there, or the mean over each cell
# of a grid of GRID x GRID, row by row, all channels of one cell before the next cell's.
Pool = Literal["avg", "max", "grid"]
GRID: Final = 4

# Keras publishes the weights of its applications below it.
_PUBLISHED: Final = "https://storage.googleapis.com/tensorflow/keras-applications"

# Boundaries that every backbone has; between them lie the entry's own blocks.
BOUNDARY_INPUT: Final = "input"
BOUNDARY_HEAD: Final = "head"
# The tap that every backbone has: the mean over the network's output.
TAP_LAST: Final = "last"

# scale and offset per channel (RGB order of a repeated grey channel), so that
# `pixel * scale + offset` is keras.applications.imagenet_utils.preprocess_input of
# that mode. "unit" is the paper's 1/255.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_SCALINGS: Final[Mapping[Scaling, tuple[list[float], list[float]]]] = {
    "caffe": ([1.0] * 3, [-103.939, -116.779, -123.68]),
    "tf": ([1 / 127.5] * 3, [-1.0] * 3),
    "torch": (
        [1 / (255 * s) for s in _IMAGENET_STD],
        [-m / s for m, s in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)],
    ),
    "unit": ([1 / 255] * 3, [0.0] * 3),
}


# The paper's, in its order; for other classes its results say nothing.
PAPER_CLASSES: Final = ("COVID-19", "Normal", "Viral Pneumonia")


def are_the_papers(classes: Sequence[str]) -> bool:
    """Return whether these are the paper's three classes, by name, in any order."""
    return sorted(classes) == sorted(PAPER_CLASSES)


@dataclass(frozen=True)
class PaperRecipe:
    """The recipe of the reference study (Liang and Hayes, 2020, and notebooks)."""

    learning_rate: float
    batch_size: int
    epochs: int
    early_stopping_patience: int | None = None
    plateau_patience: int | None = None


@dataclass(frozen=True)
class PaperResult:
    """The result that the reference study reports of its test split (129 images).

    Attributes:
        confusion: rows true, columns predicted, in the order of PAPER_CLASSES.
    """

    confusion: tuple[tuple[int, ...], ...]

    def confusion_of(self, classes: Sequence[str]) -> list[list[int]]:
        """`confusion` with rows and columns in the order of `classes`, which are the paper's."""
        order = [PAPER_CLASSES.index(name) for name in classes]
        return [[self.confusion[row][column] for column in order] for row in order]

    @property
    def correct(self) -> int:
        """Images on the diagonal."""
        return sum(row[index] for index, row in enumerate(self.confusion))

    @property
    def total(self) -> int:
        """All images."""
        return sum(map(sum, self.confusion))


@dataclass(frozen=True)
class Tap:
    """A place where the network's feature map is pooled into a vector.

    Attributes:
        before: the layer whose input is pooled.
        pool: what becomes of height and width. For "grid" both are multiples of GRID.
    """

    before: str
    pool: Pool = "avg"


@dataclass(frozen=True)
class Backbone:
    """One row of the table.

    Attributes:
        name: the name in configuration, node ids and the serving folder.
        application: the class in `keras.applications`.
        parameters: of its convolutional part, as `count_params` counts them.
        imagenet_file: Keras' file name of the ImageNet weights without the top.
        imagenet_folder: the folder at Keras' that the file is published in.
        imagenet_md5: hex digest of that file, as Keras knows it.
        scaling: how grey levels 0..255 become the network's input.
        blocks: block name -> the layer that the block begins with. A boundary of that
            name freezes all before the layer and trains from it on. In network order.
        taps: name -> a pooled tap inside the network, besides `last` (the mean over the
            network's output), which every backbone has. In network order.
        head_taps: the taps that the regularised head stands on, unless told otherwise.
        head_l2: its penalty, unless told otherwise (`HeadParams.l2`).
        fused_taps: the taps that the fused head stands on, in network order -> weight of each: what
            it is to count for beside the others', of all backbones (`models.fusion`).
        paper: the paper's recipe, for the preset `paper`.
        head_augmentations: of the training images, where a head alone is trained, unless told
            otherwise (`TrainingParams.augmentations`).
        weights_sizes: file name of weights -> height and width at which they were pre-trained,
            where that is not the image's own size (see `size_for`).
        paper_result: what the paper reached with it; None where it knows no such backbone.
    """

    name: str
    application: str
    parameters: int
    imagenet_file: str
    imagenet_folder: str
    imagenet_md5: str
    scaling: Scaling
    blocks: Mapping[str, str] = field(hash=False)
    taps: Mapping[str, Tap] = field(hash=False)
    head_taps: tuple[str, ...]
    head_l2: float
    fused_taps: Mapping[str, float] = field(hash=False)
    paper: PaperRecipe
    head_augmentations: tuple[Augmentation, ...] = (IDENTITY,)
    weights_sizes: Mapping[str, int] = field(default=MappingProxyType({}), hash=False)
    paper_result: PaperResult | None = None

    @property
    def imagenet_url(self) -> str:
        """The place from which Keras downloads the ImageNet weights."""
        return f"{_PUBLISHED}/{self.imagenet_folder}/{self.imagenet_file}"

    @property
    def boundaries(self) -> tuple[str, ...]:
        """Names allowed as boundary, from nothing frozen to everything frozen."""
        return (BOUNDARY_INPUT, *self.blocks, BOUNDARY_HEAD)

    @property
    def all_taps(self) -> tuple[str, ...]:
        """Names of all taps, in network order."""
        return (*self.taps, TAP_LAST)

    def size_for(self, weights: str) -> int:
        """Height and width at which the network sees the image.

        Convolutions look for patterns of the size at which they were learnt, so it is the
        weights' matter, and not the architecture's.

        Args:
            weights: their label (`models.weights.WeightsSource`).
        """
        return self.weights_sizes.get(weights, contract.IMAGE_SIZE)


_ROWS = (
    Backbone(
        name="vgg16",
        application="VGG16",
        parameters=14_714_688,
        imagenet_file="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        imagenet_folder="vgg16",
        imagenet_md5="6d6bbae143d832006294945121d1f1fc",
        scaling="caffe",
        blocks=MappingProxyType({"block4": "block4_conv1", "block5": "block5_conv1"}),
        taps=MappingProxyType(
            {
                "block3": Tap("block4_conv1"),
                "block3_grid": Tap("block4_conv1", "grid"),
                "block4": Tap("block5_conv1"),
                "block4_max": Tap("block5_conv1", "max"),
            }
        ),
        head_taps=("block3_grid", "block4", "block4_max", TAP_LAST),
        head_l2=0.007,
        fused_taps=MappingProxyType({"block4": 0.5, TAP_LAST: 0.5}),
        paper=PaperRecipe(learning_rate=1e-5, batch_size=10, epochs=80),
        head_augmentations=IMAGE_AND_MIRROR,
        paper_result=PaperResult(((43, 0, 0), (0, 41, 2), (0, 5, 38))),
    ),
    Backbone(
        name="xception",
        application="Xception",
        parameters=20_861_480,
        imagenet_file="xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        imagenet_folder="xception",
        imagenet_md5="b0042744bf5b25fce3cb969f33bebb97",
        scaling="tf",
        # block13 has a residual branch around it, so the cut lies behind its sum.
        blocks=MappingProxyType({"block14": "block14_sepconv1"}),
        taps=MappingProxyType(
            {
                "block4": Tap("block5_sepconv1_act"),
                "block4_max": Tap("block5_sepconv1_act", "max"),
                "block4_grid": Tap("block5_sepconv1_act", "grid"),
                "block8": Tap("block9_sepconv1_act"),
                "block11": Tap("block12_sepconv1_act"),
                "block11_max": Tap("block12_sepconv1_act", "max"),
                "block13": Tap("block14_sepconv1"),
            }
        ),
        head_taps=("block4_max", "block4_grid", "block11", "block11_max"),
        head_l2=0.007,
        fused_taps=MappingProxyType(
            {"block4_max": 0.25, "block4_grid": 0.25, "block11": 0.25, "block11_max": 0.25}
        ),
        paper=PaperRecipe(
            learning_rate=5e-4,
            batch_size=40,
            epochs=60,
            early_stopping_patience=30,
            plateau_patience=4,
        ),
        paper_result=PaperResult(((43, 0, 0), (0, 41, 2), (0, 4, 39))),
    ),
    Backbone(
        name="densenet121",
        application="DenseNet121",
        parameters=7_037_504,
        imagenet_file="densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        imagenet_folder="densenet",
        imagenet_md5="30ee3e1110167f948a6b9946edeeb738",
        scaling="torch",
        # The pooling layer of each transition is the one tensor between two blocks.
        blocks=MappingProxyType({"conv4": "conv4_block1_0_bn", "conv5": "conv5_block1_0_bn"}),
        taps=MappingProxyType(
            {
                "conv3": Tap("conv4_block1_0_bn"),
                "conv4_16": Tap("conv4_block17_0_bn"),
                "conv4_16_max": Tap("conv4_block17_0_bn", "max"),
                "conv4_16_grid": Tap("conv4_block17_0_bn", "grid"),
                "conv4": Tap("conv5_block1_0_bn"),
            }
        ),
        head_taps=("conv3", "conv4_16_max", "conv4_16_grid"),
        head_l2=0.007,
        fused_taps=MappingProxyType({TAP_LAST: 0.15}),
        paper=PaperRecipe(learning_rate=1e-5, batch_size=10, epochs=100),
        head_augmentations=IMAGE_AND_MIRROR,
        # On 3,959 paediatric radiographs (Kermany et al.) of 128 x 128 pixels.
        weights_sizes=MappingProxyType({"densenet121_kermany_pediatric_notop.h5": 128}),
        paper_result=PaperResult(((42, 0, 1), (0, 42, 1), (0, 0, 43))),
    ),
)

_TABLE = {row.name: row for row in _ROWS}
BACKBONES: Final[Mapping[str, Backbone]] = MappingProxyType(_TABLE)


def get_backbone(name: str) -> Backbone:
    """Return the table entry.

    Raises:
        InputError: there is no backbone of that name.
    """
    if name not in BACKBONES:
        raise InputError(f"backbones: {name!r} is unknown; known are {', '.join(BACKBONES)}.")
    return BACKBONES[name]


def build_network(
    backbone: Backbone, scaling: Scaling | None = None, image_size: int = contract.IMAGE_SIZE
) -> keras.Model:
    """Build the convolutional part with random weights, resizing and scaling included.

    Args:
        backbone: the table entry.
        scaling: overrides the entry's own scaling.
        image_size: height and width at which the network sees the image (`Backbone.size_for`):
            256 divided by a whole number.

    Returns:
        A functional model: uint8 or float image [batch, 256, 256, 1] of grey levels
        0..255 -> feature map [batch, h, w, channels]. The layers' names are those of
        `keras.applications`.
    """
    import keras

    size = contract.IMAGE_SIZE
    factor, rest = divmod(size, image_size)
    if rest:
        raise ValueError(f"image_size: {size} is no multiple of {image_size}")
    application = getattr(keras.applications, backbone.application)
    grey = seen = keras.Input((size, size, 1), name="grey")
    if factor > 1:
        # The mean of whole squares of pixels: the same in every engine, to the last bit or so,
        # and on real images as good as resizing.
        seen = keras.layers.AveragePooling2D(factor, name="resized")(grey)
    rgb = keras.layers.Concatenate(name="grey_to_rgb")([seen, seen, seen])
    scale, offset = _SCALINGS[scaling or backbone.scaling]
    scaled = keras.layers.Rescaling(scale, offset, name="scaling")(rgb)
    network = application(include_top=False, weights=None, input_tensor=scaled)
    # With input_tensor, Keras may take the graph's source or our tensor as the input:
    # naming both ends here makes the grey image the input for certain.
    return keras.Model(grey, network.output, name=backbone.name)


def load_weights(network: keras.Model, path: str, shown_as: str | None = None) -> None:
    """Load a "notop" weights file into a network of `build_network`.

    Args:
        network: what `build_network` returned.
        path: HDF5 file in the layout of `keras.applications`, or one that
            `network.save_weights` wrote.
        shown_as: what errors call the file, where `path` is a copy.

    Raises:
        InputError: the file doesn't fit the network.
    """
    try:
        network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(
            f"weights: {shown_as or path} doesn't fit {network.name}: {error}. Give the file that "
            "keras.applications saves with include_top=False."
        ) from error
