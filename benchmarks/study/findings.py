"""The paper's findings as comparisons of rows of its ablations, on the study set.

Numbers 1 to 8 are the paper's (version 4, section 4.3). A figure of the paper with a question mark is recalled, not
verified.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A claim that one row is better than another.

    Attributes:
      title: what is compared.
      better, worse: EXPERIMENT:ROW of configs/; with '@teacher' at the end the teacher of that run is meant.
      paper: the difference in the paper, in points of top-1.
    """

    title: str
    better: str
    worse: str
    paper: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """One of the paper's findings.

    Attributes:
      name: '1' to '8', or a word: as --finding takes it.
      title: what the paper says.
      contrasts: the first decides.
      rows: further ones that are shown.
    """

    name: str
    title: str
    contrasts: tuple[Contrast, ...]
    rows: tuple[str, ...] = ()

    @property
    def deciding_rows(self) -> list[str]:
        """The rows of the comparison that decides."""
        return [self.contrasts[0].worse, self.contrasts[0].better]

    @property
    def all_rows(self) -> list[str]:
        """All rows, each once, in order."""
        compared = [row for contrast in self.contrasts for row in (contrast.worse, contrast.better)]
        return list(dict.fromkeys([*compared, *self.rows]))


FINDINGS = (
    Finding(
        "method",
        "A noisy student is better than its teacher",
        (
            Contrast("student, teacher", "ablation_iterations:1", "ablation_iterations:1@teacher", "+0.8"),
            Contrast("student, supervised control", "ablation_iterations:1", "ablation_iterations:control", "-"),
        ),
    ),
    Finding(
        "1",
        "A larger teacher gives a better student",
        (Contrast("larger, equal", "ablation_larger_teacher:larger", "ablation_larger_teacher:same", "+0.5 to +1.6"),),
        ("ablation_larger_teacher:larger@teacher",),
    ),
    Finding(
        "2",
        "More unlabeled images are better",
        (
            Contrast("all, 1/64", "ablation_amount:1", "ablation_amount:1/64", "+0.7"),
            Contrast("all, 1/16", "ablation_amount:1", "ablation_amount:1/16", "+0.1"),
        ),
        ("ablation_amount:1/4",),
    ),
    Finding(
        "3",
        "Soft pseudo-labels are better where images are out of domain",
        (
            Contrast("soft, hard: sure by 0.3", "ablation_soft_hard:soft_0.3", "ablation_soft_hard:hard_0.3", "+1.0"),
            Contrast("soft, hard: sure by 0.9", "ablation_soft_hard:soft_0.9", "ablation_soft_hard:hard_0.9", "+0.1"),
            Contrast("soft, hard: half are digits", "ablation_domain:digits_soft", "ablation_domain:digits_hard", ">"),
            Contrast("soft, hard: half is noise", "ablation_domain:noise_soft", "ablation_domain:noise_hard", ">"),
            Contrast(
                "soft, hard: all in domain", "ablation_domain:in_domain_soft", "ablation_domain:in_domain_hard", "="
            ),
        ),
    ),
    Finding(
        "4",
        "A larger student is better",
        (Contrast("larger, equal", "ablation_larger_student:b0_b1", "ablation_larger_student:b0_b0", "+1.6"),),
    ),
    Finding(
        "5",
        "Balancing the classes helps",
        (Contrast("balanced, not", "ablation_balancing:balanced", "ablation_balancing:unbalanced", "+0.3?"),),
    ),
    Finding(
        "6",
        "Joint training is better than pre-training and fine-tuning",
        (Contrast("joint, fine-tuned", "ablation_joint:joint", "ablation_joint:pretrain_finetune", "+0.4"),),
    ),
    Finding(
        "7",
        "A large ratio of unlabeled to labeled images is better",
        (
            Contrast("14:1, 1:1", "ablation_ratio:14", "ablation_ratio:1", ">"),
            Contrast("3:1, 1:1", "ablation_ratio:3", "ablation_ratio:1", "+0.4?"),
        ),
        ("ablation_ratio:6",),
    ),
    Finding(
        "8",
        "A student from scratch is better than one that starts from its teacher",
        (
            Contrast(
                "scratch, warm: 40 %", "ablation_warm_start:scratch_350", "ablation_warm_start:warm_140", "+0.2"
            ),
            Contrast("scratch, warm: 80 %", "ablation_warm_start:scratch_350", "ablation_warm_start:warm_280", "+0.1"),
        ),
    ),
    Finding(
        "noise",
        "The student's noise helps, the teacher's does not",
        (
            Contrast("noised, no noise", "ablation_noise:noised", "ablation_noise:no_noise_clean", "+0.8"),
            Contrast("noised, no augmentation", "ablation_noise:noised", "ablation_noise:no_aug_clean", "+0.5"),
            Contrast("clean teacher, noised", "ablation_noise:noised", "ablation_noise:noised_teacher", "+0.7"),
        ),
    ),
    Finding(
        "iterations",
        "Later iterations are better",
        (
            Contrast("third, first", "ablation_iterations:3", "ablation_iterations:1", "+0.8"),
            Contrast("second, first", "ablation_iterations:2", "ablation_iterations:1", "+0.5"),
        ),
    ),
)  # fmt: skip
BY_NAME = {finding.name: finding for finding in FINDINGS}
