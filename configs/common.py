"""Every field of an experiment, documented once. An experiment overrides what differs.

Durations carry their unit. An epoch is one pass over the *labeled* images, as in the paper.
`None` means: the value of the model's row in `ns_jax/models/variants.py`.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The defaults: the paper's recipe (ImageNet) without a data set."""
    c = ConfigDict()
    c.seed = 0
    c.paper_row = ""  # 'TABLE/ROW' of the paper that this run reproduces; nothing depends on it
    c.stages = ("label", "select", "train", "finetune", "evaluate")  # of one iteration, in this order

    # --- Model ------------------------------------------------------------------------------
    c.variant = "efficientnet-b0"  # a row of ns_jax/models/variants.py
    c.dtype = "bfloat16"  # of the computation: 'bfloat16' or 'float32'; parameters are float32
    # Where training starts: '' (random weights), 'teacher', or any model that ns_jax.load opens. The
    # classifier is new where the classes are others.
    c.init_from = ""
    c.frozen_blocks = 0  # the stem and so many blocks keep what they started from; 0: all is trained
    c.bn_group_size = 0  # devices that share batch norm statistics; 0: all of them

    # --- Data: a source is 'mnist5k:SPLIT', 'folder:PATH' or 'tfds:NAME/SPLIT' -----------------
    c.data = data = ConfigDict()
    data.labeled = ""
    data.unlabeled = ""  # empty: supervised training, no label and select stage
    data.test = ""
    data.dir = ""  # where TFDS looks for and keeps its data sets; empty: its own default
    data.max_broken_fraction = 0.0  # undecodable images that may be skipped (folders)

    # --- Preprocessing ------------------------------------------------------------------------
    c.resolution = config_dict.placeholder(int)  # training, pixels
    c.test_resolution = config_dict.placeholder(int)  # labelling and evaluation, pixels
    c.crop = "random_area"  # 'random_area' (ImageNet), 'pad4' (reflect pad 4, crop), 'none'
    c.flip = True  # horizontal, with probability 1/2
    c.cutout_size = 0  # side in pixels of one square cut out after RandAugment; 0: none

    # --- Noise of the student -----------------------------------------------------------------
    c.noise = noise = ConfigDict()
    noise.dropout_rate = config_dict.placeholder(float)
    noise.stochastic_depth_rate = 0.2  # drop rate approached at the last block (survival 0.8)
    noise.randaugment_ops = 2  # operations per image; 0: no RandAugment
    noise.randaugment_magnitude = 27.0  # 10 is the nominal maximum; beyond it extrapolates
    noise.randaugment_exclude = ()  # names of operations to leave out
    noise.randaugment_form = "reference"  # 'reference' (the official code, bug for bug) or 'pillow' (Pillow's results)

    noise.augment_unlabeled = True  # False: pseudo-labeled images are the clean centre crop
    noise.model_noise_unlabeled = True  # False: no dropout and stochastic depth for pseudo-labeled images
    noise.teacher = False  # True: pseudo-labels are made from noised images by a noised teacher (ablation)

    # --- Training -----------------------------------------------------------------------------
    c.labeled_batch_size = 2048  # images per step, over all devices
    c.unlabeled_ratio = 0  # unlabeled images per labeled image in a step; 0 without data.unlabeled
    c.train_on = "both"  # 'both', or 'pseudo_labels' alone (to be fine-tuned on the labeled images)
    c.labeled_sample_prob = 1.0  # share of the labeled batch that counts, where devices outnumber it
    c.train_epochs = 350.0
    c.schedule_start_epoch = 0.0  # > 0 leaves out the beginning of the schedule
    c.base_learning_rate = 0.016  # per 256 labeled images: 0.128 at 2048
    c.warmup_epochs = 5.0  # linear
    c.decay_epochs = 2.4  # staircase: learning rate x decay_rate every so many epochs
    c.decay_rate = 0.97
    c.final_base_learning_rate = 0.0  # > 0 replaces decay_rate: end of the schedule, per 256
    c.weight_decay = 1e-5  # L2 in the loss, on everything that is not batch norm
    c.rmsprop_decay = 0.9
    c.rmsprop_momentum = 0.9
    c.rmsprop_epsilon = 1e-3  # inside the root
    c.ema_decay = 0.9999  # warmed up: min(decay, (1 + step) / (10 + step))

    # --- Loss ---------------------------------------------------------------------------------
    c.label_smoothing = 0.1  # of labels and of hard pseudo-labels
    c.pseudo_label = "soft"  # 'soft' or 'hard'
    c.temperature = 1.0  # of soft pseudo-labels: probs ** (1 / T), normalised
    c.loss_reduction = "paper"  # 'paper': mean over both batches; 'official': labeled + ratio * unlabeled

    # --- Pseudo-labels ------------------------------------------------------------------------
    c.teacher = ""  # folder of the teacher's model artifact; a chain fills it in by itself
    # True: the teacher labels each batch inside the training step (more arithmetic, nothing stored). Every
    # image is used: neither filter nor balance, no stages label and select.
    c.online_teacher = False
    c.eval_batch_size = 1024  # labelling and evaluation, over all devices
    c.label_shard_size = 10_000  # images per pseudo-label file
    c.min_confidence = 0.3  # keep pseudo-labels whose highest probability is above this
    c.max_confidence = 1.0  # and at most this
    c.unlabeled_fraction = 1.0  # share of the unlabeled images that is used, drawn at random
    c.images_per_class = 130_000  # keep the most confident; duplicate up to it; 0: no balancing

    # --- Fine-tuning, after training (FixRes): labeled images only, without pseudo-labels --------
    c.finetune = finetune = ConfigDict()
    finetune.epochs = 0.0  # 0: none
    finetune.resolution = config_dict.placeholder(int)  # not below that of training; of the result too
    finetune.augment = False  # False: clean centre crops
    finetune.frozen_blocks = 0
    finetune.base_learning_rate = 0.0  # > 0: a schedule of its own; 0: the end of the one before

    # --- Running ------------------------------------------------------------------------------
    c.log_every_steps = 100
    c.checkpoint_every_steps = 1000
    c.keep_checkpoints = 2
    c.compilation_cache_dir = ""  # empty: WORKDIR/compilation_cache

    # --- Large models and many devices --------------------------------------------------------
    c.parallel = parallel = ConfigDict()
    parallel.scan_blocks = False  # equal blocks as a loop: L2 compiles in minutes; noise is drawn differently
    parallel.remat = False  # keep each block's input only, compute the rest again in the backward pass
    parallel.shard_state = 1  # devices that share one copy of parameters, optimiser and EMA; 0: all of them
    parallel.accumulation_steps = 1  # parts of a batch, one after the other, each with batch norm of its own

    # --- Chain: one entry an iteration, in order of its key; each holds overrides of the above.
    # Each iteration's teacher is the model of the one before.
    c.chain = ConfigDict()
    return c.lock()
