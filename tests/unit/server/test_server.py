"""The server as a whole, in a process of its own: version 2 over both carriers, and who gets in."""

import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server_fixtures import Client, ServerProcess, environment, fold, server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from edchat_cli import main
from edchat_server.identity import add_token


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("server"), "--pause", "0.005") as process:
        yield process


@pytest.fixture
def client(running: ServerProcess) -> Iterator[Client]:
    made = Client(running, session=uuid.uuid4().hex).open()
    yield made
    made.close()


@pytest.fixture
def http(running: ServerProcess) -> Iterator[httpx.Client]:
    with running.http(headers={"Authorization": f"Bearer {running.ready['token']}"}) as made:
        yield made


def again(client: Client, **changes: Any) -> Client:
    """Another client of the same session."""
    return Client(client.server, session=client.session, client=uuid.uuid4().hex, **changes)


# ------------------------------------------------------------------------------------- commands and events


def test_a_run_from_hello_to_the_end(client: Client) -> None:
    message = client.say("make Login | Logout")
    assert client.until("ack")["ref"] == message
    assert client.until_over() == "completed"
    view = fold(client.log)
    assert [part[:3] for part in view if part[0] == "tool"] == [("tool", "create_story", "completed")] * 2
    assert client.log[1]["mid"] == message
    assert client.log[1]["data"]["role"] == "user"


def test_a_conversation_is_remembered_without_keeping_every_checkpoint(tmp_path: Path) -> None:
    with server(tmp_path / "data") as running:
        client = Client(running).open()
        for n in range(4):
            client.say(f"history {n}")
            client.until_over()
        told = json.loads(fold(client.log)[-1][1])
        assert told == [f"history {n}" for n in range(4)]
        client.close()
    with closing(sqlite3.connect(tmp_path / "data" / "edchat.db")) as db:
        assert db.execute("SELECT count(*) FROM checkpoints").fetchone() == (1,)


def test_replay_and_snapshot_show_the_same(client: Client) -> None:
    client.say("make Login")
    client.until_over()
    replay = again(client, epoch=client.epoch).open()
    while replay.cursor < client.cursor:
        replay.recv()
    late = again(client).open()
    while late.cursor < client.cursor:
        late.recv()
    assert replay.log == client.log
    assert len(late.log) < len(client.log)
    assert fold(late.log) == fold(replay.log) == fold(client.log)
    replay.close()
    late.close()


def test_a_long_snapshot_comes_in_pages(client: Client) -> None:
    client.say("big 100000")
    client.until_over()
    client.say("big 100000")
    client.until_over()
    late = again(client).open()
    while late.cursor < client.cursor:
        late.recv()
    pages = [f["data"] for f in late.frames if f["type"] == "snapshot"]
    assert [p["page"] for p in pages] == list(range(1, len(pages) + 1))
    assert len(pages) >= 2
    assert [p["last_page"] for p in pages] == [False] * (len(pages) - 1) + [True]
    assert fold(late.log) == fold(client.log)
    late.close()


def test_a_second_message_waits_and_pings_are_answered_meanwhile(client: Client) -> None:
    client.say("slow 60")
    client.say("hello")
    client.until("status", status="queued")
    client.send({"type": "ping", "data": {"n": 1}})
    pong = client.until("pong")
    assert pong["data"] == {"n": 1}
    assert not any(e["type"] == "status" and e["data"]["status"] == "completed" for e in client.log.values())
    assert client.until_over() == "completed"
    assert client.until_over() == "completed"
    texts = [part[1] for part in fold(client.log) if part[0] == "text"]
    assert texts[-1] == "You said: hello"


def test_a_disconnect_cancels_nothing_and_two_tabs_see_one_log(client: Client) -> None:
    client.say("slow 40")
    client.until("token")
    tab = again(client, epoch=client.epoch).open()
    client.close()
    tab.until_over()
    client.open()
    while client.cursor < tab.cursor:
        client.recv()
    assert client.log == tab.log
    tab.close()


