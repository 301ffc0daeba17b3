"""Class prototypes that are entities of WordNet, learnt from images and triples together, on frozen features.

TL_DATA=FOLDER python main.py --config configs/fusion.py
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.method = "fusion"
    c.model = "mobilenet_v2_tf"
    c.weights = "file:$TL_DATA/weights/imagenet_mobilenet_v2_tf.safetensors"
    c.data = "tar:$TL_DATA/hymenoptera.tar"
    c.graph.data = "kg:$TL_DATA/kg/WN18RR.tar.gz"
    c.graph.entities = {"ants": "02219486", "bees": "02206856"}
    c.graph.hops = 2
    c.graph.mistakes = True
    c.groups = (("backbone", None), (".*", {}))
    c.optim.name = "adam"
    c.schedule.lr = 3e-3
    c.keep_features = True
    c.steps = 300
    return c
