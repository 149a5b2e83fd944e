"""Figures of the code's style: `python -m docs.figures_of_style` prints them, and `tests/project/test_style.py` holds the code to some.

A function is public when neither it nor a class or function around it begins with an underscore, and it is not inside another function. A
method counts as documented when a class above it, of the project, documents the method that it overrides.
"""

import ast
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "webapp", "workers")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A Python file of the project: its path from the root, its lines and its syntax."""

    path: str
    lines: int
    tree: ast.Module


@dataclass(frozen=True)
class PublicFunction:
    """A function or method that others may call. `owner` is its class, empty for a function of the module."""

    path: str
    owner: str
    name: str
    documented: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.owner}{'.' * bool(self.owner)}{self.name}"


def sources(*rooms: str) -> list[Source]:
    """The Python files of these folders but migrations, which Django writes."""
    found = []
    for path in sorted(path for room in rooms for path in (ROOT / room).rglob("*.py") if "migrations" not in path.parts):
        text = path.read_text(encoding="utf-8")
        found.append(Source(path.relative_to(ROOT).as_posix(), len(text.splitlines()), ast.parse(text)))
    return found


def function_sizes(files: Sequence[Source]) -> dict[str, int]:
    """Lines of every function, nested ones too, from its `def` to its end, by where it stands."""
    return {
        f"{file.path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, Function)
    }


def public_functions(files: Sequence[Source]) -> list[PublicFunction]:
    """Those of the modules and of their public classes."""
    bases, documented = _classes(files)
    found = []
    for file in files:
        for owner, node in _outermost_functions(file.tree):
            public = not node.name.startswith("_") and not owner.startswith("_")
            overload = any(ast.unparse(decorator).endswith(("overload", ".setter")) for decorator in node.decorator_list)
            if public and not overload:
                has = ast.get_docstring(node) is not None or any(node.name in documented[name] for name in _above(owner, bases))
                found.append(PublicFunction(file.path, owner, node.name, has))
    return found


def classes_by_name(files: Sequence[Source]) -> dict[str, list[str]]:
    """Where each class name is defined."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(file.path)
    return dict(found)


def modules_by_package(files: Sequence[Source]) -> dict[str, int]:
    """How many modules stand side by side in each package."""
    return Counter(Path(file.path).parent.as_posix() for file in files if not file.path.endswith("__init__.py"))


def _outermost_functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Functions of the module and methods of its classes, with the class; none inside a function."""
    waiting: list[tuple[str, ast.stmt]] = [("", node) for node in tree.body]
    for owner, node in waiting:
        if isinstance(node, Function):
            yield owner, node
        elif isinstance(node, ast.ClassDef):
            waiting += [(node.name, inner) for inner in node.body]
        elif isinstance(node, ast.If | ast.Try):
            waiting += [(owner, inner) for inner in node.body]


def _classes(files: Sequence[Source]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """By class name: its parents, and its methods that have a docstring."""
    bases: dict[str, set[str]] = defaultdict(set)
    documented: dict[str, set[str]] = defaultdict(set)
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] |= {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                documented[node.name] |= {inner.name for inner in node.body if isinstance(inner, Function) and ast.get_docstring(inner)}
    return bases, documented


def _above(owner: str, bases: dict[str, set[str]]) -> set[str]:
    """All classes of the project above this one."""
    above, waiting = set[str](), set(bases.get(owner, ()))
    while waiting:
        name = waiting.pop()
        if name not in above:
            above.add(name)
            waiting |= bases.get(name, set())
    return above


def lines_of(files: Sequence[Source]) -> int:
    """Lines of all files together."""
    return sum(file.lines for file in files)


def share_documented(functions: Sequence[PublicFunction]) -> float:
    """The share of the functions that say what they do."""
    return sum(function.documented for function in functions) / len(functions)


def main() -> int:
    code, tests = sources(*ROOMS), sources("tests")
    for room in ROOMS:
        files = [file for file in code if file.path.startswith(f"{room}/")]
        sizes, functions = [file.lines for file in files if file.lines], function_sizes(files)
        longest, longest_function = max(files, key=lambda file: file.lines), max(functions, key=lambda name: functions[name])
        at_95 = statistics.quantiles(functions.values(), n=20)[-1]
        print(f"{room}: {len(sizes)} files, median {statistics.median(sizes):.0f} lines, at most {longest.lines} ({longest.path})")
        print(
            f"  functions: median {statistics.median(functions.values()):.0f} lines, 95 % up to {at_95:.0f}, at most {functions[longest_function]} ({longest_function})"
        )
    public = public_functions([file for file in code if file.path.startswith("engine/")])
    print(f"public functions of engine with a docstring: {share_documented(public):.1%} of {len(public)}")
    lines, of_tests = lines_of(code), lines_of(tests)
    print(f"lines of tests to lines of code: {of_tests} to {lines}, {of_tests / lines:.2f} to 1")
    crowded = {package: count for package, count in modules_by_package(code).items() if count > 20}
    print(f"packages of more than twenty modules: {crowded or 'none'}")
    twice = {name: places for name, places in classes_by_name(code).items() if len(places) > 1}
    print("class names defined more than once:")
    for name, places in sorted(twice.items()):
        print(f"  {name}: {', '.join(places)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
