"""Where an iteration keeps what it makes."""

import dataclasses

from etils import epath


@dataclasses.dataclass(frozen=True)
class IterationPaths:
    """Folders and files of one iteration.

    Attributes:
      root: the run's workdir.
      folder: of this iteration; the workdir itself where the config has no chain.
    """

    root: epath.Path
    folder: epath.Path

    @property
    def labels(self) -> epath.Path:
        """Pseudo-labels, one file a shard, and their manifest."""
        return self.folder / "labels"

    @property
    def selection(self) -> epath.Path:
        """How often each pseudo-labeled example is trained on."""
        return self.folder / "selection"

    @property
    def checkpoints(self) -> epath.Path:
        return self.folder / "checkpoints"

    @property
    def logs(self) -> epath.Path:
        """TensorBoard event files and profiles."""
        return self.folder / "logs"

    @property
    def model(self) -> epath.Path:
        """Artifact of the model written by the train stage."""
        return self.folder / "model"

    @property
    def finetune(self) -> "IterationPaths":
        """The same for fine-tuning, which is a training of its own."""
        return IterationPaths(self.root, self.folder / "finetune")

    def evaluation(self, name: str) -> epath.Path:
        """Result of the evaluation called `name`."""
        return self.folder / "evaluations" / f"{name}.json"

    def evaluation_parts(self, name: str) -> epath.Path:
        """Folder of the parts of the evaluation called `name`, if it is made in parts."""
        return self.folder / "evaluations" / f"{name}.parts"

    def predictions(self, name: str) -> epath.Path:
        """Predictions of the evaluation called `name`, image by image."""
        return self.folder / "evaluations" / f"{name}.npz"

    def data_record(self, field: str) -> epath.Path:
        """What data.`field` held when the iteration began."""
        return self.folder / "data" / f"{field}.json"

    @property
    def data_cache(self) -> epath.Path:
        """What was learned about data sets, for all iterations."""
        return self.root / "data"
