// The front-end module's entry. A factory, because a host hands `initialize` and `render` different
// objects for one model: what they share must live in a closure, made once per model.
import { type AfmModel, Bridge } from "./bridge";
import { mount } from "./mount";

export default function panel() {
  let bridge: Bridge | undefined;
  const bridgeOf = (model: AfmModel): Bridge => (bridge ??= new Bridge(model));
  return {
    initialize({ model }: { model: AfmModel }) {
      const { conversation } = bridgeOf(model);
      // A function is the cleanup in every version of the host; `view` on it lets tests look inside.
      return Object.assign(() => conversation.close(), { view: () => conversation.store.toView() });
    },
    render({ model, el }: { model: AfmModel; el: HTMLElement }) {
      return mount(bridgeOf(model).conversation, el);
    },
  };
}
