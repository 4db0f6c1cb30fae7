"""Gzip files that Beam writes in a third of the time, a little larger.

What Transform hands on is pixels, which zlib's usual level 6 looks at for a third of the node's
CPU seconds. Level 1 makes files a tenth larger; whoever reads them sees the same records.
"""

from __future__ import annotations

import functools
import zlib
from typing import Any, Final

LEVEL: Final = 1
_METHOD: Final = "_initialize_compressor"


def quick_gzip() -> None:
    """Have Beam compress at LEVEL where it writes gzip.

    There is no option for it. A second call does nothing. A Beam whose files are made in another
    way (2.74 and 2.77 have this one) is left as it is.
    """
    from apache_beam.io.filesystem import CompressedFile, CompressionTypes

    usual = getattr(CompressedFile, _METHOD, None)
    if usual is None or hasattr(usual, "quick"):
        return

    @functools.wraps(usual)
    def initialize(self: Any) -> None:
        usual(self)
        if getattr(self, "_compression_type", None) == CompressionTypes.GZIP:
            self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, self._gzip_mask)

    initialize.quick = True  # type: ignore[attr-defined]
    setattr(CompressedFile, _METHOD, initialize)
