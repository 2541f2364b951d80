// The gateway's page: asks `_page/endpoints` again and again and shows it, and sends texts to `_inference`.
// Whatever comes from the API is untrusted: it becomes text or a number here, never markup.
"use strict";

const EVERY = 2_000;
const RARELY = 30_000;
const PATIENCE = 10_000;
/** Of the tab, so that it ends with it; holds the whole value of the header. */
const CREDENTIAL = "lexiscale.authorization";
const FEW_TOKENS = 30;
const MOST_TOKENS = 2_000;
/** WordPiece makes one unknown token of a longer word; with the others it bounds the search. */
const LONGEST_WORD = 100;

const at = (id) => document.getElementById(id);
const part = (root, name) => root.querySelector(`[data-of="${name}"]`);
/** Only what changed is written: a selection, the focus and a screen reader stay where they are. */
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// The API

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  const credential = sessionStorage.getItem(CREDENTIAL);
  if (credential) headers.authorization = credential;
  let response, text;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
    text = await response.text();
  } catch (error) {
    throw new Refused(0, error.name === "TimeoutError" ? "The gateway did not answer in time." : "The gateway cannot be reached.");
  }
  let body = null;
  try { body = JSON.parse(text); } catch { /* not an answer of the gateway */ }
  if (response.ok && body) return body;
  const reason = body?.error?.reason;
  throw new Refused(response.status, typeof reason === "string" ? reason : `The gateway answered ${response.status} ${response.statusText}`);
}

