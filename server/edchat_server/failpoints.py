"""Places where a test may end the process at once, to prove that nothing is lost or doubled there.

``EDCHAT_FAIL_POINT=effect_committed`` kills the server the first time it gets there, and
``EDCHAT_FAIL_POINT=model_part:5`` the fifth time. Unset, which is always so outside tests, `reach` costs
one comparison.
"""

import os

_name, _, _nth = os.environ.get("EDCHAT_FAIL_POINT", "").partition(":")
_left = int(_nth or 1)


def reach(name: str) -> None:
    """End the process, as kill -9 would, if this is the place that was asked for."""
    global _left  # noqa: PLW0603
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os._exit(137)
