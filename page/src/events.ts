/** Server-sent events of an answer to POST, which EventSource cannot send. */

export interface Told { event: string; data: unknown }

/** The events of the response as they come, their data read as JSON. */
export async function* events(response: Response): AsyncGenerator<Told> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += (value ?? "").replace(/\r\n?/g, "\n");
      const blocks = rest.split("\n\n");
      rest = done ? "" : (blocks.pop() ?? "");
      for (const block of blocks) {
        const told = parsed(block);
        if (told) yield told;
      }
      if (done) return;
    }
  } finally {
    reader.releaseLock();
  }
}

function parsed(block: string): Told | undefined {
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const [name, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^ /, "")];
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) as unknown } : undefined;
}
