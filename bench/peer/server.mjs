// The peer: the nearest library, used as its documentation says. Chat SDK keeps locks, duplicates and state in Redis.
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { createRedisState } from "@chat-adapter/state-redis";
import { createTwilioAdapter } from "@chat-adapter/twilio";
import { Chat } from "chat";

const { AGENT_ID, AGENT_URL, AGENT_KEY, PORT, PUBLIC_URL, STATUS_URL, TWILIO_API_BASE_URL } = process.env;
const webhook = { webhookUrl: `${PUBLIC_URL}/twilio/inbound`, statusCallbackUrl: STATUS_URL };
const twilio = createTwilioAdapter({ apiUrl: TWILIO_API_BASE_URL, ...webhook });
const bot = new Chat({ userName: "bridge", adapters: { twilio }, state: createRedisState(), lockScope: "thread" });

async function ask(call, body) {
  const headers = { authorization: `Bearer ${AGENT_KEY}`, "content-type": "application/json" };
  const response = await fetch(`${AGENT_URL}/${call}`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${call}: ${response.status}`);
  return response.json();
}

bot.onDirectMessage(async (thread, message) => {
  let chat_id = (await thread.state)?.chat_id;
  if (!chat_id) {
    ({ chat_id } = await ask("create-chat", { agent_id: AGENT_ID, metadata: { phone: message.author.userId } }));
    await thread.setState({ chat_id });
  }
  const { messages } = await ask("create-chat-completion", { chat_id, content: message.text });
  for (const { role, content } of messages) if (role === "agent") await thread.post(content);
});

createServer(async (incoming, outgoing) => {
  const body = await text(incoming);
  const request = new Request(PUBLIC_URL + incoming.url, { method: incoming.method, headers: incoming.headers, body });
  const response = await bot.webhooks.twilio(request);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
}).listen(PORT, "127.0.0.1");
