"""Users: their tokens and tickets, whose session is whose, and that no secret is ever written down."""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server_fixtures import Client, ServerProcess, server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from edchat_cli import main
from edchat_server.identity import Identity, Tickets, Tokens, TokensFileError, add_token

pytestmark = pytest.mark.fault("F26", "another user's session or client, a ticket shown twice, secrets in logs")

PAGE = "https://chat.example.com"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


# ------------------------------------------------------------------------------------------------ the file


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file, clock = tmp_path / "tokens.toml", Clock()
    ada = add_token(file, "ada")
    tokens = Tokens("the-server's-own", file, clock)
    assert (found := tokens.find(ada)) is not None
    assert (found.name, found.role) == ("ada", "write")
    assert (own := tokens.find("the-server's-own")) is not None
    assert own.name is None
    assert tokens.find("another") is None

    bob = add_token(file, "bob \"the\" builder", role="read")
    clock.now += 2
    assert (reader := tokens.find(bob)) is not None
    assert (reader.name, reader.role) == ('bob "the" builder', "read")

    file.write_text(file.read_text().replace('"ada"', '"eve"'), encoding="utf-8")
    clock.now += 2
    assert tokens.seconds_left(found) == 0, "the entry is another one now"
    file.write_text("[[token]]\nname = ", encoding="utf-8")
    clock.now += 2
    assert tokens.find(bob) == reader, "a half-written file locks nobody out"
    file.unlink()
    clock.now += 2
    assert tokens.find(bob) is None
    assert tokens.seconds_left(own) > 0


def test_a_token_ends_when_it_expires(tmp_path: Path) -> None:
    file, clock = tmp_path / "tokens.toml", Clock()
    token = add_token(file, "ada", expires=datetime.fromtimestamp(clock.now + 100, UTC))
    tokens = Tokens(None, file, clock)
    who = tokens.find(token)
    assert who is not None
    clock.now += 99
    assert tokens.seconds_left(who) == pytest.approx(1)
    clock.now += 1
    assert tokens.seconds_left(who) == 0
    assert tokens.find(token) is None


def test_a_token_that_may_be_used_for_longer_ends_nothing_that_it_opened(tmp_path: Path) -> None:
    file, clock = tmp_path / "tokens.toml", Clock()
    token = add_token(file, "ada", expires=datetime.fromtimestamp(clock.now + 100, UTC))
    tokens = Tokens(None, file, clock)
    who = tokens.find(token)
    assert who is not None
    later = datetime.fromtimestamp(clock.now + 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    file.write_text(re.sub("expires = .*", f"expires = {later}", file.read_text()), encoding="utf-8")
    clock.now += 90
    assert tokens.seconds_left(who) == pytest.approx(910)
    file.write_text(file.read_text().replace('"write"', '"read"'), encoding="utf-8")
    clock.now += 2
    assert tokens.seconds_left(who) == 0, "it opened more than it may now"


def test_a_token_is_added_to_a_file_that_somebody_wrote_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    ada = add_token(file, "ada")
    file.write_text(file.read_text().rstrip(), encoding="utf-8")  # as some editors leave a file's end
    bob = add_token(file, "bob")
    tokens = Tokens(None, file)
    assert [who.name for who in (tokens.find(ada), tokens.find(bob)) if who] == ["ada", "bob"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "cannot be understood"),
        ('[[token]]\nname = "ada"', "sha256"),
        ('[[token]]\nname = "ada"\nsha256 = "abc"', "64 hexadecimal digits"),
        ('[[token]]\nname = "everyone"\nsha256 = "' + "0" * 64 + '"', "not 'everyone'"),
        ('[[token]]\nname = "ada"\nrole = "admin"\nsha256 = "' + "0" * 64 + '"', "role"),
        ('[[token]]\nname = "ada"\nexpires = 2030-01-01\nsha256 = "' + "0" * 64 + '"', "expires"),
        ('[[token]]\nname = "ada"\nexpires = 2030-01-01T00:00:00\nsha256 = "' + "0" * 64 + '"', "with its offset"),
    ],
)
def test_a_tokens_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "tokens.toml"
    file.touch(0o600)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(TokensFileError, match=re.escape(sentence)):
        Tokens(None, file)