def test_stop_keeps_the_text_so_far_and_the_next_message_runs(client: Client) -> None:
    client.say("slow 400")
    client.until("token")
    client.csn += 1
    client.send({"type": "cancel", "id": "stop-1", "csn": client.csn})
    client.until("status", status="cancelling")
    assert client.until_over() == "cancelled"
    (text,) = [part[1] for part in fold(client.log) if part[0] == "text"]
    assert text.startswith("t0 ")
    assert "t399" not in text
    client.say("hello")
    assert client.until_over() == "completed"


def test_a_stop_between_tool_and_answer_leaves_a_conversation_that_goes_on(client: Client) -> None:
    client.say("make Login | Logout")
    client.until("tool_execution", status="running")
    client.csn += 1
    client.send({"type": "cancel", "id": "stop-1", "csn": client.csn})
    assert client.until_over() in ("cancelled", "completed")
    tools = [part for part in fold(client.log) if part[0] == "tool"]
    assert len(tools) == 2
    assert all(part[2] in ("completed", "error") for part in tools), "a tool's card spins for ever"
    client.say("hello")
    assert client.until_over() == "completed"


def test_the_models_failure_is_an_event_in_its_own_words(client: Client) -> None:
    client.say("fail the provider says no: sk-secret12345678")
    error = client.until("error")
    assert "the provider says no" in error["data"]["error"]
    assert "sk-secret" not in json.dumps(error)
    assert client.until("status", status="failed")["run"] == error["run"]
    client.say("hello")
    assert client.until_over() == "completed"


def test_a_duplicate_a_gap_and_a_conflict(client: Client) -> None:
    frame = {"type": "message", "id": "m1", "csn": 1, "data": {"content": "hello"}}
    client.send(frame)
    run = client.until("ack")["data"]["run"]
    client.send(frame)
    assert client.until("ack", duplicate=True)["data"]["run"] == run
    client.send(frame | {"csn": 5, "id": "m5"})
    nack = client.until("nack")
    assert (nack["data"]["code"], nack["data"]["expect"], nack["data"]["final"]) == ("gap", 2, False)
    client.send(frame | {"data": {"content": "other"}})
    assert client.until("nack")["data"]["code"] == "conflict"
    assert len([e for e in client.log.values() if e["type"] == "message" and e["data"].get("role")]) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"content": " \n"}, "empty_message"),
        ({"content": "é" * 40_000}, "too_large"),
        ({"content": "x", "session_id": "another"}, "wrong_session"),
    ],
)
def test_a_message_that_can_never_be_taken_uses_up_its_csn(
    client: Client, data: dict[str, str], code: str
) -> None:
    client.send({"type": "message", "id": "bad", "csn": 1, "data": data})
    nack = client.until("nack")
    assert (nack["data"]["code"], nack["data"]["final"], nack["csn"]) == (code, True, 1)
    client.csn = 1
    client.say("hello")
    assert client.until("ack")["ack"] == 2


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "not_json"),
        ('"text"', "not_json"),
        ('{"type":' * 20_000, "not_json"),
        ('{"type": "message", "data": ' + "[" * 20_000 + "]" * 20_000 + "}", "not_json"),
        ('{"type": "snapshot"}', "unknown_type"),
        ('{"type": "message", "id": "a b", "csn": 1, "data": {"content": "x"}}', "bad_frame"),
        ('{"type": "message", "data": {"content": "x"}}', "bad_frame"),
        ('{"type": "cancel", "id": "x", "csn": 0}', "bad_frame"),
        ('{"type": "cancel", "id": "x", "csn": 9223372036854775808}', "bad_frame"),
        ('{"type": "hello", "data": {"proto": 2, "session": "s", "client": "c", "conn": 1}}', "bad_frame"),
        ('{"type": "ping", "data": {"x": "' + "y" * 530_000 + '"}}', "too_large"),
    ],
)
def test_bad_frames_are_answered_and_the_connection_stays(client: Client, raw: str, code: str) -> None:
    client.send(raw)
    assert client.until("error")["data"]["code"] == code
    client.say("hello")
    assert client.until_over() == "completed"


