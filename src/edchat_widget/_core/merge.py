"""Fewer operations with the same effect."""

from collections.abc import Iterable

import msgspec

from edchat_widget.view import AnyOp, ConnectionOp, QueueOp, TextOp


def merged(ops: Iterable[AnyOp]) -> list[AnyOp]:
    """Return the ops with neighbouring texts of one part joined, and of neighbouring badges the last."""
    out: list[AnyOp] = []
    for op in ops:
        last = out[-1] if out else None
        if isinstance(op, TextOp) and isinstance(last, TextOp) and (op.id, op.part) == (last.id, last.part):
            out[-1] = msgspec.structs.replace(last, text=last.text + op.text)
        elif isinstance(op, ConnectionOp | QueueOp) and type(op) is type(last):
            out[-1] = op
        else:
            out.append(op)
    return out
