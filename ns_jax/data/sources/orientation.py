"""Sources whose images are turned as their EXIF data say."""

import dataclasses

from ns_jax.data.decode import decode_image
from ns_jax.data.sources.base import Source


def oriented(source: Source) -> Source:
    """The source with its images turned; one that does not store files, or of one's own, stays as it is."""
    if isinstance(source, Source) and source.original is not None and source.with_original is not None:
        return source.with_original(oriented(source.original))
    if not isinstance(source, Source) or source.encoded is None:
        return source
    encoded, load = source.encoded, source.load

    def decode_upright(content, window=None):
        return decode_image(content, window, exif_orientation=True)

    def load_upright(index, window=None):
        label = load(index)[1]  # TensorFlow leaves out the image, which nothing reads
        return decode_upright(encoded(index), window), label

    return dataclasses.replace(source, load=load_upright, decode=decode_upright)
