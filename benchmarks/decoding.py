"""A request's bytes before a network sees them, beside the network (`make bench-decoding`).

Each image is a PNG and a JPEG of 299 and of 1,024 pixels. Limits are what the server looks at
first. Decoding, resizing and the PNG between Transform and the network are parts of `preprocess`,
which a served model has from Transform; as a call of its own, each takes a little more than
within. In a batch an image takes less than alone, since a call has its own cost. All are
milliseconds of CPU time, the least of several rounds, since the machine may do other things
meanwhile.

With --data, `preprocess` of each image there is compared with `decode_and_resize`: the PNG
between them must change no byte.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402

from models.backbones import BACKBONES, build_network, get_backbone  # noqa: E402
from models.engines import OPENVINO_BF16, OPENVINO_F32, OpenVinoEngine, converted  # noqa: E402
from models.openvino_runtime import has_bf16  # noqa: E402
from models.preprocessing import decode_and_resize, decode_transformed, grey_png  # noqa: E402
from schema import contract  # noqa: E402
from serving.core.limits import checked  # noqa: E402
from serving.networks.probes import probe_pixels  # noqa: E402
from serving.protocol.tensors import strings  # noqa: E402
from serving.settings import Limits  # noqa: E402

_SIZES: Final = (299, 1024)
_FORMATS: Final = ("PNG", "JPEG")
_IMAGES: Final = 8
_JPEG_QUALITY: Final = 92
# The network of which a request is the shortest, and the size that its weights prefer.
_NETWORK: Final = "densenet121"
_NETWORK_SIZE: Final = 128
# Like a detector's noise: without it, a PNG is inflated faster than a radiograph's.
_NOISE: Final = 4.0


@dataclass(frozen=True)
class Costs:
    """CPU milliseconds an image.

    Attributes:
        limits: what the server looks at before.
        decode: the file -> grey levels.
        resize: these -> 256x256.
        stored_png: the PNG in which Transform hands on the image, written and read.
        alone: `preprocess` of an image alone.
        in_batch: of one of up to eight.
    """

    limits: float
    decode: float
    resize: float
    stored_png: float
    alone: float
    in_batch: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print the milliseconds of each kind of file, and of the network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of PNGs; drawn images where not given")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--network", choices=sorted(BACKBONES), default=_NETWORK)
    parser.add_argument("--network-size", type=int, default=_NETWORK_SIZE)
    args = parser.parse_args(argv)
    files = sorted(args.data.rglob("*.png")) if args.data else []
    if args.data and not files:
        parser.error(f"{args.data} holds no PNG")
    some = files[:: -(-len(files) // _IMAGES) or 1]
    pictures = [Image.open(file).convert("L") for file in some] or drawn()
    engine, network = measure_network(args.network, args.network_size, args.repeats)
    print(
        f"{args.network} at {args.network_size} pixels, random weights, {engine}: {network:.2f} ms"
    )
    print(f"{'file':<10}  limits  decode  resize  stored PNG  alone  in a batch  of a request")
    for size in args.sizes:
        for kind in _FORMATS:
            costs = measure([encoded(picture, size, kind) for picture in pictures], args.repeats)
            # A lone request's image; HTTP and JSON come on top.
            share = (costs.limits + costs.alone) / (costs.limits + costs.alone + network)
            print(
                f"{kind + ' ' + str(size):<10}{costs.limits:8.2f}{costs.decode:8.2f}"
                f"{costs.resize:8.2f}{costs.stored_png:12.2f}{costs.alone:7.2f}"
                f"{costs.in_batch:12.2f}{share:14.0%}"
            )
    if files:
        other = sum(not same_bytes(file.read_bytes()) for file in files)
        print(f"{len(files)} images: {other} differ from decode_and_resize")


def drawn() -> list[Image.Image]:
    """Draw images, smooth and noisy as radiographs are; always the same."""
    rng = np.random.default_rng(0)
    side = max(_SIZES)
    pictures = []
    for pixels in probe_pixels()[:_IMAGES, ..., 0]:
        large = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
        noisy = large + rng.normal(0, _NOISE, large.shape)
        pictures.append(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)))
    return pictures


def encoded(picture: Image.Image, size: int, kind: str) -> bytes:
    """Write an image as a file of this size and kind."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": _JPEG_QUALITY} if kind == "JPEG" else {}
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def _decode(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_png(content, channels=1)


_SMALL: Final = tf.TensorSpec((contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1), tf.uint8)
_resized: Final = tf.function(
    decode_and_resize, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
)


@tf.function(input_signature=[_SMALL], autograph=False)
def _stored(image: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_png(tf.io.encode_png(image, compression=0), channels=1)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _preprocess(contents: tf.Tensor) -> tf.Tensor:
    # As `models.signatures.ImageModel` puts it together from Transform's graph.
    return decode_transformed(grey_png(contents))


def measure(contents: Sequence[bytes], repeats: int) -> Costs:
    """Measure what files of one kind cost.

    Args:
        contents: of the files.
        repeats: rounds, of which the least counts.
    """
    tensors = [tf.constant(content) for content in contents]
    alone = [tf.constant([content]) for content in contents]
    decode = milliseconds(_decode, tensors, repeats)
    both = milliseconds(_resized, tensors, repeats)
    asked = [{contract.INPUT_IMAGES: strings([content])} for content in contents]
    return Costs(
        limits=milliseconds(lambda inputs: checked(inputs, Limits()), asked, repeats),
        decode=decode,
        resize=both - decode,
        stored_png=milliseconds(_stored, [_resized(tensor) for tensor in tensors], repeats),
        alone=milliseconds(_preprocess, alone, repeats),
        in_batch=milliseconds(_preprocess, [tf.constant(contents)], repeats) / len(contents),
    )


def measure_network(name: str, size: int, repeats: int) -> tuple[str, float]:
    """Measure a backbone with random weights on OpenVINO, as the server runs it.

    Args:
        name: of the backbone.
        size: in pixels, at which it sees images.
        repeats: rounds, of which the least counts.

    Returns:
        The engine's name, and CPU milliseconds an image.
    """
    engine = OPENVINO_BF16 if has_bf16() else OPENVINO_F32
    network = build_network(get_backbone(name), image_size=size)
    compiled = OpenVinoEngine(converted(_named(network)), ["map"], engine)
    pixels = probe_pixels()
    return engine, milliseconds(compiled, [pixels], repeats) / len(pixels)


def _named(network: Any) -> Any:
    import keras

    return keras.Model(network.input, {"map": network.output})


def milliseconds(call: Callable[[Any], Any], values: Sequence[Any], repeats: int) -> float:
    """Return the CPU milliseconds of a call, over all values; the least of the rounds."""

    def rounds() -> Iterator[float]:
        for _ in range(repeats):
            started = time.process_time()
            for value in values:
                call(value)
            yield (time.process_time() - started) / len(values) * 1e3

    for value in values:
        call(value)
    return min(rounds())


def same_bytes(content: bytes) -> bool:
    """Tell whether a file becomes the same image with and without the PNG in between."""
    tensor = tf.constant(content)
    return bool(tf.reduce_all(_preprocess(tensor[tf.newaxis])[0] == _resized(tensor)))


if __name__ == "__main__":
    main()
