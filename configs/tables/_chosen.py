"""What the tables of adaptation and generalisation keep of every cell: each way to choose, side by side."""

COLUMNS = {
    "target/accuracy": "target, chosen without its labels",
    "target/accuracy_oracle": "oracle",
    "selected/last/target": "last step",
    "source/accuracy": "source",
    "selected/source/target": "by source",
    "selected/entropy/target": "by entropy",
    "selected/information/target": "by information",
    "selected/neighbourhood/target": "by neighbourhood",
    "selected/importance/target": "by importance",
    "selected/deep_embedded/target": "by deep embedded",
}
METRICS = list(COLUMNS)