// Words for numbers

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${count.toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

// Endpoints

/** A step function of samples `[milliseconds, desired, ready]` as an SVG path; `column` says which. */
function steps(samples, column, x, y, end) {
  let path = "";
  samples.forEach((sample, index) => {
    const [from, to] = [x(sample[0]), y(sample[column])];
    path += index ? `H${from}V${to}` : `M${from} ${to}`;
  });
  return path && `${path}H${x(end)}`;
}

function drawHistory(card, { history }, { now, window_ms: window }) {
  const [width, height] = [600, 70];
  const since = Math.max(now - window, history.length ? history[0][0] : now);
  const span = Math.max(now - since, 60_000);
  const most = Math.max(0, ...history.flatMap(([, desired, ready]) => [desired, ready]));
  const highest = Math.max(1, most);
  const x = (time) => Math.max(0, width * (1 - (now - time) / span)).toFixed(1);
  const y = (count) => (height - (height - 4) * count / highest).toFixed(1);
  const svg = card.querySelector("svg");
  const ready = steps(history, 2, x, y, now);
  svg.querySelector(".desired").setAttribute("d", steps(history, 1, x, y, now));
  svg.querySelector(".ready").setAttribute("d", ready);
  svg.querySelector(".ready-area").setAttribute("d", ready && `${ready}V${height + 2}H${x(history[0][0])}Z`);
  const told = `last ${duration(span / 1000)}, ${most ? `up to ${most}` : "none"}`;
  svg.setAttribute("aria-label", `Allocations, ${told}`);
  write(part(card, "span"), told);
}

function drawDownload(card, download) {
  const box = part(card, "download");
  box.hidden = !download;
  if (!download) return;
  const { phase, percent, bytes_done: done, bytes_total: total, bytes_per_second: speed, eta_seconds: eta, message } = download;
  const words = [
    total > 0 && `${percent} %`,
    total > 0 ? `${bytes(done)} of ${bytes(total)}` : done > 0 && bytes(done),
    speed > 0 && `${bytes(speed)}/s`,
    Number.isFinite(eta) && `${duration(eta)} left`,
  ].filter(Boolean);
  const tellsNumbers = phase === "Downloading" && words.length > 0;
  write(part(card, "phase"), phase);
  write(part(card, "progress-text"), tellsNumbers ? words.join(" · ") : message ?? "");
  const bar = box.querySelector("progress");
  if (total > 0) bar.value = percent; else bar.removeAttribute("value");
  bar.hidden = phase === "Failed";
}

/** `12.3 s: model 11 s, loading 1.3 s`. */
function drawDurations(card, durations) {
  part(card, "first-ready").hidden = !durations;
  if (!durations) return;
  const told = (milliseconds) => milliseconds < 60_000 ? `${Number((milliseconds / 1000).toFixed(1))} s` : duration(milliseconds / 1000);
  const phases = durations.phases.map(([phase, took]) => `${phase} ${told(took)}`).join(", ");
  write(part(card, "durations"), `${told(durations.total_ms)}${phases && `: ${phases}`}`);
}

function drawTime(node, time, now, words) {
  const then = Date.parse(time ?? "");
  node.hidden = !Number.isFinite(then);
  if (node.hidden) return;
  node.dateTime = time;
  write(node, words(duration(Math.max(0, (now - then) / 1000))));
}

function draw(card, endpoint, page) {
  const { id, service, state, threads, adaptive, allocations, decision, condition, failure } = endpoint;
  write(part(card, "id"), id);
  write(part(card, "state"), state);
  part(card, "state").dataset.state = state;
  const models = [endpoint.model, endpoint.pending_model].filter(Boolean);
  write(part(card, "model"), models.length ? models.join(", then ") : "chosen by the service");
  write(part(card, "service"), service);
  const range = adaptive ? `, adaptive ${adaptive.min} to ${adaptive.max ?? "any"}` : "";
  const each = threads ? `, ${threads} ${threads === 1 ? "thread" : "threads"} each` : "";
  const running = state === "idle" ? "none until the next request" : `${allocations.ready} of ${allocations.desired} ready`;
  write(part(card, "allocations"), `${running}${range}${each}`);
  write(part(card, "desired"), String(allocations.desired));
  write(part(card, "ready"), String(allocations.ready));
  drawDownload(card, endpoint.download);
  drawDurations(card, endpoint.durations);
  drawHistory(card, endpoint, page);
  drawTime(part(card, "decided"), decision?.time, page.now, (past) => `${past} ago`);
  write(part(card, "decision-reason"), decision?.reason ?? "");
  write(part(card, "decision-message"), decision?.message ?? "");
  part(card, "decision").hidden = !decision;
  drawTime(part(card, "since"), condition?.since, page.now, (past) => `for ${past}`);
  write(part(card, "reason"), condition?.reason ?? "Waiting");
  write(part(card, "message"), condition ? condition.message : "the operator has not looked at it yet");
  // What serves as it should is told by its numbers; then only the decision is news.
  part(card, "condition").hidden = Boolean(decision) && state !== "failed" && state !== "deploying";
  const failed = part(card, "failure");
  failed.hidden = !failure || failure.reason === condition?.reason;
  write(failed, failure ? `${failure.reason}: ${failure.message}` : "");
}

const cards = new Map();

function newCard(id) {
  const card = at("endpoint-card").content.firstElementChild.cloneNode(true);
  const title = part(card, "id");
  title.id = `endpoint-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  card.setAttribute("aria-labelledby", title.id);
  const button = part(card, "try");
  button.setAttribute("aria-label", `Try ${id}`);
  button.addEventListener("click", () => {
    at("endpoint").value = id;
    at("text").focus({ preventScroll: true });
    at("try").scrollIntoView();
  });
  return card;
}

function show(page) {
  write(at("namespace"), `· ${page.namespace}`);
  write(at("count"), page.endpoints.length ? `(${page.endpoints.length})` : "");
  const present = new Set(page.endpoints.map(({ id }) => id));
  for (const [id, card] of cards) {
    if (!present.has(id)) { card.remove(); cards.delete(id); }
  }
  page.endpoints.forEach((endpoint, index) => {
    const card = cards.get(endpoint.id) ?? newCard(endpoint.id);
    cards.set(endpoint.id, card);
    draw(card, endpoint, page);
    const place = at("list").children[index];
    if (place !== card) at("list").insertBefore(card, place ?? null);
  });
  at("empty").hidden = present.size > 0;
  offer(page.endpoints);
}

function offer(endpoints) {
  const select = at("endpoint");
  const ids = endpoints.map(({ id }) => id);
  const offered = [...select.options].map((option) => option.value);
  if (ids.length !== offered.length || ids.some((id, index) => id !== offered[index])) {
    const chosen = select.value;
    select.replaceChildren(...ids.map((id) => new Option(id, id)));
    const ready = endpoints.find(({ state }) => state === "ready")?.id ?? ids[0];
    select.value = ids.includes(chosen) ? chosen : ready;
  }
  at("embed").disabled = at("try").hidden = !ids.length;
}

// Polling

let timer;
let failures = 0;
let isAsking = false;

function say(live, text) {
  at("live").dataset.live = live;
  write(at("live"), text);
}

function wait() {
  if (document.hidden) return RARELY;
  return failures ? Math.min(EVERY * 2 ** failures, RARELY) : EVERY;
}

async function poll() {
  clearTimeout(timer);
  if (isAsking) return;
  isAsking = true;
  let goesOn = true;
  try {
    const page = await call("_page/endpoints", { signal: AbortSignal.timeout(PATIENCE) });
    failures = 0;
    at("trouble").hidden = true;
    at("list").classList.remove("stale");
    askToSignIn(null);
    show(page);
    say("yes", "Live");
  } catch (error) {
    failures += 1;
    goesOn = error.status !== 401 && error.status !== 403;
    at("list").classList.add("stale");
    if (goesOn) {
      write(at("trouble"), error.message);
      at("trouble").hidden = false;
      say("no", `Trying again in ${duration(wait() / 1000)}`);
    } else {
      askToSignIn(error);
    }
  }
  isAsking = false;
  // Who has no way in is not asked about again until a credential comes.
  if (goesOn) timer = setTimeout(poll, wait());
}

// Signing in

function askToSignIn(error) {
  const isKnown = sessionStorage.getItem(CREDENTIAL) !== null;
  at("sign-out").hidden = !isKnown;
  if (at("sign-in").hidden !== !error) {
    at("sign-in").hidden = !error;
    at("endpoints").hidden = at("try").hidden = Boolean(error);
    if (error) at("credential").focus();
  }
  if (error) {
    at("trouble").hidden = true;
    write(at("sign-in-reason"), error.message);
    say("no", error.status === 401 ? "Not signed in" : "Not allowed");
  }
}

at("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  let value = at("credential").value.trim();
  let scheme = form.get("scheme");
  const given = /^(Bearer|ApiKey)\s+(.+)$/i.exec(value);
  if (given) [, scheme, value] = given;
  if (!/^[\x21-\x7e]+$/.test(value)) {
    write(at("sign-in-reason"), "A token or key is one word of printable ASCII; this is not.");
    return;
  }
  // As Elasticsearch shows a new key: `id` and `api_key`, which the header wants joined and encoded.
  if (scheme.toLowerCase() === "apikey" && value.includes(":")) value = btoa(value);
  sessionStorage.setItem(CREDENTIAL, `${scheme} ${value}`);
  at("credential").value = "";
  poll();
});

at("sign-out").addEventListener("click", () => {
  sessionStorage.removeItem(CREDENTIAL);
  location.reload();
});

// Try it

/** How byte-level BPE writes bytes: printable ones as their characters of Latin-1, the others as those from U+0100 on. */
const BYTES = (() => {
  const isPrintable = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let other = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : other++));
})();

const inBytes = (text) => Array.from(new TextEncoder().encode(text), (byte) => BYTES[byte]).join("");

/**
 * The kinds of vocabularies, told apart by the `mark` that many tokens begin with. `spell` gives a word as they may write it, likeliest
 * first, by the character before it in the text, if any; `inside` goes before pieces that do not begin a word.
 */
const KINDS = [
  // WordPiece, the mark on what goes on. Many models know no capitals and no accents.
  {
    mark: "##",
    inside: "##",
    spell: (word) => [word.normalize("NFC"), word.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "")],
  },
  // Byte-level BPE, the mark is the space before. Some models put one before the text.
  {
    mark: "Ġ",
    inside: "",
    spell: (word, before) => {
      const marks = before === undefined ? ["", "Ġ"] : [before === " " ? "Ġ" : ""];
      return marks.map((mark) => mark + inBytes(word.normalize("NFC")));
    },
  },
  // SentencePiece, the mark is white space before, or the text's beginning.
  {
    mark: "▁",
    inside: "",
    spell: (word, before) => [(/\S/.test(before ?? "") ? "" : "▁") + word.normalize("NFKC")],
  },
];

function kindOf(tokens) {
  const count = ({ mark }) => tokens.filter((token) => token.startsWith(mark)).length;
  return KINDS.reduce((most, kind) => count(kind) > count(most) ? kind : most);
}

/** The tokens with a weight that a spelling is made of, the longest first, and the share of it that they cover. */
function piecesOf(spelling, { mark, inside }, weights) {
  if (weights.has(spelling)) return { pieces: [spelling], share: 1 };
  const none = { pieces: [], share: 0 };
  if (spelling.length > LONGEST_WORD) return none;
  const pieces = [];
  let covered = 0;
  for (let start = 0; start < spelling.length;) {
    let end = spelling.length;
    const piece = () => (start ? inside : "") + spelling.slice(start, end);
    while (end > start && !weights.has(piece())) end -= 1;
    if (end > start) {
      pieces.push(piece());
      covered += end - start;
      start = end;
    } else if (start === 0) {
      return none;
    } else {
      start += 1;
    }
  }
  // A piece without weight leaves a gap; a beginning alone could as well be another word's.
  const isKnown = pieces.length > 1 && pieces[0].replace(mark, "").length > 2;
  return covered === spelling.length || isKnown ? { pieces, share: covered / spelling.length } : none;
}

/** The tokens of a word that have a weight: the word itself, or pieces that it is made of. */
function tokensOf(word, before, kind, weights) {
  // The API writes a `.` in a token as `__`, as Elasticsearch does.
  const spellings = kind.spell(word, before).map((spelling) => spelling.replaceAll(".", "__"));
  const found = spellings.map((spelling) => piecesOf(spelling, kind, weights));
  return found.reduce((best, other) => other.share > best.share ? other : best).pieces;
}

const WORD = /\p{Script=Han}|(?:(?!\p{Script=Han})[\p{L}\p{N}\p{M}])+|[^\s\p{L}\p{N}\p{M}]/gu;

/** The text as nodes, words with weight marked; adds their tokens to `own`. */
function painted(text, weights, heaviest, own) {
  const nodes = [];
  const kind = kindOf([...weights.keys()]);
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    const pieces = tokensOf(match[0], text[match.index - 1], kind, weights);
    if (!pieces.length) continue;
    nodes.push(text.slice(end, match.index));
    const mark = document.createElement("mark");
    mark.textContent = match[0];
    mark.title = pieces.map((piece) => `${piece} ${weights.get(piece).toFixed(3)}`).join(", ");
    mark.style.setProperty("--share", Math.max(...pieces.map((piece) => weights.get(piece))) / heaviest);
    pieces.forEach((piece) => own.add(piece));
    nodes.push(mark);
    end = match.index + match[0].length;
  }
  nodes.push(text.slice(end));
  return nodes;
}

function bar([token, weight], heaviest, isOwn) {
  const item = document.createElement("li");
  item.className = isOwn ? "own" : "added";
  const [name, line, value] = ["span", "span", "data"].map((kind) => item.appendChild(document.createElement(kind)));
  name.className = "token";
  name.textContent = token;
  line.className = "bar";
  line.style.setProperty("--share", weight / heaviest);
  value.value = String(weight);
  value.textContent = weight.toFixed(2);
  return item;
}

function paint(text, embedding) {
  const entries = Object.entries(embedding).filter(([, weight]) => weight > 0).sort((a, b) => b[1] - a[1]);
  const weights = new Map(entries);
  const heaviest = entries[0]?.[1] ?? 1;
  const own = new Set();
  at("painted").replaceChildren(...painted(text, weights, heaviest, own));
  const bars = (few) => few.map((entry) => bar(entry, heaviest, own.has(entry[0])));
  at("tokens").replaceChildren(...bars(entries.slice(0, FEW_TOKENS)));
  const rest = entries.slice(FEW_TOKENS, MOST_TOKENS);
  const more = at("more");
  more.hidden = !rest.length;
  write(more, `Show ${rest.length} more`);
  more.onclick = () => { at("tokens").append(...bars(rest)); more.hidden = true; };
  at("result").hidden = false;
  return entries.length;
}

let running;

at("try-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  running?.abort();
  const mine = running = new AbortController();
  const [id, text, began] = [at("endpoint").value, at("text").value, performance.now()];
  const said = at("try-said");
  const tell = (words, isBad) => { said.classList.toggle("bad", isBad); write(said, words); };
  tell("Asking; an endpoint at rest takes a moment to start", false);
  at("result").hidden = true;
  try {
    const answer = await call(`_inference/sparse_embedding/${encodeURIComponent(id)}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ input: text }),
      signal: mine.signal,
    });
    if (mine !== running) return;
    const { embedding, is_truncated: isTruncated } = answer.sparse_embedding[0];
    const count = paint(text, embedding);
    const cut = isTruncated ? "; the text is longer than the model reads, its end was not seen" : "";
    tell(`${count} tokens in ${Math.round(performance.now() - began)} ms${cut}`, false);
  } catch (error) {
    if (mine !== running) return;
    tell(error.message, true);
    if (error.status === 401) askToSignIn(error);
  }
});

at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("try-form").requestSubmit();
});

// A quote in the address would end the shell's string.
const target = new URL("_inference/sparse_embedding/my-endpoint", location.href).href.replaceAll("'", "%27");
write(at("create"), `curl -X PUT '${target}' \\
  -H 'Content-Type: application/json' -d '{
  "service": "elasticsearch",
  "service_settings": { "model_id": ".elser_model_2", "num_allocations": 1, "num_threads": 1 }
}'`);

document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
poll();
