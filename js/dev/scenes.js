// Views to look at: one for each state that a reader can meet.
const at = "2026-11-23T14:03:00Z";
const connected = { state: "connected", carrier: "ws", latency_ms: 45.2, server: "ws://127.0.0.1:8001" };
const offline = { name: "Offline planner", offline: true };
const user = (id, text, state = "answered", more = {}) => ({
  id, role: "user", state, created_at: at, parts: [{ kind: "text", id: "t", text }], ...more,
});
const answer = (id, parts, state = "complete", more = {}) => ({
  id, role: "assistant", state, run: id, created_at: at, parts, ...more,
});
const text = (words, open = false, id = "t1") => ({ kind: "text", id, text: words, open });

export const story = {
  id: "STORY-1",
  title: "Users sign in with e-mail and password",
  epic: "Security",
  priority: "P1",
  status: "Backlog",
  type: "story",
  userStory: "As a returning customer, I want to sign in with my e-mail and password, so that my projects stay private.",
  description: "",
  acceptanceCriteria: [
    "Given valid credentials, when I sign in, then I land on my dashboard within two seconds",
    "Given a wrong password, when I try five times, then the account is locked for 15 minutes",
    "A forgotten password can be reset by e-mail",
    "Sessions end after 24 hours without activity",
  ],
  definitionOfDone: ["Code reviewed and merged", "Unit and integration tests pass", "Documentation updated", "Accepted by the product owner"],
  points: 5,
  labels: ["authentication", "security"],
  assignee: "Mira",
  technicalDetails: "",
};
const others = [
  story,
  { ...story, id: "STORY-2", title: "Checkout fails for carts with more than 99 items", priority: "P0", epic: "Payments", status: "In Progress", type: "bug", points: 3 },
  { ...story, id: "STORY-3", title: "Weekly digest e-mail with the changes of the team's projects", priority: "P2", epic: "Engagement", status: "Ready", points: 8 },
  { ...story, id: "STORY-4", title: "Try a faster search index", priority: "P3", epic: "Engineering Tasks", status: "Done", type: "spike", points: null },
  { ...story, id: "STORY-5", title: "Export the audit log", priority: "P2", epic: "Compliance", status: "In Review", points: 2 },
  { ...story, id: "STORY-6", title: "Rotate signing keys", priority: "P1", epic: "Security", status: "Blocked", type: "task", points: 1 },
];
const tool = (state, more = {}) => ({
  kind: "tool_call", id: "call-1", tool: "create_story", title: "Create story", state,
  input: { title: "User authentication", priority: "P1", epic: "Security" }, started_at: at, ...more,
});
const done = tool("output-available", { output: "Created STORY-1", duration_ms: 412 });
const create = "Create a P1 story for user authentication in the Security epic";

const markdown = `Created **STORY-1** in the *Security* epic. Two things to settle before the sprint:

1. Which identity provider do we start with?
2. Do we need \`SSO\` for the first release?

| Option | Effort | Risk |
|:--|--:|:--|
| Own password store | 5 | high |
| [Hosted login](https://example.org) | 3 | low |

- [x] Acceptance criteria written
- [ ] Reviewed with security

\`\`\`python
stories = chat.stories(priority="P1")
stories.df.groupby("epic").size()
\`\`\`

> Sessions end after 24 hours.`;

const longTitle = "As the finance lead of a regional branch I want the monthly reconciliation of card payments, refunds and chargebacks to arrive as one spreadsheet with aVeryLongIdentifierWithoutAnySpacesThatNobodyCanBreakAnywhere so that closing the books takes an hour";

