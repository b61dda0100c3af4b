"""The public names are those that are promised, they are light to import, and each says what it is."""

import inspect
import json
import subprocess
import sys

import edchat_widget

PROMISED = {
    "Chat", "Story", "StoryList", "Reply", "PendingRun", "Settings", "launch", "doctor", "__version__",
}
HEAVY = ("langgraph", "langchain", "langchain_core", "fastapi", "pandas", "anywidget", "httpx", "websockets")


def test_every_promised_name_is_there_and_documented() -> None:
    assert set(edchat_widget.__all__) >= PROMISED
    for name in edchat_widget.__all__:
        thing = getattr(edchat_widget, name)
        if name != "__version__":
            assert inspect.getdoc(thing), name
        if inspect.isclass(thing) and thing.__module__.startswith("edchat_widget"):
            for member, value in vars(thing).items():
                if not member.startswith("_") and callable(value):
                    assert inspect.getdoc(value), f"{name}.{member}"


def test_every_error_is_public() -> None:
    from edchat_widget import errors

    assert set(errors.__all__) <= set(edchat_widget.__all__)
    assert all(issubclass(getattr(errors, n), errors.EdChatError) for n in errors.__all__)


def test_importing_the_package_is_light() -> None:
    code = "import json, sys, edchat_widget; edchat_widget.Chat; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not set(HEAVY) & set(json.loads(out))
