"""Who may import whom, and how long a file and a function may get: read from the source, nothing is imported."""

import ast
import functools
import pathlib
import re
from collections.abc import Iterable

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "tl").rglob("*.py"))
SOURCES = [
    *LIBRARY,
    ROOT / "main.py",
    *sorted((ROOT / "scripts").glob("*.py")),
    *sorted((ROOT / "configs").rglob("*.py")),
]

MATHS = (
    "tl.losses",
    "tl.alignment",
    "tl.batches",
    "tl.distillation",
    "tl.mixing",
    "tl.regularisers",
    "tl.contrast",
    "tl.episodes",
    "tl.inner",
    "tl.multitask",
    "tl.triples",
)
# Room -> what of tl it may stand on, beside tl.errors; a name covers what lies under it.
FLOORS = {
    "tl.errors": (),
    "tl.losses": (),
    "tl.batches": (),
    "tl.regularisers": (),
    "tl.distillation": ("tl.contrast",),
    "tl.contrast": (),
    "tl.episodes": (),
    "tl.inner": (),
    "tl.alignment": ("tl.losses",),
    "tl.spans": (),
    "tl.metrics": ("tl.spans",),
    "tl.mixing": (),
    "tl.attacks": (),
    "tl.privacy": (),
    "tl.fairness": ("tl.metrics",),
    "tl.ranking": (),
    "tl.explain": (),
    "tl.exported": (),
    "tl.onnx": (),
    "tl.mesh": (),
    "tl.pieces": ("tl.text",),
    "tl.views": (),
    "tl.lifeline": (),
    "tl.hosts": ("tl.lifeline",),
    "tl.preprocess": (),
    "tl.text": (),
    "tl.config": (),
    "tl.optim": (),
    "tl.adapters": ("tl.config", "tl.optim"),
    "tl.reduction": ("tl.optim",),
    "tl.pruning": ("tl.config", "tl.optim"),
    "tl.checkpoint": (),
    "tl.report": ("tl.report", "tl.metrics", "tl.spans"),
    "tl.tasks": ("tl.losses", "tl.metrics", "tl.spans"),
    "tl.data": ("tl.data", "tl.mesh", "tl.preprocess", "tl.text", "tl.spans", "tl.episodes"),
    "tl.models": ("tl.models", "tl.preprocess", "tl.text"),
    "tl.weights": ("tl.weights", "tl.models", "tl.preprocess", "tl.text"),
    "tl.unlabelled": ("tl.methods.base", "tl.batches", "tl.contrast", "tl.mixing", "tl.tasks"),
    "tl.triples": (),
    "tl.graphs": ("tl.methods.base", "tl.batches", "tl.triples", "tl.tasks", "tl.models"),
    "tl.methods": ("tl.methods.base", *MATHS, "tl.unlabelled", "tl.graphs", "tl.tasks", "tl.models"),
    "tl.beside": ("tl.config", "tl.data", "tl.graphs", "tl.metrics", "tl.tasks"),
    "tl.zero_shot": (
        *("tl.config", "tl.data", "tl.evaluators", "tl.mesh", "tl.models", "tl.net", "tl.optim", "tl.preprocess"),
        "tl.weights",
    ),
    "tl.net": ("tl.models", "tl.preprocess", "tl.tasks"),
    "tl.explanations": ("tl.explain", "tl.net", "tl.methods.base", "tl.models", "tl.preprocess"),
    "tl.serving": ("tl.serving", "tl.exported", "tl.data", "tl.preprocess", "tl.report"),
    "tl.averages": ("tl.config", "tl.weights", "tl.models", "tl.preprocess", "tl.text"),
    "tl.step": ("tl.methods.base", "tl.batches", "tl.net", "tl.optim", "tl.privacy"),
    "tl.evaluators": (
        "tl.evaluators",
        "tl.mesh",
        "tl.pieces",
        "tl.metrics",
        "tl.ranking",
        "tl.tasks",
        "tl.report.files",
    ),
}
# Outside package -> the only rooms that may import it.
FENCES = {
    "flax": ("tl.models", "tl.net", "tl.step"),
    "orbax": ("tl.checkpoint",),
    "starlette": ("tl.serving.app",),
    "uvicorn": (),
    "wandb": ("tl.report.tracking",),
    "mlflow": ("tl.report.tracking",),
    "jax2onnx": ("tl.onnx",),
    "torch": (),
    "torchvision": (),
    "tensorflow": (),
    "importlib.import_module": ("tl.build",),
    "pkgutil": ("tl.build",),
}


