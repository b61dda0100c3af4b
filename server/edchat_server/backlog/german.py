# ruff: noqa: E501 (a table of sentences reads better with one in a line)
"""The defaults of a story in German. They name the title as it stands, which reads well for any title."""

from edchat_protocol.artifacts import StoryType

_SENTENCES: dict[StoryType, str] = {
    "story": "Als Nutzer möchte ich „{title}“, damit ich mein Ziel leichter erreiche.",
    "bug": "Als Nutzer möchte ich, dass „{title}“ behoben wird, damit ich zu Ende bringen kann, was ich begonnen habe.",
    "task": "Als Teammitglied möchte ich, dass „{title}“ erledigt wird, damit die nächste Änderung leichter und sicherer ist.",
    "spike": "Als Teammitglied möchte ich eine Antwort auf „{title}“, damit wir nach Fakten entscheiden.",
}
_CRITERIA: dict[StoryType, tuple[str, ...]] = {
    "story": (
        "Angenommen, jemand darf „{title}“ nutzen, dann gelangt er ohne Hilfe ans Ziel",
        "Angenommen, eine Eingabe fehlt oder ist ungültig, dann sagt eine Meldung warum, und nichts wird gespeichert",
        "Angenommen, jemand hat keine Berechtigung, dann wird er abgewiesen, und nichts ändert sich",
    ),
    "bug": (
        "Angenommen, die Schritte zu „{title}“ werden wiederholt, dann erscheint das erwartete Ergebnis",
        "Angenommen, ähnliche Fälle werden ausprobiert, dann funktionieren sie wie zuvor",
        "Ein automatischer Test schlägt ohne die Korrektur fehl und besteht mit ihr",
    ),
    "task": (
        "Angenommen, „{title}“ ist in der Testumgebung erledigt, dann funktioniert alles, was zuvor funktionierte",
        "Angenommen, etwas geht auf halbem Weg schief, dann lässt es sich ohne Verlust zurücknehmen",
        "Was sich geändert hat und wie man es prüft, ist für das Team aufgeschrieben",
    ),
    "spike": (
        "Die Frage hinter „{title}“ ist schriftlich und mit Belegen beantwortet",
        "Mindestens zwei Möglichkeiten sind nach Kosten, Risiko und Zeit verglichen",
        "Eine Empfehlung und die Stories, die daraus folgen, stehen im Backlog",
    ),
}
_DONE: tuple[str, ...] = (
    "Jedes Akzeptanzkriterium ist durch einen automatischen Test abgedeckt",
    "Die Änderung ist geprüft, zusammengeführt und läuft in der Testumgebung",
    "Texte für Nutzer und Dokumentation sind auf dem neuesten Stand",
)
_DONE_OF: dict[StoryType, tuple[str, ...]] = {
    "bug": (
        "Die Ursache steht in der Story",
        "Die Korrektur ist geprüft, zusammengeführt und durch einen Regressionstest abgedeckt",
        "Wer den Fehler gemeldet hat, hat die Korrektur bestätigt",
    ),
    "spike": (
        "Die Ergebnisse wurden dem Team vorgestellt",
        "Der Zeitrahmen wurde eingehalten oder seine Verlängerung vereinbart",
        "Wegwerfcode wurde gelöscht oder als solcher gekennzeichnet",
    ),
}


def user_story_for(title: str, story_type: StoryType) -> str:
    """Return an ``Als … möchte ich … damit …`` sentence."""
    return _SENTENCES[story_type].format(title=title)


def criteria_for(title: str, story_type: StoryType) -> tuple[str, ...]:
    """Return acceptance criteria for this kind of work."""
    return tuple(criterion.format(title=title) for criterion in _CRITERIA[story_type])


def done_for(story_type: StoryType) -> tuple[str, ...]:
    """Return a definition of done that fits the kind of work."""
    return _DONE_OF.get(story_type, _DONE)