def test_a_tokens_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    add_token(file, "ada")
    file.chmod(0o640)
    with pytest.raises(TokensFileError, match=f"chmod 600 {file}"):
        Tokens(None, file)
    with pytest.raises(TokensFileError, match="edchat token add NAME"):
        Tokens(None, tmp_path / "missing.toml")


def test_the_command_prints_the_token_once_and_keeps_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "tokens.toml"
    arguments = ["token", "add", "--file", str(file)]
    assert main([*arguments, "ada", "--expires", "2999-01-01T00:00:00+01:00"]) == 0
    said = capsys.readouterr()
    token = said.out.strip()
    assert len(token) >= 40
    assert token not in said.err
    assert token not in file.read_text(encoding="utf-8")
    assert file.stat().st_mode & 0o077 == 0
    found = Tokens(None, file).find(token)
    assert found is not None
    assert found.expires == datetime(2998, 12, 31, 23, tzinfo=UTC).timestamp()
    assert main([*arguments, "everyone"]) == 1
    assert "not 'everyone'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "ada", "--expires", "2001-01-01T00:00:00Z"])


def test_a_ticket_is_good_once_and_not_for_long() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    ada = Identity(name="ada")
    first, second = tickets.issue(ada), tickets.issue(ada)
    assert tickets.redeem(first) == ada
    assert tickets.redeem(first) is None
    clock.now += Tickets.SECONDS
    assert tickets.redeem(second) is None
    for _ in range(Tickets.LIMIT + 10):
        tickets.issue(ada)
    assert len(tickets._open) == Tickets.LIMIT


# --------------------------------------------------------------------------------------------- the server


class Users:
    """A server with a tokens file: `client` and `http` for a user by name."""

    def __init__(self, running: ServerProcess, file: Path, tokens: dict[str, str]) -> None:
        self.running, self.file, self.tokens = running, file, tokens
        self._stack = ExitStack()

    def client(self, name: str, session: str, **options: Any) -> Client:
        options.setdefault("client", f"client-of-{name}")
        made = Client(self.running, session=session, **options)
        self._stack.callback(made.close)
        return made.open(Authorization=f"Bearer {self.tokens[name]}")

    def http(self, name: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[name]}"}
        return self._stack.enter_context(self.running.http(headers=headers))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    folder = tmp_path_factory.mktemp("users")
    file = folder / "tokens.toml"
    tokens = {name: add_token(file, name) for name in ("ada", "bob", "leaver", "late")}
    tokens["reader"] = add_token(file, "reader", role="read")
    env = {
        "EDCHAT_TOKENS_FILE": str(file), "EDCHAT_ALLOWED_ORIGINS": PAGE, "EDCHAT_LIMIT_HELLO_SECONDS": "1",
        "EDCHAT_LIMIT_PENDING_PER_ADDRESS": "3",
    }
    with server(folder / "data", **env) as running:
        yield Users(running, file, tokens | {"operator": running.ready["token"]})


@pytest.fixture
def users(place: Users) -> Iterator[Users]:
    yield place
    place.close()


def new_session() -> str:
    return uuid.uuid4().hex


def refused_with(open_it: Callable[[], Any]) -> int:
    """Return the code with which the server ends a connection before its welcome."""
    with pytest.raises(ConnectionClosed) as refused:
        open_it()
    assert refused.value.rcvd is not None
    return refused.value.rcvd.code


def test_a_session_belongs_to_who_began_it(users: Users) -> None:
    session = new_session()
    users.client("ada", session)
    assert refused_with(lambda: users.client("bob", session)) == 4503
    bob = users.http("bob")
    params = {"client": "x", "conn": 1}
    frame = {"type": "message", "id": "m", "csn": 1, "data": {"content": "let me in"}}
    answers = [
        bob.get(f"/v2/sessions/{session}/events", params=params),
        bob.get(f"/v2/sessions/{session}/events", params=params | {"wait": 0}),
        bob.post(f"/v2/sessions/{session}/frames", json={**params, "frames": [frame]}),
        bob.post("/api/agent/process", json={"message": "let me in", "session_id": session}),
        bob.post(f"/v2/sessions/{session}/share", json={"with": "bob"}),
    ]
    assert [(a.status_code, a.json()["data"]["code"]) for a in answers] == [(403, "forbidden")] * 5
    with origins(users.running, session, Authorization=f"Bearer {users.tokens['bob']}") as old:
        assert json.loads(old.recv())["data"]["code"] == "forbidden"
    operator = users.client("operator", session)
    assert operator.welcome["head"] == 0, "something of bob's got in"


