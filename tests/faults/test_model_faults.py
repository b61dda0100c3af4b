"""A provider that fails in every way that providers do: the message is kept, the words are right, nothing half done."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults import oracle
from tests.faults.model_server import SECRET, ModelServer, model_server
from tests.server_fixtures import Client, ServerProcess, server

CUT = "The model's call of a tool was cut off or malformed; nothing was done."
HALF = "Half of the ans"
FAILURES: dict[str, tuple[str, bool, int, list[str]]] = {
    # what the user reads, whether asking again may help, how often the provider was asked, what was shown meanwhile
    "busy": ("The model's provider is asked too often. It says: Rate limit reached for requests.", True, 3, []),
    "broke": ("The model's provider has no credit left. It says: You exceeded your current quota.", False, 3, []),
    "down": ("The model's provider has a failure. It says: The engine is overloaded.", True, 3, []),
    "key": ("The model's provider refused the key. It says: Incorrect API key provided: ***.", False, 1, []),
    "cut": ("The model's answer broke off.", True, 1, [HALF]),
    "short": ("The model's answer broke off.", True, 1, [HALF]),
    "unfinished": ("The model's answer broke off.", True, 1, [HALF]),
    "stall": ("The model did not answer in time.", True, 1, [HALF]),
    "hang": ("The model did not answer in time.", True, 3, []),
    "empty": ("The model gave no answer.", True, 1, []),
    "nonsense": ("The model's answer could not be read: it is no JSON.", True, 1, []),
    "halfcall": (CUT, True, 1, []),
    "lostcall": (CUT, True, 1, []),
}


@pytest.fixture(scope="module")
def provider() -> Iterator[ModelServer]:
    with model_server() as found:
        yield found


@pytest.fixture(scope="module")
def running(provider: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    env = {"EDCHAT_MODEL": "openai:gpt-test", "OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": SECRET}
    with server(tmp_path_factory.mktemp("model"), script=False, EDCHAT_MODEL_TIMEOUT="1", **env) as process:
        yield process


def ask(running: ServerProcess, text: str) -> tuple[Client, str]:
    client = Client(running, session=text.replace(" ", "-")).open()
    client.say(text)
    return client, client.until_over()


@pytest.mark.fault("F27", "429, 401, 503, silence, an answer or a tool call that is cut or malformed")
@pytest.mark.parametrize("fault", FAILURES)
def test_a_models_failure_is_told_and_nothing_is_half_done(
    running: ServerProcess, provider: ModelServer, fault: str
) -> None:
    words, retryable, times, shown = FAILURES[fault]
    before = oracle.stories(running)
    text = f"{fault} please"
    client, state = ask(running, text)
    assert state == "failed"
    errors: list[dict[str, Any]] = [event["data"] for event in client.log.values() if event["type"] == "error"]
    assert [error["message"].startswith(words) for error in errors] == [True], errors
    assert bool(errors[0].get("retryable")) is retryable
    assert provider.asked[text] == times
    view = oracle.check_session(running, client.session, stayed=client, states=["failed"])
    assert ("user", text) in view
    assert oracle.texts(view) == shown
    assert oracle.stories(running) == before
    assert SECRET not in json.dumps(client.frames)
    assert SECRET not in (running.data_dir / "server.log").read_text(encoding="utf-8")
    client.say("good please")
    assert client.until_over() == "completed", "the next message works"
    client.close()


@pytest.mark.fault("F27", "429 twice, then an answer")
def test_a_provider_that_recovers_is_asked_again_unseen(running: ServerProcess, provider: ModelServer) -> None:
    client, state = ask(running, "recovers please")
    assert (state, provider.asked["recovers please"]) == ("completed", 3)
    assert oracle.texts(oracle.check_session(running, client.session, stayed=client)) == ["All is well."]
    client.close()


@pytest.mark.fault("F27", "a call of a tool that does not exist, or with wrong arguments")
@pytest.mark.parametrize("fault", ["wrongcall", "nocall"])
def test_a_call_that_makes_no_sense_goes_back_to_the_model(running: ServerProcess, fault: str) -> None:
    before = oracle.stories(running)
    client, state = ask(running, f"{fault} please")
    view = oracle.check_session(running, client.session, stayed=client)
    assert (state, [part[2] for part in view if part[0] == "tool"]) == ("completed", ["error"])
    assert oracle.stories(running) == before
    client.close()


@pytest.mark.fault("F27", "kill -9 while the model is silent")
def test_a_server_killed_while_its_model_is_silent_asks_again(tmp_path: Path) -> None:
    with model_server() as provider:
        env = {"EDCHAT_MODEL": "openai:gpt-test", "OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": SECRET}
        with server(tmp_path / "data", script=False, EDCHAT_MODEL_TIMEOUT="60", **env) as first:
            client = Client(first).open()
            client.say("stall please")
            client.until("token")
            first.kill()
            shown = oracle.read_to_the_cut(client)
        with server(tmp_path / "data", script=False, EDCHAT_MODEL_TIMEOUT="1", **env) as second:
            client.server = second
            client.open()
            assert client.until_over() == "failed"
            view = oracle.check_session(second, shown=[shown], stayed=client, states=["failed"])
            assert oracle.texts(view) == [HALF], "the text of the first attempt is taken back"
            assert provider.asked["stall please"] == 2
            client.close()
