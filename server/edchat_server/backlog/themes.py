# ruff: noqa: E501 (a table of sentences reads better with one in a line)
"""What common subjects of software stories have in common: who wants them, why, and what can go wrong."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """A subject. In the criteria, ``{it}`` stands for the story's subject in mid-sentence."""

    epic: str
    persona: str
    benefit: str
    words: re.Pattern[str]
    criteria: tuple[str, ...]


def _theme(epic: str, persona: str, benefit: str, words: str, *criteria: str) -> Theme:
    # A leading word boundary only, so that "authenticat" stands for all its endings.
    return Theme(epic, persona, benefit, re.compile(rf"\b(?:{words})", re.IGNORECASE), criteria)


THEMES: tuple[Theme, ...] = (
    _theme(
        "Security",
        "registered user",
        "only I can reach my account and what is in it",
        r"authenticat|authenti[sz]ier|authori[sz]|log[- ]?in\b|sign[- ]?in\b|sign[- ]?on\b|log[- ]?out\b|sign[- ]?out\b|passwor[dt]|2fa|mfa|two-factor|"
        r"sso\b|oauth|oidc|saml|jwt|security|sicherheit|anmeld|abmeld|benutzeranmeldung|permission|encrypt|verschlüssel|"
        r"access control|rbac\b|roles?\b|vulnerab|csrf|xss\b|captcha|account lock|session (?:hijack|timeout)|passkey",
        "Given valid credentials, when they are used for {it}, then access is granted and the visit is recorded",
        "Given wrong or expired credentials, when they are used for {it}, then access is refused with a message "
        "that does not say which part was wrong",
        "Given five failed attempts in a row, when a sixth follows, then it is delayed and the attempts are logged",
        "No password, token or key of {it} appears in logs, URLs or error messages",
    ),
    _theme(
        "Checkout",
        "customer",
        "I can pay without trouble and trust the amount",
        r"check-?out|payment|purchas|paypal|stripe|credit card|apple pay|google pay|refund|invoice|billing|cart\b|basket|"
        r"coupon|voucher|discount|bezahl|zahlung|kasse|warenkorb|rechnung|subscription|pricing|shipping|orders?\b",
        "Given a valid order, when {it} is completed, then the customer sees a confirmation with the exact amount",
        "Given the payment provider declines or times out, when {it} is tried, then nothing is charged, the order "
        "stays as it was and the customer can try again",
        "Given the same request is sent twice, when {it} is processed, then the customer is charged once",
    ),
    _theme(
        "Performance",
        "user under heavy load",
        "pages stay fast when many people use them",
        r"performance|cach(?:e|ing)|redis|memcache|latenc|slow\b|speed|throughput|load (?:time|test|balanc)|faster|"
        r"optimi[sz]|memory (?:leak|usage)|n\+1|indexing\b|langsam|schneller|scal(?:e|ing|ab)|rate limit",
        "Given production-like load, when {it} is measured, then p95 response time and error rate meet the target "
        "agreed in this story",
        "Given {it} is unavailable, when a request comes in, then it is answered without it, more slowly but correctly",
        "A dashboard shows the effect of {it} before and after the release",
    ),
    _theme(
        "Onboarding",
        "new user",
        "I reach the first useful result without help",
        r"onboarding|sign[- ]?up|registration|register\b|registrier|welcome|tutorial|product tour|tour\b|first-time|"
        r"getting started|invit(?:e|ation)|trial\b|profile setup|willkommen",
        "Given a person who has never used the product, when they go through {it}, then they finish without help",
        "Given {it} is left half-way, when the person comes back, then it goes on where it stopped",
        "Given an address that is already known, when {it} is started with it, then the person is led to their account",
    ),
    _theme(
        "Notifications",
        "user",
        "I learn in time of what needs my attention",
        r"notif|e-?mails?\b|newsletter|sms\b|push\b|alerts?\b|remind|benachricht|erinnerung|webhook|digest",
        "Given the event that it is for, when it happens, then {it} reaches the right person once, within one minute",
        "Given the recipient has opted out, when the event happens, then nothing is sent",
        "Given delivery fails, when it is tried again, then it is repeated with growing pauses and finally reported",
    ),
    _theme(
        "Reporting",
        "product manager",
        "I can decide on numbers instead of guesses",
        r"report|dashboard|analytic|metric|statistic|chart|graph\b|kpi|insight|bericht|auswertung|burn-?(?:up|down)|"
        r"csv\b|excel|pdf export|data export|export",
        "Given known test records, when {it} is opened, then every figure equals the one computed by hand",
        "Given there is nothing to show, when {it} is opened, then it says so instead of showing an empty frame",
        "Given a person without permission for the records, when they open {it}, then they do not see them",
    ),
    _theme(
        "Search",
        "user",
        "I find what I need in seconds",
        r"search|suche|filter|sort(?:ing|able)?\b|autocomplete|autosuggest|facet|full-?text|ranking\b",
        "Given an item that fits, when its words are entered in any letter case, then {it} shows it on the first page",
        "Given nothing fits, when {it} is used, then it says so and offers a next step",
        "Given a query with special characters or 1,000 letters, when {it} is used, then it answers without an error",
    ),
    _theme(
        "Mobile",
        "person on the move",
        "I can do it on my phone",
        r"mobile|ios\b|iphone|ipad|android|phone|tablet|responsive|offline mode|app store|touch\b|handy\b",
        "Given a current iPhone and a current Android phone, when {it} is used, then all of it can be reached and read",
        "Given the connection drops, when {it} is in use, then no input is lost and it goes on when the network is back",
        "Given large text is set in the system, when {it} is shown, then nothing is cut off",
    ),
    _theme(
        "Accessibility",
        "person who uses assistive technology",
        "nothing in the product is closed to me",
        r"accessib|a11y|screen ?reader|wcag|contrast|keyboard nav|aria\b|barrierefrei|high contrast|dark mode|dunkelmodus",
        "Given only a keyboard, when {it} is used, then every function can be reached and the focus is always visible",
        "Given a screen reader, when {it} changes, then the change is announced once in plain words",
        "{It} passes an automated WCAG 2.2 AA check without findings",
    ),
    _theme(
        "Integrations",
        "developer of a connected system",
        "my system can rely on it",
        r"integrat|\bapi\b|rest\b|graphql|slack|jira|notion|github|gitlab|salesforce|hubspot|zapier|sdk\b|"
        r"import(?:er|ing)?\b|sync(?:hron)?|third[- ]party|schnittstelle",
        "Given a valid request, when {it} is called, then it answers as its published contract says",
        "Given the other system is down or answers with an error, when {it} is used, then the work is repeated later "
        "and nothing is lost or doubled",
        "Given missing or revoked access, when {it} is called, then it is refused with a clear reason",
    ),
    _theme(
        "Platform",
        "engineer on call",
        "releases are safe and failures are seen early",
        r"deploy|ci/cd|\bci\b|pipeline|docker|kubernetes|k8s|terraform|infrastructure|monitor|observab|logging|tracing|"
        r"backup|restore|migrat|upgrade|database|postgres|kafka|queue\b|cron\b|feature flag|disaster recovery|datenbank",
        "Given the staging environment, when {it} is rolled out, then the service stays available",
        "Given {it} fails half-way, when it is rolled back, then the state before is restored and nothing is lost",
        "An alert with a link to the runbook fires when {it} does not work",
    ),
    _theme(
        "Documentation",
        "reader",
        "I can do it without asking somebody",
        r"document(?:ation|ing)?\b|docs\b|readme|user guide|manual\b|faq\b|changelog|release notes|help (?:page|center|text)|"
        r"handbuch|dokumentation|anleitung",
        "Given a person new to the subject, when they follow {it} step by step, then they reach the result it promises",
        "Every command and screenshot in {it} fits the current version",
        "{It} can be found from the place where the question comes up",
    ),
    _theme(
        "User Profile",
        "registered user",
        "my details are right and under my control",
        r"profile|avatar|account settings|preferences|user settings|personal data|gdpr|dsgvo|delet\w+ (?:\w+ )?account|profil\b|"
        r"privacy|consent|cookie",
        "Given my own account, when I change something through {it}, then the change is shown at once and after a reload",
        "Given an invalid entry, when it is saved through {it}, then the field says what is allowed and nothing is lost",
        "Given another person's account, when somebody tries {it} on it, then it is refused",
    ),
)


# A text about a subject is a text, whatever its subject.
_DOCUMENT = re.compile(r"\b(?:documentation|docs|readme|user guide|release notes|changelog|faq|handbuch|dokumentation)\b", re.IGNORECASE)


def theme_of(text: str) -> Theme | None:
    """Return the theme that the text names first; None if it fits none."""
    if _DOCUMENT.search(text):
        text = "documentation"
    hits = [
        (found.start(), n, theme) for n, theme in enumerate(THEMES) if (found := theme.words.search(text))
    ]
    return min(hits)[2] if hits else None


def suggest_epic(text: str) -> str | None:
    """Return the epic that a story with this text is likely to belong to; None if nothing points to one."""
    theme = theme_of(text)
    return theme.epic if theme else None
