"""AdaMatch, FixMatch for two domains (Berthelot et al. 2022); everything else as in fixmatch.py.

python main.py --config configs/adamatch.py

In configs/tables/embedded_digits.py, 3 seeds on 2 cores, chosen without target labels:
.770 +- .042 on handwriting (oracle .770), 157 to 169 s (commit 12c0d97).
"""

from configs import fixmatch


def get_config(arg):
    c = fixmatch.get_config(arg)
    c.method = "adamatch"
    c.batch_size = 24  # of four views: two of the source, two of the target
    c.steps = 400
    c.schedule.gamma = 10 / c.steps
    return c
