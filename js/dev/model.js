// A model whose kernel is a script: it records intents and says what it is told to say.
export class ScriptedModel {
  intents = [];
  dead = false;
  #listeners = new Map();
  #rev = 0;

  send(content) {
    if (this.dead) throw new Error("Cannot send");
    this.intents.push(structuredClone(content));
  }

  on(event, callback) {
    const known = this.#listeners.get(event) ?? [];
    this.#listeners.set(event, [...known, callback]);
  }

  emit(event, ...args) {
    for (const callback of this.#listeners.get(event) ?? []) callback(...args);
  }

  snapshot(view = {}) {
    this.#rev = view.rev ?? 1;
    const base = { session: "demo", connection: { state: "connected", carrier: "ws", latency_ms: 45 } };
    this.emit("msg:custom", { type: "snapshot", view: { ...base, ...view, rev: this.#rev } }, []);
  }

  patch(...ops) {
    this.#rev += 1;
    this.emit("msg:custom", { type: "patch", rev: this.#rev, ops }, []);
  }

  refuse(id, message, code = "refused") {
    this.emit("msg:custom", { type: "refusal", id, code, message }, []);
  }

  kernelDies() {
    this.dead = true;
    this.emit("comm_live_update");
  }
}
