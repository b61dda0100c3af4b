import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Conversation } from "../conversation";

const Current = createContext<Conversation | null>(null);

export const ConversationProvider = Current.Provider;

export function useConversation(): Conversation {
  const conversation = useContext(Current);
  if (!conversation) throw new Error("rendered outside a panel");
  return conversation;
}