@pytest.mark.parametrize("char", ["x", "\x01", "\\", "é", "😀"])
def test_the_largest_message_is_taken_however_json_writes_it(client: Client, char: str) -> None:
    text = char * (65_536 // len(char.encode()))
    message = client.say(text)
    assert client.until("ack")["ref"] == message
    assert client.until("message", role="user")["data"]["content"] == text
    assert client.until_over() == "completed"


def test_a_frame_beyond_the_sockets_limit_ends_that_connection_only(client: Client) -> None:
    client.send("x" * 1_100_000)
    assert closed_code(client.ws) == 1009
    client.close()
    client.open()
    client.say("hello")
    assert client.until_over() == "completed"


# --------------------------------------------------------------------------------------------- connections


def closed_code(ws: Any) -> int:
    """Read to the end; return the close code that the server sent."""
    with suppress(ConnectionClosed):
        while True:
            ws.recv(20)
    return int(ws.close_code)


def test_a_newer_connection_supersedes_an_older_one_of_its_client(client: Client) -> None:
    newer = Client(client.server, session=client.session, client=client.client, conn=client.conn).open()
    assert closed_code(client.ws) == 4409
    newer.say("hello")
    assert newer.until_over() == "completed"
    older = Client(client.server, session=client.session, client=client.client, conn=0)
    with pytest.raises(ConnectionClosed) as closed:
        older.open()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4409
    older.close()
    newer.close()


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ({"type": "ping"}, 4400),
        ({"type": "hello", "data": {"proto": 9, "session": "s", "client": "c", "conn": 1}}, 4504),
    ],
)
def test_a_connection_without_a_proper_hello_is_closed(
    running: ServerProcess, first: dict[str, Any], code: int
) -> None:
    headers = {"Authorization": f"Bearer {running.ready['token']}"}
    with connect(
        running.ws, subprotocols=[Subprotocol("edchat.v2")], additional_headers=headers, proxy=None
    ) as ws:
        ws.send(json.dumps(first))
        assert closed_code(ws) == code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic {token}"}, 401),
        ({"Authorization": "Bearer {token}", "Origin": "https://evil.example"}, 403),
        ({"Authorization": "Bearer {token}", "Origin": "null"}, 403),
        ({"Authorization": "Bearer {token}", "Origin": "http://[localhost"}, 403),
        ({"Authorization": "Bearer {token}", "Host": "evil.example"}, 403),
        ({"Authorization": "Bearer {token}", "Origin": "http://localhost:8888"}, 200),
        ({"Authorization": "Bearer {token}"}, 200),
    ],
)
def test_who_gets_in(running: ServerProcess, headers: dict[str, str], status: int) -> None:
    given = {k: v.format(token=running.ready["token"]) for k, v in headers.items()}
    with running.http(headers=given) as http:
        answer = http.get("/api/status")
        assert answer.status_code == status
        if status != 200:
            assert answer.json()["type"] == "error"
    made = Client(running, session=uuid.uuid4().hex)
    if "Host" in given:
        return  # the socket client sets its own
    if status == 200:
        made.open(**given)
    else:
        given.setdefault("Authorization", "")
        with pytest.raises(InvalidStatus) as refused:
            made.open(**given)
        assert refused.value.response.status_code == status
        log = (running.data_dir / "server.log").read_text(encoding="utf-8")
        assert f"refused '/ws/chat' with status {status}" in log
        assert "completing handshake" not in log
        assert running.ready["token"] not in log
    made.close()


def test_the_open_routes_need_no_token(running: ServerProcess) -> None:
    with running.http() as http:
        assert http.get("/").status_code == 200
        assert http.get("/health").status_code == 200


# ------------------------------------------------------------------------------------------- HTTP carrier


