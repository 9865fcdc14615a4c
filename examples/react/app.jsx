import { BroadcastClient } from "broadcastd-client";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Broadcast, useRoom } from "./useRoom.js";

const client = new BroadcastClient("ws://127.0.0.1:9999/ws");

function Agent({ id }) {
  const { events, ready, gap, error } = useRoom(`agent:${id}`, { last: 20 });
  if (error) return <p role="alert">{error.message}</p>;
  return (
    <>
      <p id="state">{ready ? `${events.length} of agent ${id}` : "connecting"}{gap && `, missing: ${gap.missed ?? "some"}`}</p>
      <ol>{events.map((event, index) => <li key={index}>{event.type}: {event.name}</li>)}</ol>
    </>
  );
}

function App() {
  const [id, setId] = useState("42");
  return (
    <Broadcast.Provider value={client}>
      <h1>Agents</h1>
      {["42", "43"].map((it) => <button key={it} onClick={() => setId(it)}>Agent {it}</button>)}
      <Agent id={id} />
    </Broadcast.Provider>
  );
}

// In strict mode React mounts everything twice, which costs nothing here.
createRoot(document.getElementById("app")).render(<StrictMode><App /></StrictMode>);
