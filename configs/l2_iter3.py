"""EfficientNet-L2, iteration 3 of the paper: its teacher is the model of l2_iter2.

  python -m ns_jax.main --config=configs/l2_iter3.py --workdir=DIR \\
    --config.teacher=TEACHER/model --config.data.unlabeled=folder:IMAGES --config.selection_from=SELECTION

Meant for a TPU v3-2048 (2048 cores; 6 days at ratio 14 in the paper). Paper: 88.4 (top-5 98.7) (Table 7). 2048
labeled and 57,344 unlabeled images a step; the labeled batch that the paper used for L2 is not known, it says that
512 to 2048 give the same accuracy. The loss is the official code's; ':paper_loss'
after the file name takes that of the paper's text (configs/imagenet.py).
"""

from ns_jax.configs import imagenet


def get_config(form: str = "official_loss"):
    c = imagenet.l2("l2_iter2/finetune/model", ratio=28, form=form)
    c.paper_row = "7/iteration 3"
    return c
