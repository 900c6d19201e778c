"""scikit-learn on the pixels: classifiers of the labeled images, and its self-training on all. No network, seconds.

Of unlabeled images it takes 5,000 at most: a kernel of 60,000 would take hours.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from benchmarks.peers.task import Images, Task, accuracy, read, report, timed

MOST = 5_000
NONE = -1  # scikit-learn's for an image without a label


def methods(seed: int) -> dict:
    """{name: (classifier, whether it also takes unlabeled images)}."""
    # Pixels as they are: scaled one by one, those that are black in most images would count most.
    # Its own probabilities: those of CalibratedClassifierCV hardly reach 0.75 with ten labels of a class.
    svm = lambda **options: SVC(C=10, random_state=seed, **options)
    logistic = lambda: LogisticRegression(max_iter=500)
    return {
        "SVM on pixels": (svm(), False),
        "self-training, SVM on pixels": (SelfTrainingClassifier(svm(probability=True), threshold=0.75), True),
        "logistic regression on pixels": (logistic(), False),
        "self-training, logistic regression": (SelfTrainingClassifier(logistic(), threshold=0.8), True),
        "label spreading on pixels": (LabelSpreading(kernel="knn", n_neighbors=7), True),
    }


def pixels(images: np.ndarray) -> np.ndarray:
    """One channel in [0, 1], float32 [N, pixels]."""
    return images[..., 0].reshape(len(images), -1).astype(np.float32) / 255


def run(task: Task, images: Images) -> None:
    labeled, labels, test = pixels(images["labeled_images"]), images["labeled_labels"], pixels(images["test_images"])
    chosen = np.random.default_rng(task.seed).permutation(len(images["unlabeled_images"]))[:MOST]
    both = np.concatenate([labeled, pixels(images["unlabeled_images"][chosen])])
    known = np.concatenate([labels, np.full(len(chosen), NONE)])
    for name, (classifier, takes_all) in methods(task.seed).items():
        data = (both, known) if takes_all else (labeled, labels)
        _, seconds = timed(lambda classifier=classifier, data=data: classifier.fit(*data))
        report(name, accuracy(classifier.predict(test), images), seconds, 0)


if __name__ == "__main__":
    run(*read(Path(sys.argv[1])))
