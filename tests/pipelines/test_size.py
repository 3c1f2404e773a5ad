"""The drop-in stays small: one wrapper, not a copy of each pipeline."""

import ast

from tests.conftest import ROOT


def num_lines_of_code(source: str) -> int:
    """Lines without those that are blank, a comment or part of a docstring."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and line.strip()[0] != "#" and number not in documented for number, line in lines)


def test_the_library_part_is_under_700_lines() -> None:
    assert num_lines_of_code('"""Doc."""\n\n# why\nx = 1\n') == 1
    assert sum(num_lines_of_code(path.read_text()) for path in (ROOT / "tstitch/dropin").glob("*.py")) < 700