def test_nobody_takes_a_session_of_the_operator(users: Users) -> None:
    session = new_session()
    users.client("operator", session)
    assert refused_with(lambda: users.client("bob", session)) == 4503


def test_a_shared_session_names_its_authors_and_who_stopped_it(users: Users) -> None:
    session = new_session()
    ada = users.client("ada", session)
    owner = users.http("ada")
    assert owner.post(f"/v2/sessions/{session}/share", json={"with": ""}).status_code == 400
    assert owner.post(f"/v2/sessions/{session}/share", json={"with": "bob"}).json()["shared_with"] == ["bob"]
    bob = users.client("bob", session)
    assert users.http("bob").post(f"/v2/sessions/{session}/share", json={"with": "x"}).status_code == 403
    bob.say("slow 100")
    assert ada.until("message", role="user")["data"]["author"] == "bob"
    ada.csn += 1
    ada.send({"type": "cancel", "id": uuid.uuid4().hex, "csn": ada.csn})
    assert bob.until("status", status="cancelling")["data"]["by"] == "ada"
    assert refused_with(lambda: users.client("bob", session, client="client-of-ada")) == 4503
    assert refused_with(lambda: users.client("reader", session)) == 4503
    owner.post(f"/v2/sessions/{session}/share", json={"with": "everyone"})
    users.client("reader", session)
    audit = (users.running.data_dir / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    mine = [json.loads(line) for line in audit if session in line]
    assert {line["metadata"].get("user") for line in mine if line["action"] in ("connect", "message")} == {
        "ada", "bob", "reader",
    }


def test_a_reader_listens_and_cannot_write(users: Users) -> None:
    session = new_session()
    ada = users.client("ada", session)
    users.http("ada").post(f"/v2/sessions/{session}/share", json={"with": "reader"})
    reader = users.client("reader", session)
    reader.say("make Trouble")
    nack = reader.until("nack")
    assert (nack["data"]["code"], nack["data"]["final"]) == ("forbidden", True)
    http = users.http("reader")
    body = {"client": "client-of-reader", "conn": 1,
            "frames": [{"type": "cancel", "id": "stop", "csn": 2}]}
    assert http.post(f"/v2/sessions/{session}/frames", json=body).json()["acks"][0]["data"]["code"] == "forbidden"
    assert http.post("/api/agent/process", json={"message": "make Trouble"}).status_code == 403
    assert http.post(f"/v2/sessions/{session}/share", json={"with": "bob"}).status_code == 403
    ada.say("hello")
    assert reader.until_over() == "completed"
    assert "Trouble" not in json.dumps(list(reader.log.values()))


def test_a_removed_token_ends_what_it_opened_on_every_carrier(users: Users) -> None:
    session = new_session()
    socket, http = users.client("leaver", session), users.http("leaver")
    place = f"/v2/sessions/{session}/events"
    with http.stream("GET", place, params={"client": "other", "conn": 1}) as stream:
        lines = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
        assert next(lines)["type"] == "welcome"
        kept = [part for part in users.file.read_text().split("[[token]]") if '"leaver"' not in part]
        users.file.write_text("[[token]]".join(kept), encoding="utf-8")
        assert socket.closed_code() == 4501
        last = list(lines)[-1]
        assert (last["type"], last["data"]["code"]) == ("goaway", 4501)
    assert http.get(place, params={"client": "other", "conn": 2, "wait": 0}).status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        users.client("leaver", session)
    assert refused.value.response.status_code == 401
    assert users.client("ada", new_session()).welcome["head"] == 0


def test_a_token_that_will_expire_is_announced_and_then_ends_the_connection(users: Users) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=4)
    users.tokens["brief"] = add_token(users.file, "brief", expires=soon)
    time.sleep(1.5)  # the file is looked at once a second
    client = users.client("brief", new_session())
    warning = client.until("status", status="auth_expiring")
    assert "seq" not in warning
    assert client.closed_code() == 4501


