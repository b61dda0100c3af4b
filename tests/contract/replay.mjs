// Reads `[{view, patches}]`, plays each into the built panel, writes the view after every step.
import { readFileSync } from "node:fs";

const panel = (await import(new URL("../../src/edchat_widget/static/widget.js", import.meta.url))).default;

function replay({ view, patches }) {
  let receive = () => undefined;
  const sent = [];
  const model = {
    send: (intent) => sent.push(intent),
    on: (event, callback) => event === "msg:custom" && (receive = callback),
  };
  const close = panel().initialize({ model });
  receive({ type: "snapshot", view });
  const views = patches.map((patch) => {
    receive(patch);
    return close.view();
  });
  close();
  return { views, sent };
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(replay)));
