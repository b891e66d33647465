"""Reads a module and makes its mutants: each differs from it in one small thing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult, ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
LEFT_OUT = {"annotation", "returns", "decorator_list"}  # nothing runs them, or they are style


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One node of a module's tree, at `owner.field[index]`, in place of another."""

    path: Path
    tree: ast.Module
    lines: range  # of the statement around it
    is_import: bool  # it runs when the module is imported
    owner: ast.AST
    field: str
    index: int | None
    old: Any  # a statement or an expression
    new: ast.AST

    @property
    def module(self) -> str:
        """Its package and file."""
        return "/".join(self.path.parts[-2:])

    @property
    def name(self) -> str:
        """What a survivor is printed as."""
        before, after = (" ".join(ast.unparse(node).split())[:70] for node in (self.old, self.new))
        return f"{self.module}:{self.old.lineno}: {before}  ->  {after}"

    def code(self) -> CodeType:
        """Compile the module with the change in it."""
        self._put(ast.copy_location(self.new, self.old))
        try:
            return compile(ast.fix_missing_locations(self.tree), str(self.path), "exec")
        finally:
            self._put(self.old)

    def _put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.owner, self.field, node)
        else:
            getattr(self.owner, self.field)[self.index] = node


def mutants_of(path: Path) -> list[Mutant]:
    """Return all mutants of a module in the order of its text."""
    tree = ast.parse(path.read_bytes())

    def below(owner: ast.AST, lines: range, *, is_import: bool) -> Iterator[Mutant]:
        for name, value in ast.iter_fields(owner):
            runs = is_import and not (
                name == "body" and isinstance(owner, ast.FunctionDef | ast.Lambda)
            )
            for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if name in LEFT_OUT or not isinstance(node, ast.AST) or is_left_out(owner, node):
                    continue
                at = lines_of(node) if isinstance(node, ast.stmt) else lines
                for new in changes(node, name):
                    yield Mutant(
                        path=path, tree=tree, lines=at, is_import=runs, owner=owner, field=name,
                        index=index, old=node, new=new,
                    )  # fmt: skip
                yield from below(node, at, is_import=runs)

    return list(below(tree, range(0), is_import=True))


def is_left_out(owner: ast.AST, node: ast.AST) -> bool:
    """Tell of docstrings, texts of f-strings, and what our own code states with `assert`."""
    is_text = isinstance(node, ast.Constant) and isinstance(owner, ast.JoinedStr | ast.Expr)
    return is_text or isinstance(node, ast.Assert)


def lines_of(node: ast.stmt) -> range:
    """Return a statement's lines, or those of its head."""
    body = getattr(node, "body", None)
    last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
    return range(node.lineno, last + 1)


def changes(node: ast.AST, name: str) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place; `name` is the field where it stands."""
    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                ops = [*node.ops[:at], COMPARED[type(op)](), *node.ops[at + 1 :]]
                yield ast.Compare(node.left, ops, node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.BinOp() if type(node.op) in COUNTED:
            yield ast.BinOp(node.left, COUNTED[type(node.op)](), node.right)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant():
            yield from other_values(node.value)
        case ast.stmt():
            yield from less(node)
    if name == "test" and isinstance(node, ast.Name | ast.Attribute | ast.Call):
        yield ast.UnaryOp(ast.Not(), node)


def other_values(value: object) -> Iterator[ast.Constant]:
    """Yield another value of a constant's type."""
    match value:
        case bool():
            yield ast.Constant(not value)
        case int() | float():
            yield ast.Constant(value + 1)
        case str():
            yield ast.Constant("XX" + value)
        case bytes():
            yield ast.Constant(b"XX" + value)


def less(node: ast.stmt) -> Iterator[ast.stmt]:
    """Yield what is left without a statement's effect or answer."""
    match node:
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Expr(value=value) if not isinstance(value, ast.Constant):
            yield ast.Pass()
        case ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Break() | ast.Continue():
            yield ast.Pass()
