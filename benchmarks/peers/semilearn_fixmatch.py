"""semilearn (USB): its FixMatch, or another of its algorithms with a weak and a strong view.

Its own algorithm, hooks, data sets and optimiser; the loop calls its hooks as its Trainer does, which needs CUDA. What
semilearn imports of packages for text, sound and trackers, none of which is used here, is replaced by empty modules.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch

from benchmarks.peers import networks
from benchmarks.peers.task import Images, Task, accuracy, read, report, timed

NOT_USED = ("transformers", "torchaudio", "wandb", "aim", "progress", "ruamel", "tqdm", "skimage")
EMA = 0.99  # of 1,600 steps its default of 0.999 leaves too much of the start


def stand_in() -> None:
    """Empty modules for what is not installed, and no way to CUDA."""
    for name in NOT_USED:
        if importlib.util.find_spec(name) is None:
            for module in (name, *(f"{name}.{part}" for part in ("bar", "models", "yaml", "transform"))):
                sys.modules[module] = mock.MagicMock()
    torch.Tensor.cuda = lambda self, *_, **__: self


class Backbone(networks.WithFeatures):
    """{logits, feat} of images, as semilearn's algorithms take them."""

    def forward(self, images: torch.Tensor) -> dict:
        features = self.features(images)
        return {"logits": self.network.classifier(features), "feat": features}


def run(task: Task, images: Images, algorithm_name: str = "fixmatch") -> None:
    stand_in()
    import semilearn

    networks.start(task)
    unlabeled_batch = task.labeled_batch * task.ratio
    passed = task.labeled_batch + 2 * unlabeled_batch  # two views
    steps = task.steps(passed)
    config = semilearn.get_config(
        {
            "algorithm": algorithm_name, "net": "small", "use_pretrain": False, "pretrain_path": None,
            "optim": "SGD", "lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4, "ema_m": EMA,
            "epoch": 1, "num_train_iter": steps, "num_eval_iter": steps, "num_log_iter": steps,
            "batch_size": task.labeled_batch, "uratio": task.ratio, "eval_batch_size": 500,
            "num_labels": len(images["labeled_labels"]), "num_classes": task.num_classes, "dataset": "none",
            "save_dir": tempfile.gettempdir(), "hard_label": True, "p_cutoff": 0.95, "T": 0.5, "ulb_loss_ratio": 1.0,
            "gpu": 0, "rank": 0, "world_size": 1, "distributed": False, "amp": False, "use_cat": True,
            "seed": task.seed,
        }
    )  # fmt: skip
    algorithm = semilearn.get_algorithm(config, lambda **_: Backbone(task), tb_log=None, logger=None)
    arguments = {"num_classes": task.num_classes, "transform": networks.weak(task)}
    labeled = semilearn.BasicDataset(
        algorithm_name, images["labeled_images"], images["labeled_labels"], is_ulb=False, **arguments
    )
    strong = {"strong_transform": networks.strong(task)}
    unlabeled = semilearn.BasicDataset(
        algorithm_name, images["unlabeled_images"], None, is_ulb=True, **arguments, **strong
    )

    def train() -> None:
        algorithm.model.train()
        algorithm.call_hook("before_run", "EMAHook")
        batches = (
            networks.endless(part, size, steps, task.seed)
            for part, size in ((labeled, task.labeled_batch), (unlabeled, unlabeled_batch))
        )
        for of_labeled, of_unlabeled in zip(*batches, strict=True):
            inputs = algorithm.process_batch(**of_labeled, **of_unlabeled)
            algorithm.out_dict, algorithm.log_dict = algorithm.train_step(**inputs)
            algorithm.call_hook("after_train_step", "ParamUpdateHook")
            algorithm.call_hook("after_train_step", "EMAHook")
            algorithm.it += 1

    _, seconds = timed(train)
    for name, model in (("raw", algorithm.model), ("EMA", algorithm.ema_model)):
        model.eval()
        answers = networks.predict(lambda batch, model=model: model(batch)["logits"], images)
        report(f"semilearn {algorithm_name}, {name} weights", accuracy(answers, images), seconds, steps * passed)


if __name__ == "__main__":
    run(*read(Path(sys.argv[1])))
