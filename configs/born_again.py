"""Self-distillation (Furlanello et al. 2018, born-again networks): a network learns from a finished one of its kind.

    python main.py --config configs/born_again.py:model=resnet20_cifar,data=npz:FILE --config.teacher.weights=run:W

Labels and the teacher's answers count alike; a run of this config may be the next one's teacher.
"""

from configs import distill


def get_config(arg):
    c = distill.get_config(arg)
    c.method_args = {"share": 0.5, "temperature": 1.0}
    return c
