// The only file that knows anywidget: custom messages in, intents out. No trait is read or written.
import { Conversation } from "./conversation";
import { browserKeep } from "./keep";

export interface AfmModel {
  send(content: unknown): void;
  on(event: string, callback: (...args: never[]) => void): void;
}

export class Bridge {
  readonly conversation: Conversation;

  constructor(model: AfmModel) {
    this.conversation = new Conversation({ send: (intent) => model.send(intent), keep: browserKeep() });
    model.on("msg:custom", (message: unknown) => this.conversation.receive(message));
    model.on("comm_live_update", () => this.conversation.probe());
    this.conversation.open();
  }
}
