from typing import Any

import httpx
import pytest

from edchat_server.agent import ModelError, describe_model, explain_model_failure, load_model
from edchat_server.agent.models import silence_limit
from edchat_server.agent.offline import DEFAULT_PACE, OfflinePlanner


def test_no_name_is_the_offline_planner() -> None:
    for name in (None, ""):
        model = load_model(name, environ={})
        assert isinstance(model, OfflinePlanner)
        assert model.pace == DEFAULT_PACE
    assert (describe_model(None).offline, describe_model("openai:gpt-5").offline) == (True, False)


@pytest.mark.parametrize("pace", ["fast", "-1", "nan", "1e9"])
def test_bad_pace_names_the_variable(pace: str) -> None:
    with pytest.raises(ModelError, match="EDCHAT_OFFLINE_PACE") as caught:
        load_model(None, environ={"EDCHAT_OFFLINE_PACE": pace})
    assert "words per second" in caught.value.hint


def test_unknown_provider_says_how_to_write_it() -> None:
    with pytest.raises(ModelError, match="no model provider") as caught:
        load_model("acme:wonder", environ={})
    assert "openai:" in caught.value.hint
    assert "\n" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("timeout", ["soon", "0", "-1", "nan", "9999"])
def test_a_bad_timeout_names_the_variable(timeout: str) -> None:
    with pytest.raises(ModelError, match="EDCHAT_MODEL_TIMEOUT"):
        load_model("openai:x", environ={"OPENAI_API_KEY": "k", "EDCHAT_MODEL_TIMEOUT": timeout})


@pytest.mark.parametrize(
    ("name", "expected"),
    [("openai:x", {"timeout": 7.0}), ("ollama:x", {"client_kwargs": {"timeout": 7.0}}), ("bedrock:x", {})],
)
def test_a_silent_model_is_given_up_where_its_client_can(name: str, expected: dict[str, Any]) -> None:
    given: dict[str, Any] = {}

    def create(_: str, **arguments: Any) -> Any:
        given.update(arguments)
        return OfflinePlanner()

    load_model(name, environ={"OPENAI_API_KEY": "k", "EDCHAT_MODEL_TIMEOUT": "7"}, create=create)
    assert given == expected


def absent(package: str) -> Any:
    def create(name: str, **_: Any) -> Any:
        raise ImportError(
            f"Initializing X requires the {package} package. Please install it with `pip install {package}`"
        )

    return create


def test_missing_package_says_what_to_install() -> None:
    with pytest.raises(ModelError, match="langchain-ollama") as caught:
        load_model("ollama:llama3.2", environ={}, create=absent("langchain-ollama"))
    assert caught.value.hint == "Install it: pip install 'edchat-widget[ollama]'"
    with pytest.raises(ModelError) as caught:
        load_model("groq:llama", environ={"GROQ_API_KEY": "x"}, create=absent("langchain-groq"))
    assert caught.value.hint == "Install it: pip install langchain-groq"


def test_missing_package_without_a_name_says_what_it_was_told() -> None:
    def create(name: str, **_: Any) -> Any:
        raise ImportError("libfoo.so is missing")

    with pytest.raises(ModelError) as caught:
        load_model("ollama:x", environ={}, create=create)
    assert str(caught.value) == "The model 'ollama:x' needs a package that is not installed: libfoo.so is missing."


def test_what_the_provider_says_is_not_said_twice() -> None:
    failure = explain_model_failure(StatusError(401, {"message": "The model's provider refused the key"}), environ={})
    assert failure.message == "The model's provider refused the key."


def test_missing_key_names_the_variable() -> None:
    with pytest.raises(ModelError, match="needs a key") as caught:
        load_model("mistralai:large", environ={})
    assert "MISTRAL_API_KEY" in caught.value.hint


