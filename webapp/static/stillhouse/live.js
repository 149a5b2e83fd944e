// A stream of server-sent events that is followed while its page can be seen. A browser has six connections to a site that it reaches
// without HTTP/2: ten pages in the background would leave none to load an eleventh.

const PATIENCE_MS = 10_000; // A page that is hidden for less keeps its stream.
const AGAIN_MS = 30_000;

/** Follows the stream at `address(mark)`, where the mark is the id of the last event that was heard ("" at first). `on` has a handler of
 * data for each kind of event; after "end" nothing more comes. `show(state, text)` is told how it stands. Returns a function that stops. */
export function follow({ address, on, show }) {
  let events = null;
  let mark = "";
  let over = false;
  let later;

  function open() {
    if (events || over || document.hidden) return;
    events = new EventSource(address(mark));
    for (const [name, handler] of Object.entries(on)) {
      events.addEventListener(name, (event) => {
        mark = event.lastEventId || mark;
        if (name === "end") stop();
        handler(JSON.parse(event.data));
      });
    }
    events.onopen = () => show("on", "live");
    // The browser comes back by itself, and says what it has seen; only a refusal ends the stream.
    events.onerror = () => (events?.readyState === EventSource.CLOSED ? refused() : show("off", "reconnecting…"));
  }

  function close() {
    clearTimeout(later);
    events?.close();
    events = null;
  }

  /** An EventSource does not say why it was refused. */
  async function refused() {
    close();
    const asking = new AbortController();
    let again = AGAIN_MS;
    try {
      const answer = await fetch(address(mark), { signal: asking.signal });
      const isPlain = answer.headers.get("content-type")?.startsWith("text/plain");
      if (answer.ok) again = 0;
      else if (answer.status < 429) over = true;
      if (!answer.ok) show("off", `not live: ${isPlain ? await answer.text() : answer.status === 404 ? "you may not see this any more." : `the server answered ${answer.status}.`}`);
    } catch {
      show("off", "not live: the server does not answer.");
    } finally {
      asking.abort();
    }
    if (!over) later = setTimeout(open, again);
  }

  function onVisibility() {
    clearTimeout(later);
    if (document.hidden) later = setTimeout(close, PATIENCE_MS);
    else open();
  }

  function stop() {
    over = true;
    close();
    document.removeEventListener("visibilitychange", onVisibility);
  }

  document.addEventListener("visibilitychange", onVisibility);
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return stop;
}
