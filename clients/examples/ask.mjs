// Asks about a picture, in Node 18 or later and in browsers: IMAGETRUST_TOKEN=... node ask.mjs photo.jpg
//
// A browser asks from the page of a proxy in front of the server, which adds the token and answers preflights: TorchServe
// does neither. `picture` is then what an <input type="file"> holds, and `address` is "".

/** Return the HTTP status and the answer. Options are those of docs/api.md, such as {detail: "verdicts"}. */
export async function ask(address, endpoint, picture, token, options = {}) {
  const headers = { "Content-Type": "application/octet-stream" };
  if (token) headers.Authorization = `Bearer ${token}`;
  for (const [name, value] of Object.entries(options)) headers[`ImageTrust-${name}`] = value;
  const answer = await fetch(`${address}/predictions/${endpoint}`, { method: "POST", headers, body: picture });
  return { status: answer.status, answer: await answer.json() };
}

if (globalThis.process?.argv[1]?.endsWith("ask.mjs")) {
  const { readFile } = await import("node:fs/promises");
  const { IMAGETRUST_ADDRESS = "http://127.0.0.1:8080", IMAGETRUST_TOKEN } = process.env;
  const picture = await readFile(process.argv[2]);
  const { status, answer } = await ask(IMAGETRUST_ADDRESS, "explanation", picture, IMAGETRUST_TOKEN, { detail: "verdicts" });
  console.log(JSON.stringify(answer));
  process.exitCode = status === 200 ? 0 : 1;
}
