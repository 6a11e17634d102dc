// Requests that outlast a restart of the server, a change of the network, and a laptop that was closed.

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

// The body is read as well, so that an answer which breaks off is fetched again.
async function fetchWhole(url) {
  const answer = await fetch(url);
  await answer.clone().arrayBuffer();
  return answer;
}

// Return the first answer that is not a server error, however long that takes.
export async function persistentFetch(url) {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    const answer = await fetchWhole(url).catch(() => null); // null without a connection
    if (answer && answer.status < 500) return answer;
    await new Promise((done) => setTimeout(done, pause));
  }
}