def module_name(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def under(name: str, rooms: Iterable[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: pathlib.Path) -> frozenset[str]:
    """Full dotted names of all that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "importlib":
            found.add(f"importlib.{node.attr}")
    return frozenset(found)


def resolved(names: Iterable[str]) -> set[str]:
    """Names of tl cut back to the module that holds them: tl.errors.InputError -> tl.errors."""
    modules = {module_name(path) for path in LIBRARY}
    cut = set()
    for name in names:
        parts = name.split(".")
        while len(parts) > 1 and ".".join(parts) not in modules:
            parts.pop()
        cut.add(".".join(parts))
    return cut


def identifier(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_room_is_there():
    modules = {module_name(path) for path in LIBRARY}
    rooms = {*FLOORS, *(room for allowed in FLOORS.values() for room in allowed)}
    assert rooms <= modules, "a rule about a room that does not exist holds nothing"


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_stands_only_on_its_floors(room):
    allowed = (*FLOORS[room], "tl.errors")
    for path in LIBRARY:
        if under(module_name(path), [room]):
            own = {name for name in resolved(imports(path)) if under(name, ["tl"])}
            wrong = sorted(name for name in own if not under(name, allowed))
            assert not wrong, f"{identifier(path)} imports {wrong}"


@pytest.mark.parametrize("package", FENCES)
def test_an_outside_package_stays_behind_its_fence(package):
    users = {module_name(path) for path in LIBRARY if any(under(name, [package]) for name in imports(path))}
    wrong = sorted(user for user in users if not under(user, FENCES[package]))
    assert not wrong, f"{package} is imported by {wrong}"


def test_methods_are_named_by_build_alone():
    """The loop and all beside it know the protocol, never a method."""
    methods = {module_name(path) for path in (ROOT / "tl" / "methods").glob("*.py")} - {"tl.methods", "tl.methods.base"}
    assert methods
    names = {method.rsplit(".", 1)[-1] for method in methods}
    for path in LIBRARY:
        if under(module_name(path), ["tl.methods"]):
            continue
        tree = parsed(path)
        words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        words |= {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not words & names, f"{identifier(path)} names {words & names}"
        assert not resolved(imports(path)) & methods, f"{identifier(path)} imports a method"


def test_methods_do_not_inherit():
    for path in (ROOT / "tl" / "methods").glob("*.py"):
        for node in ast.walk(parsed(path)):
            assert not (isinstance(node, ast.ClassDef) and node.bases), f"{identifier(path)}: {node.name} inherits"


def test_configs_hold_data_only():
    for path in sorted((ROOT / "configs").rglob("*.py")):
        wrong = sorted(name for name in imports(path) if not under(name, ["configs", "ml_collections", "__future__"]))
        assert not wrong, f"{identifier(path)} imports {wrong}"


def test_there_is_one_way_to_run_on_many_devices():
    for path in SOURCES:
        assert not re.search(r"\bpmap\b", path.read_text()), f"{identifier(path)} mentions pmap"


@pytest.mark.parametrize("path", SOURCES, ids=identifier)
def test_files_and_functions_stay_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 300, f"{lines} lines"
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if path == ROOT / "configs" / "common.py":
                continue  # the table of all keys, a line each: data, which cutting would not make clearer
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "__init__.py"], ids=identifier)
def test_every_file_says_what_it_is(path):
    assert ast.get_docstring(parsed(path))


def test_the_rules_catch_what_they_forbid(tmp_path):
    """The reading itself: imports at the top, inside functions, of packages and of names."""
    (tmp_path / "sample.py").write_text(
        "import a.b as c\nfrom tl.errors import InputError\nfrom tl import optim\n"
        "def f():\n    from flax import linen\n    import importlib\n    importlib.import_module('x')\n"
    )
    found = imports(tmp_path / "sample.py")
    assert found == {
        "a.b",
        "tl.errors.InputError",
        "tl.optim",
        "flax.linen",
        "importlib",
        "importlib.import_module",
    }
    assert resolved({"tl.errors.InputError", "tl.models.layers.Mode", "tl.models.heads"}) == {
        "tl.errors",
        "tl.models.layers",
        "tl.models.heads",
    }
    assert under("tl.methods.base", ["tl.methods"])
    assert not under("tensorflow_datasets", ["tensorflow"])
