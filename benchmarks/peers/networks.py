"""What the peers in PyTorch share: timm's small EfficientNet, transforms, predictions."""

import numpy as np
import torch
from timm.data.auto_augment import rand_augment_transform
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from benchmarks.contestants.timm_model import build
from benchmarks.peers.task import Images, Task

MEAN, STD = (0.13,) * 3, (0.31,) * 3  # this project's for the small model


def start(task: Task) -> None:
    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    np.random.seed(task.seed)


class WithFeatures(torch.nn.Module):
    """The network as semi-supervised libraries want it: its features too.

    Attributes:
      out_features: how many.
    """

    def __init__(self, task: Task):
        super().__init__()
        self.network = build(task.network)
        self.out_features = task.network.head_filters

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.global_pool(self.network.forward_features(images))


def weak(task: Task) -> transforms.Compose:
    """Shifted, and mirrored where the task allows it; a tensor."""
    flip = [transforms.RandomHorizontalFlip()] if task.flip else []
    return transforms.Compose([transforms.RandomCrop(28, padding=4), *flip, *_tensor()])


def strong(task: Task, config: str = "rand-m10-n2") -> transforms.Compose:
    """As `weak`, after two operations of timm's RandAugment."""
    flip = [transforms.RandomHorizontalFlip()] if task.flip else []
    randaugment = rand_augment_transform(config, {"translate_const": 8, "img_mean": (0, 0, 0)})
    return transforms.Compose([transforms.RandomCrop(28, padding=4), *flip, randaugment, *_tensor()])


def _tensor() -> list:
    return [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]


class Pictures(Dataset):
    """(transformed image, label) of arrays; the label is -1 where there are none."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None, transform):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        label = -1 if self.labels is None else int(self.labels[index])
        return self.transform(transforms.functional.to_pil_image(self.images[index])), label


def endless(dataset: Dataset, batch_size: int, steps: int, seed: int) -> DataLoader:
    """So many random batches of a data set."""
    generator = torch.Generator().manual_seed(seed)
    sampler = RandomSampler(dataset, replacement=False, num_samples=batch_size * steps, generator=generator)
    return DataLoader(dataset, batch_size, sampler=sampler, drop_last=True)


def predict(logits_of, images: Images) -> np.ndarray:
    """Answers to the test images, int64 [N]; `logits_of` takes a batch of tensors."""
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    parts = []
    with torch.inference_mode():
        for begin in range(0, len(images["test_images"]), 500):
            batch = torch.from_numpy(images["test_images"][begin : begin + 500]).permute(0, 3, 1, 2) / 255
            parts.append(logits_of((batch - mean) / std).argmax(1).numpy())
    return np.concatenate(parts)
