"""Domain generalisation: learn from several labelled domains, be tested on another one, of which nothing is seen.

    python main.py --config configs/erm.py

Plain training on equal parts of every domain (empirical risk minimisation), what generalisation methods must beat. By
default three styles of printed digits and handwriting; others by
`--config.data=folder:DIR/a+folder:DIR/b+folder:DIR/c --config.target=folder:DIR/d`. The sources' validation images
choose.
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.data = "glyphs:digits-sans+glyphs:digits-mono+glyphs:digits-serif"
    c.select = "val/accuracy"
    return c