def test_a_poll_says_that_a_token_will_expire_and_still_waits_for_news(users: Users) -> None:
    users.tokens["polling"] = add_token(users.file, "polling", expires=datetime.now(UTC) + timedelta(seconds=30))
    time.sleep(1.5)
    began = time.monotonic()
    query = {"client": "c", "conn": 1, "cursor": 0, "wait": 2}
    said = users.http("polling").get(f"/v2/sessions/{new_session()}/events", params=query).json()["frames"]
    assert [frame["data"]["status"] for frame in said] == ["auth_expiring"]
    assert time.monotonic() - began >= 2, "else it would be asked again and again for a minute"


def test_a_user_gets_no_further_by_ever_new_names_of_clients(users: Users) -> None:
    users.tokens["mill"] = add_token(users.file, "mill")
    time.sleep(1.5)
    http, session, codes = users.http("mill"), new_session(), []
    for client in range(8):
        stops = [{"type": "cancel", "id": f"{client}-{n}", "csn": n, "data": {}} for n in range(1, 51)]
        body = {"client": f"c{client}", "conn": 1, "frames": stops}
        acks = http.post(f"/v2/sessions/{session}/frames", json=body).json()["acks"]
        codes += [ack["data"].get("code") for ack in acks if ack["type"] == "nack"]
    assert "rate_limited" in codes


def test_a_flood_under_anothers_name_shuts_nobody_out(users: Users) -> None:
    session, ada, bob = new_session(), users.http("ada"), users.http("bob")
    place, frames = f"/v2/sessions/{session}/frames", {"client": "laptop", "conn": 1, "frames": [{"type": "ping"}] * 50}
    assert ada.post(place, json=frames).status_code == 200
    assert {bob.post(place, json=frames).status_code for _ in range(60)} == {403, 429}
    assert ada.post(place, json=frames).status_code == 200


# ------------------------------------------------------------------------------------------------ tickets


def origins(
    running: ServerProcess, session: str, *, page: str | None = None, v2: bool = False, **headers: str
) -> ClientConnection:
    """A socket as a browser opens it: from a page, without a token."""
    return connect(
        f"{running.ws}?session_id={session}", origin=None if page is None else Origin(page), proxy=None,
        subprotocols=[Subprotocol("edchat.v2")] if v2 else None, additional_headers=headers,
    )


def hello(session: str, **more: str) -> str:
    return json.dumps({"type": "hello", "data": {"proto": 2, "session": session, "client": "b", "conn": 1} | more})


def ticket_of(users: Users, name: str) -> str:
    answer = users.http(name).post("/v2/ticket").json()
    assert answer["expires_in"] == 30
    return str(answer["ticket"])


def code_of(ws: ClientConnection) -> int | None:
    with suppress(ConnectionClosed):
        while True:
            ws.recv(10)
    return ws.protocol.close_code


def test_a_browser_gets_in_with_a_ticket_once(users: Users) -> None:
    session, ticket = new_session(), ticket_of(users, "ada")
    with origins(users.running, session, page=PAGE, v2=True) as ws:
        ws.send(hello(session, ticket=ticket))
        assert json.loads(ws.recv())["type"] == "welcome"
        ws.send('{"type": "message", "id": "m1", "csn": 1, "data": {"content": "hello"}}')
        author = None
        while author is None:
            frame = json.loads(ws.recv())
            inner = frame["data"]["frames"] if frame["type"] == "events" else [frame]
            author = next((f["data"].get("author") for f in inner if f["type"] == "message"), None)
        assert author == "ada"
    with origins(users.running, session, page=PAGE, v2=True) as ws:
        ws.send(hello(session, ticket=ticket))
        assert code_of(ws) == 4502
    assert refused_with(lambda: users.client("bob", session)) == 4503


def test_the_origins_browser_client_shows_its_ticket_first(users: Users) -> None:
    session, ticket = new_session(), ticket_of(users, "ada")
    first = json.dumps({"type": "ticket", "data": {"ticket": ticket}})
    with origins(users.running, session, page=PAGE) as ws:
        ws.send(first)
        assert json.loads(ws.recv())["data"]["status"] == "connected"
        ws.send('{"type": "message", "data": {"content": "hello"}}')
        while json.loads(ws.recv())["type"] != "message":
            pass
    with origins(users.running, session, page=PAGE) as ws:
        ws.send(first)
        assert json.loads(ws.recv())["data"]["code"] == "unauthorized"
        assert code_of(ws) == 4502


