"""What `chat.metrics` says is what happened."""

from tests.unit.kernel.scripted import ScriptedServer, Shell

from edchat_widget import Metrics
from edchat_widget._core.meter import WINDOW, Meter


def report(shell: Shell) -> Metrics:
    return shell.client.meter.report(shell.now, queued=len(shell.client.outbox.pending))


def test_a_conversation_without_faults_counts_each_message_once() -> None:
    shell = Shell(ScriptedServer())
    for n in range(3):
        shell.submit(f"m{n}", "x")
    shell.settle()
    shell.tick()  # a ping
    while shell.up or shell.down:
        shell.carry_up()
        shell.carry_down()
    metrics = report(shell)
    assert (metrics.messages_sent, metrics.messages_acknowledged, metrics.queued) == (3, 3, 0)
    assert (metrics.connections, metrics.reconnects, metrics.duplicates_dropped) == (1, 0, 0)
    assert metrics.bytes_sent > 0
    assert metrics.bytes_received > 0
    assert metrics.ping_p95_ms is not None


def test_a_cut_is_counted_with_what_it_made_the_server_say_again() -> None:
    server = ScriptedServer()
    shell = Shell(server)
    shell.submit("m1", "x")
    shell.settle()
    seen = len(server.log)
    shell.submit("m2", "y")
    while shell.up:
        shell.carry_up()
    shell.down.clear()  # the acknowledgement and the events are lost with the line
    shell.cut()
    shell.tick()
    shell.settle()
    metrics = report(shell)
    assert (metrics.connections, metrics.reconnects) == (2, 1)
    assert 0 < metrics.events_replayed <= len(server.log) - seen
    assert (metrics.messages_sent, metrics.messages_acknowledged) == (2, 2)


def test_an_event_that_comes_twice_is_counted_and_shown_once() -> None:
    shell = Shell(ScriptedServer())
    shell.submit("m1", "x")
    while shell.wanted or shell.up or shell.down:
        shell.open()
        shell.carry_up()
        shell.carry_down(twice=shell.client.connection.live)
    assert report(shell).duplicates_dropped > 0
    assert len(shell.shown.messages) == 1


def test_the_share_of_time_with_a_connection_leaves_out_the_time_without() -> None:
    meter = Meter()
    meter.watch(0.0, live=False)
    meter.watch(10.0, live=True)
    meter.watch(15.0, live=True)
    meter.watch(20.0, live=False)
    assert meter.report(40.0, queued=0).uptime == 0.25


def test_percentiles_are_of_the_last_samples_alone() -> None:
    meter = Meter()
    assert meter.report(0.0, queued=0).ack_p50_ms is None
    for n in range(3 * WINDOW):
        meter.sent(f"m{n}", 0.0)
        meter.acknowledged(f"m{n}", 0.001 if n >= WINDOW else 9.0)
    meter.sent("slow", 0.0)
    meter.acknowledged("slow", 0.5)
    metrics = meter.report(1.0, queued=0)
    assert (metrics.ack_p50_ms, metrics.ack_p95_ms) == (1.0, 1.0)


def test_what_is_never_confirmed_does_not_fill_the_memory() -> None:
    meter = Meter()
    for n in range(10 * WINDOW):
        meter.sent(f"m{n}", 0.0)
    assert len(meter._out) <= WINDOW


def test_metrics_read_as_a_table_without_words_of_code() -> None:
    text = Metrics(queued=2, uptime=0.9876, ack_p50_ms=1.25)._repr_markdown_()
    assert "| commands that the server has not confirmed | 2 |" in text
    assert "98.8%" in text
    assert "None" not in text
    assert "_" not in text
