"""Every key of a config, with its meaning. Config files start from `get_config()` and change what they need.

Any key can be set from the command line, `--config.optim.weight_decay=0.1`, and any key without a dot in the config's
argument too, `--config configs/finetune.py:model=resnet50,data=folder:DIR`.
"""

from __future__ import annotations

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()

    # The network and where it starts.
    c.model = "resnet20_cifar"  # a name of tl/models: resnet50, resnet20_cifar, mobilenet_v2_tf, ...
    c.model_args = {}  # arguments of the model, e.g. {"width": 8}
    c.weights = "known"  # known | bundled | none | file:F | run:W | hf:ORG/NAME | https://..#sha256=..; several: A+B
    c.combine = "soup"  # several weights: soup, their mean | with configs/evaluate.py: ensemble, the mean of their
    # predictions | interpolate: outputs f + interpolation * (g - f) of weights F+G
    c.interpolation = 0.0
    c.classifier = "auto"  # auto: kept where its shape fits | keep: must fit | replace: always new
    c.dtype = "float32"  # of the computation: float32 | bfloat16; parameters and statistics stay float32

    # The data and its splits: val is cut from train where there is none, and selection never sees test.
    c.data = "digits"  # digits | glyphs[:digits[-STYLE]] | npz:FILE | folder:DIR | tar:FILE[#DIR] | tfds:NAME[@DIR] |
    # tsv:FILE, sentences, of NAME_train.tsv with those beside it | csv:FILE | conll:FILE, a tag for every word |
    # kg:FILE, a knowledge graph for the model `triples` | features:FILE#NAME, vectors for the model `vectors` |
    # noise:SIZE,CLASSES,COUNT; A+B: several labelled domains, of which a batch holds equal parts
    c.target = ""  # data of the domain to adapt to, whose labels no loss and no default selection sees
    c.transductive = False  # True: target images are trained on (unlabelled) and tested on; False: its test set is new
    c.target_labels = 0  # k labelled images of each class of the target, one more domain to learn from
    c.classes = 0  # number of classes; 0: as the data says
    c.labels_per_class = 0  # training images kept per class, drawn by seed; 0: all
    c.unlabelled = False  # True: all training images are read without labels too, beside those of labels_per_class
    c.val_fraction = 0.1  # share of train cut for val where there is no val; of episodes of its classes
    c.fold = -1  # the fold of this run, counted from 0; set by folds
    c.folds = 0  # stratified k-fold over train and val: one run per fold
    c.nested = 0  # with variants: in each of folds they are compared by so many folds inside, the best is tested on it
    c.outer = ()  # (fold, folds) which is this run's test; set by nested
    c.increments = 0  # groups into which the classes are cut, or all domains of A+B: a stage learns each, from the last
    # one's weights
    c.increment = 0  # the group of this stage, counted from 1; set by increments
    c.exemplars = 0  # images of each class, drawn by seed, that later stages still have; 0: none (earlier: all)
    c.earlier = ""  # data that the weights have learnt, to go on from: tested beside the new, and kept for replay
    c.image_library = ""  # decodes and resizes; "": Pillow | opencv: an extra, faster, pixels differ a little
    c.episode = {
        "way": 0,  # classes of an episode; data is then cut by classes, and test asks for unseen ones; 0: no episodes
        "shot": 0,  # labelled images of each class
        "query": 0,  # images of each to be told apart
        "batch": 0,  # episodes of a training step; 0: training sees plain batches
        "train_way": 0,  # way, shot and query in training, where they are others
        "train_shot": 0,
        "train_query": 0,
        "count": 0,  # episodes of test; val has a tenth
        "classes": (),  # how many classes train, validate and test; (): the source's own, or 6 : 2 : 2
        "rotations": False,  # turned by a quarter an image is of another class
        "within": "",  # the classes of an episode share their name up to this, e.g. "/"; cuts are then of such kinds
        "test": "",  # omniglot_runs:FILE, in place of episodes of unseen classes
    }
    c.skip_broken = False  # leave broken images out instead of stopping at them

    # From image to input. 0 and () follow the weights' own preprocessing.
    c.image_size = 0  # pixels of the input
    c.resize = 0  # short side before the centre crop of image_size
    c.mean = ()  # per channel, in 0..1
    c.std = ()
    c.train_transforms = ()  # ((name of tl/data/transforms.py, {arguments}), ...); (): as in evaluation
    c.strong_transforms = ()  # of the streams NAME_strong: other views of the same images (FixMatch, AdaMatch)

    # From sentence to tokens.
    c.text = {
        "length": 0,  # tokens of each; 0: as the weights were trained, else so many that 99 of 100 sentences are whole,
        # and all where words have tags
        "vocabulary": "",  # a vocab.txt; "": the weights' own or the teacher's, else all words of training
    }

    # A classifier's rows for classes that it has not seen, of their places in the graph that is config.data, and what
    # they are worth on images, see tl/zero_shot.py.
    c.zero_shot = {
        "weights": "",  # the classifier's: file:F, ...; "": this is no such run
        "model": "",  # of these weights
        "names": "",  # a JSON list of the classes in order, as WordNet ids: n02219486 is the entity 02219486
        "seen": 0,  # classes drawn by seed whose rows are known; the other ones are test
        "unseen": (),  # entities that are never drawn
        "images": "",  # data whose classes are unseen ones
        "entities": {},  # class of that data -> its entity
    }

    # A knowledge graph beside images.
    c.graph = {
        "data": "",  # kg:FILE; "": none
        "entities": {},  # class -> its entity
        "mistakes": False,  # how far off mistakes are by its hierarchy: .../mistake_height, mistake_path, height
        "hops": 0,  # `fusion` learns the triples among entities so many steps from a class, and its ancestors
    }

    # What is predicted, and by which head.
    c.task = "classification"  # classification | binary | multi_label | regression | ranking, of a graph's entities |
    # retrieval, of a classifier's rows | tags, of words
    c.tasks = ()  # several learnt together, in its place: ((NAME, {"of": label, the data's own | domain, which of A+B
    # it is from | thickness | slant, measured on the image; "kind": of label, as task above; "data": the one of A+B it
    # is about, whose classes may be others; "layer": NAME of a bottleneck that tasks share}), ...); {} is label
    c.label_smoothing = 0.0
    c.class_weights = ""  # "balanced": n / (classes * count), a mean over the batch's weights; "": none
    c.head = {
        "pool": "gap",  # gap: pooled features | flatten: the last map as it is
        "hidden": (),  # widths of hidden layers
        "dropout": 0.0,
        "maps": (),  # names of the backbone's maps whose means it reads side by side; (): the last pooled ones
    }

    c.reduce = ""  # pca:N | random:N: fewer features of a frozen backbone, fitted on train, or as weights=run:W has it
    c.bottleneck = {
        "width": 0,  # of a layer between backbone and head, in which domains are compared; 0: none
        "norm": False,  # batch norm before its ReLU
        "dropout": 0.0,
    }

    c.teacher = {
        "weights": "",  # of the network to learn from (methods distill, fitnets, ...): as weights, above
        "model": "",  # "": as the run says, else the same as the student's
        "model_args": {},
    }

    c.lora = {
        "rank": 0,  # of the thin matrices learnt beside kernels, see tl/adapters.py; 0: none
        "alpha": 0.0,  # their product counts alpha / rank; 0: twice
        "layers": "",  # regex from the start of a layer's name; "": the whole backbone
    }

    c.adapters = ""  # regex of layers beside which a convolution of one pixel is learnt, e.g. "backbone/"; "": none

    c.prune = {
        "share": 0.0,  # of the weights, the smallest of all layers together, that are 0 from the start on; 0: none
        "layers": "",  # regex from the start of a layer's name; "": the whole backbone
    }

    # How it is trained.
    c.method = "finetune"  # a file of tl/methods
    c.method_args = {}  # its keyword arguments
    c.groups = (
        (".*", {}),
    )  # ((regex from the start of a name, {"lr": factor, "weight_decay": value} or None = frozen), ...)
    c.frozen_stats = "auto"  # batch-norm statistics are frozen: auto, where the weights are | all | none
    c.norm_groups = 0  # batch norm over each of so many equal parts of a batch (or piece of it); 0: over all of it
    c.domain_norm = False  # True: batch norm of source and target rows by themselves; running statistics, by which all
    # is evaluated, are the target's
    c.batch_size = 32  # over all devices
    c.steps = -1  # gradient steps; -1: from epochs
    c.epochs = 10  # passes over the training images, where steps is -1
    c.recompute_frozen = False  # True: frozen layers run at every step, even where once an image gives the same
    c.mesh = {
        "data": 0,  # devices along which only images are split; 0: all that `model` leaves
        "model": 0,  # devices over which parameters and optimiser state are split, beside the images; 0: whole on each
    }
    c.remat = False  # True: blocks keep their inputs alone and run again in the backward pass, to save memory
    c.keep_features = False  # True: what frozen layers computed stays on disk for later runs, as it does above 4 GiB
    c.cached_views = 0  # K: frozen layers see K random views of each image, one in each epoch in turn; 0: new ones
    c.accumulate = 1  # pieces a batch is cut into, to save memory; batch norm, class weights, tags average over each
    c.privacy = {
        "noise": 0.0,  # DP-SGD: noise of deviation noise * clip joins the sum of the images' gradients; 0: off
        "clip": 0.0,  # the length to which each image's gradient is cut; 0: 1
        "delta": 0.0,  # at which the summary gives the epsilon spent, while `seed` and the report, which shows images,
        # stay secret; 0: 1e-5
    }
    c.ema = 0.0  # decay of the moving average of the weights, which is then what is evaluated; 0: none
    c.swa = 0.0  # from this share of the steps on the weights of all are averaged evenly, e.g. 0.75; 0: not
    c.swad = ()  # (converge, tolerate, rise), (3, 6, 0.3) in the paper: the mean of the weights of every step in a
    # valley of val's loss is what the run ends with, see tl/averages.py; (): none
    c.optim = {
        "name": "adamw",  # sgd | adam | adamw | adagrad
        "momentum": 0.9,  # sgd
        "nesterov": False,  # sgd
        "b1": 0.9,  # adam, adamw
        "b2": 0.999,
        "eps": 1e-8,  # adam, adamw, adagrad
        "weight_decay": 0.0,
        "decay_norms_and_biases": False,
        "layer_decay": 1.0,  # factor on the rate per block further from the head
        "clip": 0.0,  # global norm of the gradient over what moves; 0: none
    }
    c.schedule = {
        "name": "cosine",  # constant | cosine | linear | step | inverse
        "lr": 1e-3,
        "warmup": 0,  # steps of linear rise
        "boundaries": (),  # step: shares of the run, e.g. (0.5, 0.75)
        "factor": 0.1,  # step
        "gamma": 1e-3,  # inverse: lr * (1 + gamma * step) ** -power
        "power": 0.75,
    }

    # What is watched, chosen and kept.
    c.eval_every = -1  # steps between evaluations; 0: every epoch; -1: every epoch, but at most about twenty times
    c.save_every = 1000  # steps between checkpoints, beside the best and the last
    c.log_every = 10  # steps between rows of training scalars
    c.eval_batch_size = 0  # 0: batch_size
    c.eval_views = ()  # "flip", "zoom", "zoom_flip": answers are means over the image and these views of it
    c.evaluate_before = False  # evaluate test, or target, before the first step too: before/test/...
    c.transferability = False  # score the untouched backbone for these labels, see tl/ranking.py: before/logme, ...
    c.class_report = False  # keep the confusion matrix and the class report of every evaluation
    c.reverse_validation = False  # train back, from the target's predicted labels to the source, at the end: a score
    c.select = ""  # metric whose best evaluation is tested and exported, e.g. val/accuracy; "": the last step
    c.patience = 0  # evaluations without a better select before the run stops; 0: never
    c.tracking = ""  # wandb | mlflow | wandb+mlflow: rows, summary and page go there too; extras of these names, told
    # where to by variables of their own, e.g. WANDB_PROJECT, MLFLOW_TRACKING_URI

    # One run or many.
    c.seed = 0
    c.seeds = ()  # one run per seed, reported as mean and spread
    c.variants = {}  # {name: {key: value, ...}}: one run each, side by side
    c.stages = ()  # ({key: value, ...}, ...): one run after the other, each from the last one's weights
    c.then = ""  # what follows training without labels (configs/simclr.py, ...): "": fine-tuning | probe
    c.smoke = False  # seconds instead of hours: to see that everything runs
    return c