def test_server_of_ones_own_needs_no_key() -> None:
    given: dict[str, Any] = {}

    def create(name: str, **arguments: Any) -> Any:
        given.update(arguments)
        return OfflinePlanner()

    load_model("openai:local", environ={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, create=create)
    assert given == {"api_key": "none", "timeout": 120.0}
    load_model(
        "openai:local",
        environ={"OPENAI_API_KEY": "sk-abcdefgh"},
        create=lambda name, **a: given.update(a) or OfflinePlanner(),
    )
    assert given == {"api_key": "none", "timeout": 120.0}, "a key that is there is left to the integration"


def test_failure_in_the_constructor_is_one_sentence_without_the_key() -> None:
    def create(name: str, **_: Any) -> Any:
        raise RuntimeError("bad\nthing with Bearer abcdef123456")

    with pytest.raises(ModelError) as caught:
        load_model("ollama:x", environ={}, create=create)
    assert str(caught.value) == "The model 'ollama:x' could not be set up: bad thing with ***."
    told = explain_model_failure(caught.value, environ={}).message
    assert "with ***. Check EDCHAT_MODEL" in told, "sentences must not run together"


class StatusError(Exception):
    def __init__(self, status: int, body: object = None, text: str = "Error code") -> None:
        super().__init__(text)
        self.status_code = status
        self.body = body


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (408, True),
        (422, False),
        (429, True),
        (500, True),
        (503, True),
        (529, True),
    ],
)
def test_status_decides_whether_to_try_again(status: int, retryable: bool) -> None:
    message, again = explain_model_failure(
        StatusError(status, {"error": {"message": "the reason"}}), environ={}
    )
    assert again is retryable
    assert message.endswith(". It says: the reason.")


def test_models_own_message_comes_without_keys() -> None:
    body = {"message": "Incorrect API key provided: sk-proj-abc*****xyz."}
    message, again = explain_model_failure(StatusError(401, body), environ={"OPENAI_API_KEY": "top-secret-1"})
    assert "Incorrect API key provided: ***" in message
    assert not again
    for leak in (
        "api_key=abcdef0123",
        "Authorization: Bearer abc.def-123456",
        "https://user:pw1234@host/x",
        "top-secret-1",
    ):
        text, _ = explain_model_failure(RuntimeError(f"x {leak} y"), environ={"MY_TOKEN": "top-secret-1"})
        for secret in ("abcdef0123", "abc.def-123456", "pw1234", "top-secret-1"):
            assert secret not in text


def test_no_credit_is_not_worth_trying_again() -> None:
    exc = StatusError(429, {"message": "You exceeded your quota"}, text="429 insufficient_quota")
    assert explain_model_failure(exc, environ={}).retryable is False


def wrapped(cause: Exception) -> Exception:
    class APIConnectionError(Exception):
        pass

    error = APIConnectionError("Connection error.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("exc", "words", "retryable"),
    [
        (TimeoutError(), "did not answer in time", True),
        (httpx.ReadTimeout("slow"), "did not answer in time", True),
        (httpx.ConnectError("refused"), "cannot be reached", True),
        (ConnectionRefusedError(111, "refused"), "cannot be reached", True),
        (wrapped(OSError("no route")), "cannot be reached", True),
        (httpx.RemoteProtocolError("peer closed"), "broke off", True),
        (type("GraphRecursionError", (RecursionError,), {})("limit"), "circles", False),
        (ValueError("odd"), "The model failed. It says: odd", False),
    ],
)
def test_failure_is_told_in_plain_words(exc: Exception, words: str, retryable: bool) -> None:
    failure = explain_model_failure(exc, environ={})
    assert words in failure.message
    assert failure.retryable is retryable
    assert len(explain_model_failure(RuntimeError("x" * 9000), environ={}).message) < 700


@pytest.mark.parametrize(("name", "limit"), [
    ("openai:gpt-5", None), ("ollama:qwen3", None), (None, None), ("google_genai:gemini", 7.0), ("some-model", 7.0),
])
def test_silence_is_watched_where_the_models_client_does_not(name: str | None, limit: float | None) -> None:
    assert silence_limit(name, environ={"EDCHAT_MODEL_TIMEOUT": "7"}) == limit
