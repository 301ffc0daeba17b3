"""Predictions of a finished run for image files or sentences, with the preprocessing of its training.

    python scripts/predict.py --workdir runs/finetune FILES|DIRS [--format csv|json] [--out FILE]
    python scripts/predict.py --workdir runs/text --text "A SENTENCE" [--text ...] | --lines FILE
    python scripts/predict.py --workdir runs/protonet --shots FOLDER FILES|DIRS
    python scripts/predict.py --workdir runs/complex --triples "HEAD RELATION" "TAIL RELATION^-1"

A run of episodes tells the classes of FOLDER apart, a folder of a few images for each. CSV has a column per class, JSON
a list of objects. Folders are searched for images, in order of their names. Of a knowledge graph each question is
answered by the ten best entities, a row each. Of a run that learnt tags every word has a row, and its tag; JSON lists
the entities of each sentence beside its words.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import pathlib
import sys
from collections.abc import Sequence

from tl.data.images import EXTENSIONS
from tl.errors import InputError
from tl.report.files import check_place, write_atomic


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=pathlib.Path)
    parser.add_argument("--triples", nargs="+", metavar="QUESTION", help="of a run that learnt a knowledge graph")
    parser.add_argument("--text", action="append", default=[], help="a sentence, for a run that reads text")
    parser.add_argument("--lines", type=pathlib.Path, help="a file with a sentence in each line")
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--shots", type=pathlib.Path, help="class folders, for a run that learnt from episodes")
    parser.add_argument("--format", choices=("csv", "json"), default="csv")
    parser.add_argument("--out", type=pathlib.Path, help="a file instead of standard output")
    options = parser.parse_args(argv)
    try:
        check_place(options.out, "--out")
        lines = [*options.text, *(read_lines(options.lines) if options.lines else [])]
        if sum(map(bool, (lines, options.paths, options.triples))) != 1:
            raise InputError(
                "name image files, or sentences by --text and --lines, or questions by --triples: one of these."
            )
        files = find_images(options.paths)
        from tl import predictor
        from tl.runtime import prepare

        prepare()
        loaded = predictor.load(options.workdir, options.shots)
        if options.triples:
            rows = loaded.triples(options.triples)
        elif lines and loaded.tags:
            rows = loaded.tagged(lines)
        else:
            said = loaded.texts(lines) if lines else loaded.files(files)
            rows = predictor.to_records(loaded, lines or [str(f) for f in files], said)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.format == "json":
        text = json.dumps(rows, indent=1) + "\n"
    else:
        text = to_csv(by_word(rows) if loaded.tags else rows)
    if options.out:
        write_atomic(options.out, text)
    else:
        sys.stdout.write(text)
    return 0


def read_lines(path: pathlib.Path) -> list[str]:
    """The sentences of a file, utf-8; InputError for one that cannot be read."""
    try:
        return path.read_text("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the lines of '{path}' ({error}): give a utf-8 file.") from error


def find_images(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """The files named, and those below the folders named; InputError for a path that is not there or has no image."""
    found = []
    for path in paths:
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
            if not below:
                raise InputError(f"the folder '{path}' holds no image ({', '.join(EXTENSIONS)}): name another one.")
            found += below
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"'{path}' does not exist: name image files or folders of them.")
    return found


def flattened(row: dict) -> dict:
    """A column per class; of several tasks each begins with the task's name."""
    found = {}
    for key, value in row.items():
        if key == "probabilities":
            found |= value
        elif isinstance(value, dict):
            found |= {f"{key}/{column}": inner for column, inner in flattened(value).items()}
        else:
            found[key] = value
    return found


def by_word(rows: Sequence[dict]) -> list[dict]:
    """A row per word of tagged sentences, which are numbered from 1; an entity stands at its first word."""
    found = []
    for number, row in enumerate(rows, start=1):
        begin = {entity["first"]: f"{entity['type']}: {entity['text']}" for entity in row["entities"]}
        found += [{"text": number, **word, "entity": begin.get(i, "")} for i, word in enumerate(row["words"])]
    return found


def to_csv(rows: Sequence[dict]) -> str:
    flat = [flattened(row) for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(flat[0]))
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