def graph(c: ConfigDict) -> None:
    """Embeddings of a knowledge graph, learnt by Adagrad."""
    c.model, c.weights, c.task = "triples", "none", "ranking"
    c.data = "kg:$TL_DATA/kg/umls.tar.gz"
    c.batch_size, c.eval_batch_size = 256, 512
    c.optim.name, c.optim.eps = "adagrad", 1e-10
    c.schedule.name, c.schedule.lr = "constant", 0.1
    c.epochs = 30
    c.select = "val/mrr"


def zero_shot(c: ConfigDict) -> None:
    """Rows of an ImageNet classifier, by WordNet; ants and bees are never seen, and there are images of them."""
    c.model, c.weights, c.task = "vectors", "none", "retrieval"
    c.data = "kg:$TL_DATA/kg/WN18RR.tar.gz"
    c.zero_shot.weights = "file:$TL_DATA/weights/imagenet_mobilenet_v2_tf.safetensors"
    c.zero_shot.model = "mobilenet_v2_tf"
    c.zero_shot.names = "$TL_DATA/weights/imagenet_wnids_sorted.json"
    c.zero_shot.seen = 300
    c.zero_shot.unseen = ("02219486", "02206856")
    c.zero_shot.images = "tar:$TL_DATA/hymenoptera.tar"
    c.zero_shot.entities = {"ants": "02219486", "bees": "02206856"}
    c.val_fraction = 0.0
    c.batch_size, c.eval_batch_size = 300, 64


def episodes(c: ConfigDict, arg: dict[str, str], **shape: int) -> None:
    """A small network that learns from episodes of `shape`, and batches of whole ones, whatever flags make of that."""
    c.model, c.weights, c.data = "conv4", "none", "glyphs"
    c.episode.update({"way": 5, "shot": 1, "query": 10, "count": 1000, **shape})
    asked = {key: int(arg.get(f"episode.{key}", value)) for key, value in c.episode.items() if type(value) is int}
    way, shot, query = (asked[f"train_{key}"] or asked[key] for key in ("way", "shot", "query"))
    c.batch_size = asked["batch"] * way * (shot + query) or 64
    c.eval_batch_size = 8 * asked["way"] * (asked["shot"] + asked["query"])
    c.optim.name = "adam"
    c.steps, c.eval_every = 400, 100
    c.select = "val/accuracy"