@pytest.mark.parametrize("v2", [True, False])
@pytest.mark.parametrize(
    ("first", "code"),
    [
        (None, 4408),
        ('{"type": "message", "id": "m", "csn": 1, "data": {"content": "hello"}}', {True: 4400, False: 4502}),
        ('{"type": "ticket", "data": {"ticket": "made-up"}}', {True: 4400, False: 4502}),
        (hello("s"), 4502),
        (hello("s", ticket="made-up"), 4502),
    ],
)
def test_who_shows_no_ticket_stays_outside(
    users: Users, v2: bool, first: str | None, code: int | dict[bool, int]
) -> None:
    with origins(users.running, "s", page=PAGE, v2=v2) as ws:
        if first is not None:
            ws.send(first)
        assert code_of(ws) == (code[v2] if isinstance(code, dict) else code)


@pytest.mark.parametrize(
    ("page", "headers", "status"),
    [
        ("https://evil.example", {}, 403),
        (None, {}, 401),
        (PAGE, {"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_only_an_allowed_page_may_come_without_a_token(
    users: Users, page: str | None, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        origins(users.running, "s", page=page, **headers)
    assert refused.value.response.status_code == status
    with users.running.http(headers={"Origin": PAGE}) as http:
        assert http.get("/api/status").status_code == 401
        assert http.post("/v2/ticket").status_code == 401


def test_only_so_many_wait_without_having_said_who_they_are(users: Users) -> None:
    session = new_session()
    with ExitStack() as open_ones:
        known = open_ones.enter_context(origins(users.running, session, page=PAGE, v2=True))
        known.send(hello(session, ticket=ticket_of(users, "ada")))
        known.recv()
        for _ in range(3):
            open_ones.enter_context(origins(users.running, session, page=PAGE))
        with pytest.raises(InvalidStatus) as refused:
            origins(users.running, session, page=PAGE)
        assert refused.value.response.status_code == 429
        users.client("ada", session)
        time.sleep(1.2)
        open_ones.enter_context(origins(users.running, session, page=PAGE))


# ------------------------------------------------------------------------------------------------ secrets


def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    file, own = tmp_path / "tokens.toml", "own-" + uuid.uuid4().hex
    tokens = {"ada": add_token(file, "ada"), "reader": add_token(file, "reader", role="read")}
    env = {"EDCHAT_TOKENS_FILE": str(file), "EDCHAT_TOKEN": own, "EDCHAT_ALLOWED_ORIGINS": PAGE}
    with server(tmp_path / "data", **env) as running:
        users = Users(running, file, tokens | {"operator": own})
        ticket = ticket_of(users, "ada")
        client = users.client("ada", "s")
        client.say(f"fail the key was {own}")
        client.until_over()
        for wrong in ({}, {"ticket": ticket}, {"ticket": ticket}):
            with origins(running, "s2", page=PAGE, v2=True) as ws:
                ws.send(hello("s2", **wrong))
                ws.recv()
        with origins(running, "s2", page=PAGE) as ws:
            ws.send(json.dumps({"type": "ticket", "data": {"ticket": [ticket]}}))
            said = ws.recv()
        with pytest.raises(ConnectionClosed):
            users.client("reader", "s")
        with running.http(headers={"Authorization": f"Bearer {own[:-1]}"}) as http:
            said = f"{said}{http.get('/api/status').text}"
        said += json.dumps([frame for frame in client.frames if frame["type"] == "error"])
        said += users.http("operator").get("/api/status").text
        users.close()
    written = said.encode() + b"".join(
        path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()
    )
    mine = [frame["data"] for frame in client.log.values() if frame["type"] == "message"]
    typed = sum(own in str(data["content"]) for data in mine)
    assert typed, "what a person typed is theirs, and kept"
    for secret in (ticket, *tokens.values()):
        assert secret.encode() not in written
    assert own.encode() not in json.dumps([data for data in mine if data.get("role") != "user"]).encode()
    for name in ("server.log", "audit.jsonl"):
        text = (tmp_path / "data" / name).read_text(encoding="utf-8")
        assert not any(secret in text for secret in (own, ticket, *tokens.values()))