def sse(lines: Iterator[str]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    event_id = None
    for line in lines:
        if line.startswith("id: "):
            event_id = line[4:]
        elif line.startswith("data: "):
            yield event_id, json.loads(line[6:])
            event_id = None


def test_the_same_frames_over_http(running: ServerProcess, http: httpx.Client) -> None:
    session = uuid.uuid4().hex
    place = f"/v2/sessions/{session}"
    with http.stream("GET", f"{place}/events", params={"client": "c", "conn": 1}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["x-accel-buffering"] == "no"
        assert "no-store" in stream.headers["cache-control"]
        frames = sse(stream.iter_lines())
        _, welcome = next(frames)
        assert welcome["type"] == "welcome"
        up = {"client": "c", "conn": 1, "frames": [
            {"type": "message", "id": "m1", "csn": 1, "data": {"content": "make Login"}},
            {"type": "message", "id": "m3", "csn": 3, "data": {"content": "too early"}},
            {"type": "nonsense"},
        ]}
        answer = http.post(f"{place}/frames", json=up).json()
        assert [a["type"] for a in answer["acks"]] == ["ack", "nack", "error"]
        assert answer["ack"] == 1
        assert answer["epoch"] == welcome["data"]["epoch"]
        repeated = http.post(f"{place}/frames", json=up).json()
        assert repeated["acks"][0]["data"]["duplicate"] is True

        collector = Client(running, session=session)
        last_id = None
        while not any(e["type"] == "status" and e["data"]["status"] == "completed"
                      for e in collector.log.values()):
            event_id, frame = next(frames)
            last_id = event_id or last_id
            for event in frame["data"]["frames"] if frame["type"] == "events" else [frame]:
                collector._apply(event)
        assert last_id == f"{welcome['data']['epoch']}:{collector.cursor}"

    by_socket = Client(running, session=session, client="d", epoch=welcome["data"]["epoch"]).open()
    while by_socket.cursor < collector.cursor:
        by_socket.recv()
    assert by_socket.log == collector.log
    by_socket.close()
    resumed = http.stream(
        "GET", f"{place}/events", params={"client": "c", "conn": 2}, headers={"Last-Event-ID": last_id or ""}
    )
    with resumed as stream:
        _, welcome = next(sse(stream.iter_lines()))
        assert welcome["data"]["resume"] == "replay"
    assert http.get(f"{place}/events", params={"client": "c", "conn": 1}).status_code == 409
    assert http.get(f"{place}/events", params={"client": "", "conn": 1}).status_code == 400
    assert http.get(f"{place}/events", params={"client": "c", "conn": 2**64}).status_code == 400
    assert http.post(f"{place}/frames", content=b"{").json()["data"]["code"] == "not_json"


def test_a_full_batch_of_large_messages_fits_in_one_post(http: httpx.Client) -> None:
    blank = " " * 65_536  # refused one by one, so that no run keeps the server busy
    frames = [{"type": "message", "id": f"m{n}", "csn": n, "data": {"content": blank}} for n in range(1, 51)]
    body = {"client": "c", "conn": 1, "frames": frames}
    answer = http.post(f"/v2/sessions/{uuid.uuid4().hex}/frames", json=body)
    assert [ack["data"]["code"] for ack in answer.json()["acks"]] == ["empty_message"] * 50


# ---------------------------------------------------------------------------------------- the process


def test_a_polite_stop_loses_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with server(data, "--pause", "0.02", "--drain", "0.5") as first:
        client = Client(first).open()
        client.say("slow 2000")
        client.until("token")
        first.process.terminate()
        client.until("goaway")
        assert closed_code(client.ws) == 1012
        assert first.wait() == 0
    with server(data) as second:
        client.close()
        client.server = second
        client.open()
        assert client.until("status", status="retrying")["data"]["supersedes"]
        assert client.until_over() == "completed"
        (text,) = [part[1] for part in fold(client.log) if part[0] == "text"]
        assert text == "".join(f"t{n} " for n in range(2000))
        client.close()


def test_the_audit_log_and_the_log_tell_no_text(tmp_path: Path) -> None:
    with server(tmp_path / "data") as running:
        client = Client(running).open()
        client.say("make Very private title")
        client.until_over()
        client.close()
    audit = (tmp_path / "data" / "audit.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in audit.splitlines()]
    assert [(line["tool"], line["action"]) for line in lines] == [
        ("chat", "connect"), ("chat", "message"), ("create_story", "call"), ("chat", "disconnect"),
    ]
    assert set(lines[0]) == {
        "timestamp", "request_id", "actor", "tenant_id", "tool", "action", "input_hash", "output_hash",
        "result", "error", "duration_ms", "metadata",
    }
    assert {line["actor"] for line in lines} == {"ws-s1"}
    log = (tmp_path / "data" / "server.log").read_text(encoding="utf-8")
    for text in (audit, log):
        assert "private" not in text
        assert running.ready["token"] not in text
    assert (tmp_path / "data" / "edchat.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("users", [True, False])
def test_a_server_that_lets_everybody_in_says_so_and_no_other_does(tmp_path: Path, users: bool) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDCHAT_") or k == "EDCHAT_VENV"}
    if users:
        add_token(tmp_path / "tokens.toml", "ada")
        env["EDCHAT_TOKENS_FILE"] = str(tmp_path / "tokens.toml")
    command = [sys.executable, "-m", "edchat_server", "--port", "0", "--data-dir", str(tmp_path), "--idle-exit", "0.1"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert "listening on" in done.stderr
    assert ("no token is set" in done.stderr) is not users


@pytest.mark.parametrize(
    ("options", "env", "sentence"),
    [
        (["--port", "{port}"], {}, "cannot listen on 127.0.0.1:{port}"),
        (["--port", "0", "--data-dir", "{used}"], {}, "another edchat server already uses {used}"),
        (["--host", "0.0.0.0"], {}, "refusing to listen on 0.0.0.0 without a token: set EDCHAT_TOKEN"),
        (["--host", "0.0.0.0"], {"EDCHAT_TOKEN": "short"}, "EDCHAT_TOKEN: takes at least 16 characters"),
        (["--port", "0", "--ready-fd", "977"], {}, "--ready-fd 977: takes the number of an open file"),
        ([], {"EDCHAT_PORT": "many"}, "EDCHAT_PORT='many': takes a port number"),
        ([], {"EDCHAT_ALLOWED_ORIGINS": "evil"}, "EDCHAT_ALLOWED_ORIGINS: 'evil' is no origin"),
        ([], {"EDCHAT_ALLOWED_ORIGINS": "https://["}, "EDCHAT_ALLOWED_ORIGINS: 'https://[' is no origin"),
        (["--port", "0", "--data-dir", "/dev/null/x"], {}, "cannot write in /dev/null/x"),
        ([], {"EDCHAT_TOKEN": "two words"}, "EDCHAT_TOKEN: takes printable ASCII"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    running: ServerProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    env: dict[str, str],
    sentence: str,
) -> None:
    words = {"port": running.url.rsplit(":", 1)[1], "used": str(running.data_dir)}
    monkeypatch.setenv("EDCHAT_DATA_DIR", str(tmp_path))
    for name, value in ({"EDCHAT_TOKEN": "", "EDCHAT_PORT": ""} | env).items():
        monkeypatch.setenv(name, value)
    assert main(["serve", *(option.format(**words) for option in options)]) == 1
    said = capsys.readouterr().err
    assert sentence.format(**words) in said
    assert said.count("\n") == 1
    assert "two words" not in said, "a secret was printed"


def test_a_taken_port_ends_the_process_with_1(running: ServerProcess, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edchat_server", "--port", running.url.rsplit(":", 1)[1],
         "--data-dir", str(tmp_path)],
        capture_output=True, text=True, timeout=60, env=environment(), check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("edchat: cannot listen on 127.0.0.1")
    assert done.stdout == ""


def test_an_idle_server_leaves_but_not_while_somebody_is_there(tmp_path: Path) -> None:
    with server(tmp_path / "data", "--idle-exit", "0.3", script=False) as running:
        client = Client(running).open()
        time.sleep(1.0)
        assert running.process.poll() is None
        client.close()
        assert running.wait() == 0
