"""timm's EfficientNet in PyTorch, channels last, with timm's own RMSProp and EMA."""

import sys
from collections.abc import Callable

import numpy as np
import timm
import torch
from timm.models import efficientnet as efficientnet_models
from timm.models._efficientnet_builder import decode_arch_def
from timm.optim import RMSpropTF
from timm.utils import ModelEmaV3

from benchmarks.contest import serve
from benchmarks.contestants.task import Task


def build(task: Task) -> torch.nn.Module:
    """Returns the model of a task: by name where timm has it, else built from its blocks by timm's builder."""
    rates = {"drop_rate": 0.2, "drop_path_rate": 0.2} if task.mode == "training" else {}
    for name in (task.variant.replace("-", "_"), task.variant.replace("-", "")):  # as efficientnet_b0, resnet50
        if timm.is_model(name):
            return timm.create_model(name, num_classes=task.num_classes, **rates)
    return efficientnet_models.EfficientNet(
        decode_arch_def([[group] for group in task.blocks]),
        num_classes=task.num_classes,
        num_features=task.head_filters,
        stem_size=task.stem_filters,
        act_layer=torch.nn.SiLU,
        **rates,
    )


def narrow(task: Task) -> torch.autocast:
    """Automatic mixed precision, where the task is in bfloat16."""
    return torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in task.form)


def make_work(task: Task) -> Callable[[], object]:
    """Returns a function that trains or predicts one batch."""
    model = build(task).to(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    shape = (task.batch_size, 3, task.resolution, task.resolution)
    images = torch.from_numpy(rng.normal(size=shape).astype(np.float32)).to(memory_format=torch.channels_last)
    labels = torch.from_numpy(rng.integers(0, task.num_classes, task.batch_size))

    if task.mode == "inference":
        model.eval()
        run = torch.compile(model) if "compiled" in task.form else model

        def predict() -> np.ndarray:
            with torch.inference_mode(), narrow(task):
                return run(images).float().softmax(-1).numpy()

        return predict

    model.train()
    optimizer = RMSpropTF(model.parameters(), lr=0.001, alpha=0.9, momentum=0.9, eps=1e-3, weight_decay=1e-5)
    ema = ModelEmaV3(model, decay=0.9999)
    run = torch.compile(model) if "compiled" in task.form else model
    loss_fn = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

    def train() -> float:
        with narrow(task):
            loss = loss_fn(run(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(model)
        return loss.item()

    return train


def main(text: str) -> None:
    task = Task.from_text(text)
    torch.set_num_threads(task.threads)
    serve(make_work(task))


if __name__ == "__main__":
    main(sys.argv[1])
