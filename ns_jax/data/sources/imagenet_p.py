"""Source 'imagenet_p:PATH': ImageNet-P, PATH/PERTURBATION/CLASS/video.mp4, or a folder of frames for each video.

Videos are read by the package av (pip install av). Frames of a folder are in the order of their names, numbers by
value.
"""

import os
import re

import numpy as np
import tensorflow as tf

from ns_jax.data.corruptions.sequences import PERTURBATIONS, num_frames
from ns_jax.data.decode import take
from ns_jax.data.sources.base import Part, Source
from ns_jax.data.sources.files import is_image, source_of_files, stamp_of
from ns_jax.data.sources.imagenet_c import folder_of, visible
from ns_jax.data.sources.perturbed import Recent
from ns_jax.errors import UserError

VIDEO = ".mp4"
PUBLISHED_SIZE = 224  # whose sequences' lengths the videos have


def open_imagenet_p(path: str, data_dir: str) -> Source:
    """Opens the frames of all perturbations that are there.

    Raises:
      UserError: there is no such folder or nothing of ImageNet-P in it, both videos and folders of frames, folders
        with different numbers of frames, or videos without the package that reads them.
    """
    del data_dir
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise UserError(f"imagenet_p:{path}: there is no such folder")
    sequences_of = {}
    for perturbation in PERTURBATIONS:
        folder = folder_of(path, perturbation)
        sequences = sequences_in(folder) if folder else []
        if sequences:
            sequences_of[perturbation] = sequences
    if not sequences_of:
        raise UserError(
            f"imagenet_p:{path}: no sequences in it; they lie in PERTURBATION/CLASS, as in "
            f"translate/n01440764/ILSVRC2012_val_00000293.mp4, and the perturbations are {', '.join(PERTURBATIONS)}"
        )
    everything = [sequence for sequences in sequences_of.values() for _, sequence in sequences]
    are_videos = [os.path.isfile(sequence) for sequence in everything]
    if any(are_videos) and not all(are_videos):
        odd = everything[are_videos.index(not are_videos[0])]
        raise UserError(f"imagenet_p:{path} has both videos and folders of frames, as {odd}: have one kind of them")
    open_them = _open_videos if all(are_videos) else _open_frames
    return open_them(f"imagenet_p:{path}", sequences_of)


def sequences_in(folder: str) -> list[tuple[str, str]]:
    """(class, path) of the videos and folders of frames of a perturbation, in order."""
    pairs = []
    for name in visible(folder):
        inner = os.path.join(folder, name)
        for entry in visible(inner) if os.path.isdir(inner) else ():
            if entry.lower().endswith(VIDEO) or os.path.isdir(os.path.join(inner, entry)):
                pairs.append((name, os.path.join(inner, entry)))
    return pairs


def frames_in(folder: str) -> list[str]:
    """Paths of the frames in a folder, numbers in their names by value."""
    by_number = lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]
    return [
        os.path.join(folder, name) for name in sorted(visible(folder), key=by_number) if is_image(f"{folder}/{name}")
    ]


def _id(perturbation: str, name: str, sequence: str, frame: int) -> str:
    return f"{perturbation}/{name}/{os.path.basename(sequence)}/{frame}"


def _open_frames(name: str, sequences_of: dict[str, list[tuple[str, str]]]) -> Source:
    paths: list[str] = []
    ids, classes, parts = [], [], []
    for perturbation, sequences in sequences_of.items():
        start, length = len(paths), 0
        for of_class, folder in sequences:
            frames = frames_in(folder)
            length = length or len(frames)
            if len(frames) != length or length < 2:
                raise UserError(
                    f"{name}: {folder} has {len(frames)} frames, and the first sequence of {perturbation} {length}: "
                    "all need the same number, at least 2"
                )
            paths += frames
            ids += [_id(perturbation, of_class, folder, frame) for frame in range(length)]
            classes += [of_class] * length
        parts.append(Part(perturbation, start, len(paths), length))
    class_names = sorted(set(classes))
    number = {of_class: place for place, of_class in enumerate(class_names)}
    labels = [number[of_class] for of_class in classes]
    return source_of_files(name, paths, ids, labels, class_names, parts=tuple(parts))


def read_video(path: str) -> np.ndarray:
    """All frames of a video, uint8 [frames, H, W, 3]. Raises an error of av where it cannot be read."""
    import av

    with av.open(path) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def _open_videos(name: str, sequences_of: dict[str, list[tuple[str, str]]]) -> Source:
    try:
        import av  # noqa: F401
    except ImportError:
        raise UserError(f"{name}: videos need the package av: pip install av") from None
    class_names = sorted({of_class for sequences in sequences_of.values() for of_class, _ in sequences})
    number = {of_class: place for place, of_class in enumerate(class_names)}
    videos: list[str] = []
    labels, ids_of_videos, parts, start = [], [], [], 0
    for perturbation, sequences in sequences_of.items():
        frames = num_frames(perturbation, PUBLISHED_SIZE)
        parts.append(Part(perturbation, start, start + frames * len(sequences), frames))
        start = parts[-1].stop
        for of_class, path in sequences:
            videos.append(path)
            labels.append(number[of_class])
            ids_of_videos.append(_id(perturbation, of_class, path, 0)[:-1].encode())
    lengths = np.array([part.frames for part in parts])
    starts = np.array([part.start for part in parts])
    first_videos = np.cumsum([0, *((part.stop - part.start) // part.frames for part in parts[:-1])])
    recent = Recent(lambda video: read_video(videos[video]))

    def places(indices):
        """Which video and which of its frames examples are."""
        part = np.searchsorted(starts, indices, side="right") - 1
        video, frame = np.divmod(indices - starts[part], lengths[part])
        return first_videos[part] + video, frame

    def read(index):
        video, frame = places(np.asarray(index))
        frames = recent(int(video))
        expected = int(lengths[np.searchsorted(starts, index, side="right") - 1])
        if len(frames) != expected:
            raise ValueError(f"{videos[int(video)]} has {len(frames)} frames, not {expected}")
        return frames[int(frame)], np.int32(labels[int(video)])

    def load(index, window=None):
        image, label = tf.numpy_function(read, [index], [tf.uint8, tf.int32], stateful=False)
        image.set_shape([None, None, 3])
        label.set_shape([])
        return take(image, window), label

    def ids(indices):
        video, frame = places(np.asarray(indices))
        return np.char.add(np.array(ids_of_videos)[video], np.char.mod(b"%d", frame))

    return Source(
        name=name,
        count=start,
        class_names=tuple(class_names),
        load=load,
        ids=ids,
        stamp=stamp_of(videos),
        may_be_broken=True,
        parts=tuple(parts),
    )
