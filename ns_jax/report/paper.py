"""The figures of the paper (arXiv 1911.04252), by table, in the numbering of version 4.

Sources: the PDF of v4 without its appendix, and the tables and vector figures of v1. What neither
shows comes from notes on the appendix, the official code's README, or memory; the tag says which.
"""

import dataclasses

MARKS = {"V": "", "D": "*", "R": "?"}
TAGS = {
    "V": "read in a source",
    "D": "derived, as by measuring a vector plot",
    "R": "recalled, not verified in any source",
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure as the paper prints it, and its tag: 'V', 'D' or 'R' of TAGS."""

    text: str
    tag: str

    def __str__(self) -> str:
        return self.text + MARKS[self.tag]


@dataclasses.dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
      labels: the cells that say what the row is.
      figures: the paper's; None where it has none.
      key: `paper_row` of a run that reproduces the row; None where no run can. Tables that show the
        same experiment share its key.
    """

    labels: tuple[str, ...]
    figures: tuple[Figure | None, ...]
    key: str | None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table or a figure of the paper.

    Attributes:
      name: as the command takes it.
      title: what it shows.
      where: its numbers in the versions of the paper.
      labels: heading of `Row.labels`.
      figures: heading of `Row.figures`.
      rows: in the paper's order.
      ours: heading of this project's column, '' for a table without results.
      notes: below the table.
    """

    name: str
    title: str
    where: str
    labels: tuple[str, ...]
    figures: tuple[str, ...]
    rows: tuple[Row, ...]
    ours: str = "ours: top-1 %"
    notes: tuple[str, ...] = ()


def _figure(text: str) -> Figure | None:
    """'78.1' is verified, '78.1*' derived, '78.1?' recalled, '-' nothing."""
    for tag in ("D", "R"):
        if text.endswith(MARKS[tag]):
            return Figure(text[:-1], tag)
    return None if text == "-" else Figure(text, "V")


def _row(*labels: str, of: str, key: str | None = None) -> Row:
    return Row(labels, tuple(map(_figure, of.split())), key)


def supervised(model: str) -> str:
    """The key of an EfficientNet trained on labeled ImageNet, which many tables show as the baseline."""
    return f"9/efficientnet-{model} supervised"


TOP1, TOP1_TOP5 = ("top-1 %",), ("top-1 %", "top-5 %")
NOT_MEASURED = "No run of this project measures this yet."

SUMMARY = Table(
    "1", "Summary", "v1 and v4 Table 1", ("method",),
    ("ImageNet top-1 %", "ImageNet-A top-1 %", "ImageNet-C mCE", "ImageNet-P mFR"),
    (_row("previous best", of="86.4 61.0 45.7 27.8"),
     _row("Noisy Student (L2)", of="88.4 83.7 28.3 12.2", key="7/iteration 3")),
    ours="ours: ImageNet top-1 %",
    notes=("v1 has 16.6 as the previous best on ImageNet-A, and Noisy Student 87.4, 74.2, 31.2, 16.1.",),
)  # fmt: skip

TAGGED_IMAGES = "3.5B tagged images"
IMAGENET = Table(
    "2", "ImageNet", "v1 and v4 Table 2", ("method", "parameters", "extra data"), TOP1_TOP5,
    (_row("ResNet-50", "26M", "-", of="76.0 93.0"),
     _row("ResNet-152", "60M", "-", of="77.8 93.8"),
     _row("DenseNet-264", "34M", "-", of="77.9 93.9"),
     _row("Inception-v3", "24M", "-", of="78.8 94.4"),
     _row("Xception", "23M", "-", of="79.0 94.5"),
     _row("Inception-v4", "48M", "-", of="80.0 95.0"),
     _row("Inception-resnet-v2", "56M", "-", of="80.1 95.1"),
     _row("ResNeXt-101", "84M", "-", of="80.9 95.6"),
     _row("PolyNet", "92M", "-", of="81.3 95.8"),
     _row("SENet", "146M", "-", of="82.7 96.2"),
     _row("NASNet-A", "89M", "-", of="82.7 96.2"),
     _row("AmoebaNet-A", "87M", "-", of="82.8 96.1"),
     _row("PNASNet", "86M", "-", of="82.9 96.2"),
     _row("AmoebaNet-C", "155M", "-", of="83.5 96.5"),
     _row("GPipe", "557M", "-", of="84.3 97.0"),
     _row("EfficientNet-B7", "66M", "-", of="85.0 97.2", key=supervised("b7")),
     _row("EfficientNet-L2", "480M", "-", of="85.5 97.5", key="2/efficientnet-l2 supervised"),
     _row("ResNet-50 Billion-scale", "26M", TAGGED_IMAGES, of="81.2 96.0"),
     _row("ResNeXt-101 Billion-scale", "193M", TAGGED_IMAGES, of="84.8 -"),
     _row("ResNeXt-101 WSL", "829M", TAGGED_IMAGES, of="85.4 97.6"),
     _row("FixRes ResNeXt-101 WSL", "829M", TAGGED_IMAGES, of="86.4 98.0"),
     _row("BiT-L", "928M", "300M weakly labeled JFT", of="87.5 98.5"),
     _row("Noisy Student (L2)", "480M", "300M unlabeled JFT", of="88.4 98.7", key="7/iteration 3")),
    notes=("v1 has Noisy Student 87.4 / 98.2, and no BiT-L.",),
)  # fmt: skip

IMAGENET_A = Table(
    "3", "ImageNet-A", "v1 and v4 Table 3", ("method",), TOP1_TOP5,
    (_row("ResNet-101", of="4.7 -"),
     _row("ResNeXt-101 32x4d", of="5.9 -"),
     _row("ResNet-152", of="6.1 -"),
     _row("ResNeXt-101 64x4d", of="7.3 -"),
     _row("DPN-98", of="9.4 -"),
     _row("ResNeXt-101+SE 32x4d", of="14.2 -"),
     _row("ResNeXt-101 WSL", of="61.0 -"),
     _row("EfficientNet-L2", of="49.6 78.6"),
     _row("Noisy Student (L2)", of="83.7 95.2")),
    notes=("v1 has ResNeXt-101 WSL 16.6, and Noisy Student 74.2 / 91.3.", NOT_MEASURED),
)  # fmt: skip

IMAGENET_C = Table(
    "4", "ImageNet-C", "v1 and v4 Table 4", ("method", "images, px"), ("top-1 %", "mCE"),
    (_row("ResNet-50", "224", of="39.0 76.7"),
     _row("SIN", "224", of="45.2 69.3"),
     _row("Patch Gaussian", "299", of="52.3 60.4"),
     _row("ResNeXt-101 WSL", "224", of="- 45.7"),
     _row("EfficientNet-L2", "224", of="62.6 47.5"),
     _row("Noisy Student (L2)", "224", of="76.5 30.0"),
     _row("EfficientNet-L2", "299", of="66.6 42.5"),
     _row("Noisy Student (L2)", "299", of="77.8 28.3")),
    ours="ours: mCE",
    notes=("v1 has Noisy Student 72.8 / 34.7 at 224 px and 75.5 / 31.2 at 299 px.", NOT_MEASURED),
)  # fmt: skip

IMAGENET_P = Table(
    "5", "ImageNet-P", "v1 and v4 Table 5", ("method", "images, px"), ("top-1 %", "mFR"),
    (_row("ResNet-50", "224", of="- 58.0"),
     _row("Low Pass Filter Pooling", "224", of="- 51.2"),
     _row("ResNeXt-101 WSL", "224", of="- 27.8"),
     _row("EfficientNet-L2", "224", of="80.4 27.2"),
     _row("Noisy Student (L2)", "224", of="85.2 14.2"),
     _row("EfficientNet-L2", "299", of="81.6 23.7"),
     _row("Noisy Student (L2)", "299", of="86.4 12.2")),
    ours="ours: mFR",
    notes=("v1 has Noisy Student 83.1 / 17.8 at 224 px and 84.3 / 16.1 at 299 px.", NOT_MEASURED),
)  # fmt: skip

NOISE = Table(
    "6", "Noise, EfficientNet-B5 as teacher and student", "v1 and v4 Table 6",
    ("unlabeled images", "training"), TOP1,
    (_row("1.3M", "EfficientNet-B5", of="83.3", key="6/1.3M_teacher"),
     _row("1.3M", "Noisy Student (B5)", of="83.9", key="6/1.3M_noised"),
     _row("1.3M", "student without augmentation", of="83.6", key="6/1.3M_no_aug"),
     _row("1.3M", "student without augmentation, stochastic depth, dropout", of="83.2", key="6/1.3M_no_noise"),
     _row("1.3M", "teacher with augmentation, stochastic depth, dropout", of="83.7", key="6/1.3M_noised_teacher"),
     _row("130M", "EfficientNet-B5", of="84.0", key=supervised("b5")),
     _row("130M", "Noisy Student (B5)", of="85.1", key="6/noised"),
     _row("130M", "student without augmentation", of="84.6", key="6/no_aug"),
     _row("130M", "student without augmentation, stochastic depth, dropout", of="84.3", key="6/no_noise"),
     _row("130M", "teacher with augmentation, stochastic depth, dropout", of="84.4", key="6/noised_teacher")),
    notes=("Noise is taken away for unlabeled images only. 1.3M: crop and flip; 130M: RandAugment.",
           "v1 has 84.9 for Noisy Student with 130M, and no noised teacher."),
)  # fmt: skip

ITERATIVE = Table(
    "7", "Iterative training", "v4 Table 7; in v1 in the text only",
    ("iteration", "model", "teacher", "unlabeled : labeled"), TOP1,
    (_row("1", "EfficientNet-L2", "EfficientNet-B7", "14:1", of="87.6", key="7/iteration 1"),
     _row("2", "EfficientNet-L2", "iteration 1", "14:1", of="88.1", key="7/iteration 2"),
     _row("3", "EfficientNet-L2", "iteration 2", "28:1", of="88.4", key="7/iteration 3")),
    notes=("v1 has another chain: B7, B7, L0, L1, L2, L2, all at 3:1, which ends at 87.4.",),
)  # fmt: skip

ARCHITECTURES = Table(
    "8", "Architectures", "v1 Table 7; v4 Table 8", ("model",),
    ("width", "depth", "train px", "test px", "parameters", "counted", "blocks", "stem", "head"),
    (_row("EfficientNet-B7", of="2.0 3.1 600 600 66M 66.35M* 55* 64* 2560*"),
     _row("EfficientNet-L0", of="2.8 3.7 380 600 140M 140.76M* 63* 88* 3584*"),
     _row("EfficientNet-L1", of="3.9 3.7 380 600 273M 272.63M* 63* 128* 4992*"),
     _row("EfficientNet-L2", of="4.3 5.3 475 800 480M 480.31M* 88* 136* 5504*")),
    ours="",
    notes=("Figures of v1; v4 shows B7 and L2 only (not verified). Stem and head are numbers of filters.",),
)  # fmt: skip

#        parameters; top-1 and top-5 supervised, taught by an equal model, taught by L2
MODELS = {
    "B0": ("5.3M", "77.3 93.4", "78.1 94.2?", "78.8 94.5?"),
    "B1": ("7.8M", "79.2 94.4", "80.2* 95.2?", "81.5 95.8?"),
    "B2": ("9.2M", "80.0 94.9", "81.1 95.5?", "82.4 96.3?"),
    "B3": ("12M", "81.7 95.7", "82.5* 96.4?", "84.1 96.9?"),
    "B4": ("19M", "83.2 96.4", "84.4* 97.0?", "85.3 97.5?"),
    "B5": ("30M", "84.0 96.8", "85.1 97.3?", "86.1 97.8?"),
    "B6": ("43M", "84.5 97.0", "85.9* 97.6?", "86.4 97.9?"),
    "B7": ("66M", "85.0 97.2", "86.4 97.9?", "86.9 98.1?"),
}
TRAININGS = {
    "supervised": "supervised, RandAugment",
    "same_teacher": "Noisy Student, equal teacher",
    "l2_teacher": "Noisy Student, L2 as teacher",
}
PER_MODEL = Table(
    "9", "Every size, taught by an equal model and by L2", "v1 Table 9; v4 Table 9 (number not verified), Figure 2",
    ("model", "parameters", "training"), TOP1_TOP5,
    tuple(_row(f"EfficientNet-{model}", parameters, text, of=of, key=f"9/efficientnet-{model.lower()} {training}")
          for model, (parameters, *figures) in MODELS.items()
          for (training, text), of in zip(TRAININGS.items(), figures, strict=True)),
    notes=("Equal teacher: top-1 of B0, B2, B5 and B7 is printed in Figure 2, the others are its plot's.",
           "L2 as teacher: top-1 is that of the released checkpoints. v1 has 79.0 for B0 there, from an L2 of 87.4."),
)  # fmt: skip

AMOUNT = Table(
    "10", "Amount of unlabeled images, EfficientNet-B4 as teacher and student",
    "v1 Table 8; v4 Table 10 (number not verified)", ("share of the 130M images",), TOP1,
    (_row("none (supervised)", of="83.2", key=supervised("b4")),
     _row("1/128", of="83.4", key="10/1/128"),
     _row("1/64", of="83.3", key="10/1/64"),
     _row("1/32", of="83.7", key="10/1/32"),
     _row("1/16", of="83.9", key="10/1/16"),
     _row("1/4", of="83.8", key="10/1/4"),
     _row("1", of="84.0", key="10/1")),
    notes=("Figures of v1; that v4 has the same is not verified.",),
)  # fmt: skip

LARGER_STUDENT = Table(
    "11", "A larger student", "v4 Table 11 (number not verified)", ("teacher", "student"),
    ("teacher's top-1 %", "student's top-1 %"),
    (_row("B0", "B0", of="77.3 77.9", key="11/b0_b0"),
     _row("B0", "B1", of="77.3 79.5", key="11/b0_b1"),
     _row("B2", "B2", of="80.0 80.7", key="11/b2_b2"),
     _row("B2", "B3", of="80.0 82.0", key="11/b2_b3"),
     _row("B4", "B4", of="83.2 84.0", key="11/b4_b4"),
     _row("B4", "B5", of="83.2 84.7", key="11/b4_b5"),
     _row("B7", "B7", of="86.9 86.9", key="11/b7_b7"),
     _row("B7", "L2", of="86.9 87.2", key="11/b7_l2")),
    notes=("The teacher B7 was a noisy student itself, and L2 saw 3:1 unlabeled images, B7 7:1 (not verified).",),
)  # fmt: skip


def _of_b0(model: str, row: str) -> str:
    """Rows of B0 have short keys: the ablations' configs are for B0."""
    return row if model == "B0" else f"{model.lower()}_{row}"


SMALL_MODELS = ("B0", "B1", "B2", "B3")
BALANCING = Table(
    "12", "Balancing of the classes", "v4 Table 12 (number not verified)", ("model", "training"), TOP1,
    tuple(_row(f"EfficientNet-{model}", text, of=of, key=f"12/{_of_b0(model, row)}")
          for row, text, figures in (("balanced", "Noisy Student", "77.9? 79.9? 80.7? 82.1?"),
                                     ("unbalanced", "without balancing", "77.6? 79.6? 80.6? 82.1?"))
          for model, of in zip(SMALL_MODELS, figures.split(), strict=True)),
    notes=("Verified is only the finding: it helps small models, larger ones less.",),
)  # fmt: skip

JOINT = Table(
    "13", "Joint training against pre-training and fine-tuning", "v4 Table 13", ("model", "training"), TOP1,
    tuple(_row(f"EfficientNet-{model}", text, of=of,
               key=f"13/{_of_b0(model, row)}" if row else supervised(model.lower()))
          for row, text, figures in (("", "supervised", "77.3 79.2 80.0 81.7"),
                                     ("pretrain", "pre-training", "72.6 75.1 75.9 76.5"),
                                     ("pretrain_finetune", "pre-training and fine-tuning", "77.5 79.4 80.3 81.7"),
                                     ("joint", "joint training", "77.9 79.9 80.7 82.1"))
          for model, of in zip(SMALL_MODELS, figures.split(), strict=True)),
    notes=("350 epochs. The steps of fine-tuning were varied and the best is reported.",),
)  # fmt: skip

RATIO = Table(
    "14", "Ratio of unlabeled to labeled images in a step", "v4 Table 14 (number not verified)",
    ("teacher", "unlabeled : labeled"), ("teacher's top-1 %", "student's top-1 %"),
    (_row("B4", "1:1", of="83.2? 84.0?", key="14/1"),
     _row("B4", "3:1", of="83.2? 84.4?", key="14/3"),
     _row("L2", "1:1", of="87.0? 86.7?", key="14/l2_87.0_1"),
     _row("L2", "3:1", of="87.0? 87.4?", key="14/l2_87.0_3"),
     _row("L2", "3:1", of="87.4? 87.4?", key="14/l2_87.4_3"),
     _row("L2", "6:1", of="87.4? 87.9?", key="14/l2_87.4_6")),
)  # fmt: skip

WARM_START = Table(
    "15", "Warm start, EfficientNet-B0 as teacher and student", "v4 Table 15", ("student starts from", "epochs"), TOP1,
    (_row("(supervised)", "-", of="77.3", key=supervised("b0")),
     _row("teacher", "35", of="77.4", key="15/warm_35"),
     _row("teacher", "70", of="77.5", key="15/warm_70"),
     _row("teacher", "140", of="77.7", key="15/warm_140"),
     _row("teacher", "280", of="77.8", key="15/warm_280"),
     _row("random weights", "350", of="77.9", key="15/scratch_350")),
)  # fmt: skip

RESNET = Table(
    "16", "ResNet-50", "v4 Table 16", ("training",), TOP1_TOP5,
    (_row("supervised", of="77.6 93.8", key="16/teacher"),
     _row("Noisy Student", of="78.9 94.3", key="16/student")),
)  # fmt: skip

SVHN = Table(
    "17", "SVHN, EfficientNet-B0", "v4 Table 17 (number not verified)", ("training",),
    ("paper's top-1 %", "official code's top-1 %"),
    (_row("supervised", of="98.1? 97.9", key="17/teacher"),
     _row("Noisy Student", of="- 98.6", key="17/student")),
    notes=("The official code's are those of its README, which expects 98.6 +- 0.1.",),
)  # fmt: skip

EPSILONS = ("0", "2", "4", "8", "16")
FGSM = Table(
    "fgsm", "Adversarial attacks, EfficientNet-L2 at 800 px", "v4 Figure 4, v1 Figure 3; PGD in the text",
    ("attack", "epsilon", "model"), TOP1,
    (*(_row("FGSM, 1 step", epsilon, model, of=of)
       for model, figures in (("EfficientNet-L2", "85.5* 68.3* 64.6* 62.3* 59.7*"),
                              ("Noisy Student (L2)", "88.4* 80.0* 77.8* 76.4* 74.7*"))
       for epsilon, of in zip(EPSILONS, figures.split(), strict=True)),
     _row("PGD, 10 iterations", "16", "EfficientNet-L2", of="1.1"),
     _row("PGD, 10 iterations", "16", "Noisy Student (L2)", of="4.4")),
    notes=("FGSM is read from the plot, to +-0.05. v1 has Noisy Student 87.4*, 77.0*, 74.3*, 71.9*, 70.2*; PGD 1.6.",
           NOT_MEASURED),
)  # fmt: skip

SOFT_HARD = Table(
    "soft_hard", "Soft and hard pseudo-labels by confidence, EfficientNet-B0 as teacher and student",
    "v1 Figure 4; v4 Figure 5 (number not verified)", ("pseudo-labels", "confidence"), TOP1,
    (_row("(supervised)", "-", of="77.30*", key=supervised("b0")),
     *(_row(kind, f"{tenth / 10} to {(tenth + 1) / 10}", of=of, key=f"soft_hard/{kind}_{tenth / 10}")
       for kind, figures in (
           ("soft", "77.52* 77.65* 77.72* 77.82* 77.70* 77.90* 77.81* 77.98* 77.97* 78.05*"),
           ("hard", "75.75* 75.98* 76.28* 76.82* 76.93* 77.10* 77.34* 77.67* 77.96* 77.92*"))
       for tenth, of in enumerate(figures.split()))),
    notes=("Read from the plot of v1, to +-0.02; v4's has not been read.",),
)  # fmt: skip

TABLES = {table.name: table for table in (
    SUMMARY, IMAGENET, IMAGENET_A, IMAGENET_C, IMAGENET_P, NOISE, ITERATIVE, ARCHITECTURES, PER_MODEL, AMOUNT,
    LARGER_STUDENT, BALANCING, JOINT, RATIO, WARM_START, RESNET, SVHN, FGSM, SOFT_HARD)}  # fmt: skip