export const scenes = {
  empty: { connection: connected, agent: offline },
  connecting: { connection: { state: "connecting" } },
  story: {
    connection: connected, agent: offline,
    messages: [
      user("u1", create),
      answer("r1", [done, text("Here is the story. I chose **5 points** because it touches the login page, the API and e-mail."), { kind: "artifact", id: "a1", artifact: "story", data: story }]),
    ],
  },
  running: {
    connection: connected, agent: offline,
    messages: [
      user("u1", create, "accepted"),
      answer("r1", [tool("input-available", { started_at: new Date().toISOString(), progress: { percent: 40, step: "Checking for duplicates", seconds_left: 3 } })], "streaming"),
    ],
  },
  typing: { connection: connected, agent: offline, messages: [user("u1", create, "accepted")] },
  streaming: {
    connection: { ...connected, carrier: "http", state: "fallback" }, agent: { name: "gpt-oss" },
    messages: [user("u1", create, "accepted"), answer("r1", [done, text("I have created the story. Its acceptance criteria cover the happy path, the wrong password and", true)], "streaming")],
  },
  markdown: { connection: connected, agent: { name: "claude" }, messages: [user("u1", "What is left to decide?"), answer("r1", [text(markdown)])] },
  stories: {
    connection: connected, agent: offline,
    messages: [
      user("u1", "Which stories are open?"),
      answer("r1", [tool("output-available", { title: "List stories", tool: "list_stories", output: "6 stories", duration_ms: 38 }), text("Six stories, two of them urgent."), { kind: "artifact", id: "a1", artifact: "stories", data: { stories: others } }]),
    ],
  },
  titles: {
    connection: connected, agent: offline,
    messages: [
      user("u1", "Which stories are open?"),
      answer("r1", [
        { kind: "artifact", id: "a1", artifact: "stories", data: { stories: [
          { ...story, id: "STORY-14", title: longTitle, epic: "Accessibility and internationalisation" },
          { ...others[1], id: "STORY-15" }, { ...others[4], id: "STORY-16" },
        ] } },
        text(`| ID | Title | Priority | Epic |\n|---|---|---|---|\n| STORY-14 | ${longTitle} | P1 | Security |\n| STORY-15 | Short | P0 | Payments |`),
      ]),
    ],
  },
  failed: {
    connection: connected, agent: { name: "gpt-5" },
    messages: [
      user("u1", create, "failed", { run: "r1" }),
      answer("r1", [
        tool("output-error", { error: "The run failed before this was done.", duration_ms: 2140 }),
        { kind: "error", id: "error", code: "model_failed", message: "The model refused the key.", hint: "Check OPENAI_API_KEY in the environment of the server.", retryable: true },
      ], "incomplete"),
    ],
  },
  trouble: {
    connection: { state: "disconnected", reason: "Ten attempts failed: connection refused", hint: "Start the server and press Retry" },
    agent: offline, queued: 2,
    messages: [
      user("u1", "Create a story for exports"),
      answer("r1", [tool("output-error", { error: "The backlog file is locked by another process", duration_ms: 2140 }), { kind: "error", id: "e1", code: "agent_failed", message: "The agent could not finish this request.", hint: "Your message is kept; try it again.", retryable: true }], "incomplete", { detail: "error" }),
      user("u2", "And one for imports", "failed", { detail: "the server refused it" }),
      user("u3", "Is anybody there?", "in_doubt", { detail: "The connection was cut before the answer came; this server cannot say what it did." }),
      user("u4", "List all P0 stories", "queued"),
    ],
  },
  reconnecting: {
    connection: { state: "reconnecting", attempt: 2, max_attempts: 10, retry_in_ms: 4000, reason: "The server closed the connection" },
    agent: offline, queued: 1,
    messages: [
      user("u1", "Write a long plan"),
      answer("r1", [text("First we agree on the outcome, then")], "incomplete", { detail: "cancelled" }),
      user("u2", "Go on", "queued"),
    ],
  },
  polling: {
    connection: { state: "fallback", carrier: "poll", latency_ms: 210 }, agent: offline,
    messages: [
      user("u1", "Which stories are open?", "answered"), answer("r1", [text("None. The backlog is empty.")]),
      user("u2", "Create one for imports", "accepted"), user("u3", "And one for exports", "sent"), user("u4", "Both P1", "queued"),
    ],
  },
  offer: {
    connection: {
      state: "disconnected", reason: "No connection to the server: nothing answers there", hint: "Check that it runs",
      offer: { kind: "failover", text: "http://stories.example.org cannot be reached. Go on with the server on this machine?" },
    },
    agent: offline, queued: 2,
    messages: [
      user("u1", "Create a story for exports"), answer("r1", [text("Created **STORY-1**.")]),
      user("u2", "And one for imports", "sent"), user("u3", "List all P0 stories", "queued"),
    ],
  },
  standin: {
    connection: {
      state: "connected", carrier: "ws", latency_ms: 2, server: "the server on this machine",
      notice: "http://stories.example.org cannot be reached; the server on this machine answers in its place.",
    },
    agent: offline,
    messages: [
      user("u1", "Create a story for exports"), answer("r1", [text("Created **STORY-1**.")]),
      user("u2", "And one for imports", "in_doubt", { detail: "Sent to http://stories.example.org, which has not confirmed it. It settles when that server answers again." }),
      { id: "n1", role: "note", state: "complete", created_at: at, parts: [text("From here on the server on this machine")] },
      user("u3", "List all P0 stories"), answer("r3", [text("None yet. Stories that were made on the other server are not known here.")]),
    ],
  },
  back: {
    connection: {
      state: "connected", carrier: "ws", latency_ms: 2, server: "the server on this machine",
      notice: "http://stories.example.org could not be reached; the server on this machine answers in its place.",
      offer: { kind: "failback", text: "http://stories.example.org is back. Return to it? What was said here stays in chat.sessions." },
    },
    agent: offline,
    messages: [
      user("u2", "And one for imports", "failed", { detail: "http://stories.example.org does not have this message." }),
      { id: "n1", role: "note", state: "complete", created_at: at, parts: [text("From here on the server on this machine")] },
      user("u3", "List all P0 stories"), answer("r3", [text("None yet.")]),
    ],
  },
  unknown: {
    connection: { ...connected, guaranteed: false },
    messages: [
      user("u1", "Open an issue for it"),
      answer("r1", [
        { kind: "reasoning", id: "r", text: "The person wants an issue for the last story.", open: false },
        { kind: "artifact", id: "a1", artifact: "issue", data: { id: "I-7", title: "Login page", number: 7, url: "https://example.org/issues/7", labels: ["bug", "ui"] } },
        { kind: "artifact", id: "a2", artifact: "story", data: { ...story, id: "STORY-9", title: "A story with a great many criteria, whose title is so long that it needs more than one line in a narrow cell", priority: "P0", type: "bug", url: "https://example.org/s/9", acceptanceCriteria: Array.from({ length: 9 }, (_, i) => `Criterion number ${i + 1} holds`), technicalDetails: "Uses `argon2id`.", description: "Sign-in is the first thing that people meet." } },
        { kind: "hologram", id: "h", shape: "cube" },
      ]),
    ],
  },
  long: {
    connection: connected, agent: offline,
    messages: Array.from({ length: 300 }, (_, i) => (i % 2 ? answer(`r${i}`, [text(`Answer ${i}: **done**.\n\n- one\n- two`)]) : user(`u${i}`, `Question ${i}`))),
  },
};
