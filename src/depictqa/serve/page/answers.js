// The answers, newest first, each a card that fills as its answer streams in. The server's value is the card's state.
// Sets page.ask and page.end; triggers "vote", "again" and "restore", each with page.about, its card.
const cards = new Map(); // key -> card
const list = make("div", { class: "dq-cards", "aria-live": "polite" });
const forget = make("button", { type: "button", class: "dq-forget", onclick: () => {
  for (const [key, card] of cards) if (card.state !== "writing") { card.root.remove(); cards.delete(key); }
  title.hidden = !cards.size;
} }, "Forget these");
const title = make("div", { class: "dq-history", hidden: true }, make("strong", {}, "Answers"), forget);
element.querySelector(".dq-root").append(title, list);

const VOTES = {
  up: ["▲ Good", "A good answer"],
  down: ["▼ Bad", "A bad answer"],
  flag: ["⚑ Report", "Something is wrong here; someone should look"],
};
const ENDS = { stopped: "Stopped.", failed: "The page's server does not answer; please ask again." };
const writing = () => [...cards.values()].filter(({ state }) => state === "writing");
const PATIENCE_MS = 6000; // for the first word of the page's server
let count = 0;

function button(name, text, hint, onclick) {
  return make("button", { type: "button", "data-do": name, title: hint, onclick }, text);
}

function addCard(pictures, question) {
  const key = `${Date.now().toString(36)}-${count++}`;
  const card = { key, pictures: { ...pictures }, question, state: "writing" };
  card.text = make("p", { class: "dq-answer" });
  card.cut = make("p", { class: "dq-cut" }, "Cut here: the answer reached the limit “Longest answer, tokens”.");
  card.problem = make("p", { class: "dq-problem", role: "alert" });
  card.sure = make("div", { class: "dq-sure" });
  card.truth = make("p", { class: "dq-truth" }, truthOf(pictures));
  card.small = make("small");
  card.actions = make("footer", {},
    button("words", "Word by word", "Shade each word by how unsure the model was of it", () => {
      card.shaded = !card.shaded;
      show(card);
    }),
    button("copy", "Copy", "Copy the answer", () => navigator.clipboard?.writeText(card.answer)),
    button("again", "↻ Again", "Ask again, with the settings as they are now", () => tell("again", card)),
    button("restore", "↥ Use again", "Take these pictures and this question up again", () => {
      page.give(card.pictures);
      tell("restore", card);
    }),
    make("span", { class: "dq-space" }),
    make("span", { class: "dq-votes" }, ...Object.entries(VOTES).map(
      ([vote, [text, hint]]) => button(vote, text, hint, () => tell("vote", card, { vote })))));
  const thumbs = Object.entries(pictures).map(([slot, { url }]) => {
    const label = props.table.labels[slot];
    return make("img", { src: url, alt: label, title: label });
  });
  const asked = make("div", {}, make("b", {}, question || "(no question)"), card.small);
  card.root = make("article", { class: "dq-card", "data-key": key },
    make("header", {}, make("span", { class: "dq-thumbs" }, ...thumbs), asked),
    card.text, card.cut, card.sure, card.truth, card.problem, card.actions);
  cards.set(key, card);
  list.prepend(card.root);
  title.hidden = false;
  show(card);
  card.root.scrollIntoView({ block: "nearest", behavior: "smooth" });
  return card;
}

/** What is known of an example that is shown as it is. */
function truthOf(pictures) {
  const given = Object.values(pictures), example = given[0]?.example;
  const isWhole = example && given.length === Object.keys(example.pictures).length;
  return isWhole && given.every((picture) => picture.example === example) ? `In truth: ${example.truth}` : "";
}

function tell(event, card, more = {}) {
  page.about = card;
  trigger(event, { id: card.id, ...more });
}

function shade([word, prob]) {
  const style = `--unsure: ${Math.round(100 * (1 - prob))}%`;
  return [/^\s*/.exec(word)[0], make("span", { class: "dq-word", style, title: percent(prob) }, word.trimStart())];
}

function show(card) {
  card.root.dataset.state = card.state;
  card.small.textContent = [card.model, card.task, card.note].filter(Boolean).join(" · ");
  card.text.replaceChildren(...(card.shaded && card.words ? card.words.flatMap(shade) : [card.answer ?? ""]));
  card.problem.textContent = card.message ?? "";
  const hasConfidence = card.confidence !== null && card.confidence !== undefined;
  card.sure.replaceChildren(...(!hasConfidence ? [] : [
    make("span", {}, `Confidence ${percent(card.confidence)}`),
    make("div", { class: "dq-meter", role: "meter", "aria-label": "Confidence", "aria-valuemin": 0, "aria-valuemax": 100,
      "aria-valuenow": Math.round(100 * card.confidence) }, make("div", { style: `width: ${100 * card.confidence}%` })),
  ]));
  card.actions.hidden = card.state === "writing";
  card.cut.hidden = card.finish_reason !== "length";
  card.truth.hidden = card.state !== "done";
  for (const made of card.actions.querySelectorAll("[data-do]")) {
    const name = made.dataset.do;
    if (name in VOTES) made.hidden = !card.id || !card.answer;
    if (name === "copy") made.hidden = !card.answer;
    if (name === "words") { made.hidden = !card.words?.length; made.setAttribute("aria-pressed", String(!!card.shaded)); }
    made.classList.toggle("dq-chosen", name === card.vote);
  }
}

watch("value", () => {
  const told = props.value ?? {};
  const card = told.key ? cards.get(told.key) : [...cards.values()].find(({ id }) => id && id === told.id);
  if (!card || (card.state === "stopped" && !told.vote)) return;
  const { text, ...rest } = told;
  Object.assign(card, rest, text === undefined ? {} : { answer: text });
  show(card);
});

/** The arguments of the server's function, its pictures sent; a card stands for the answer from now on. */
page.ask = async (pictures, question, settings) => {
  if (writing().length) throw new Error("one answer at a time");
  const card = addCard(pictures, question);
  try {
    const ids = await page.send(card.pictures);
    if (card.state !== "writing") throw new Error("stopped");
    listen(card, Object.values(ids)[0]);
    return [{ key: card.key, ...ids }, question, ...settings];
  } catch (error) {
    if (card.state === "writing") {
      Object.assign(card, { state: "failed", message: `The pictures could not be sent: ${error.message}` });
      show(card);
    }
    throw error; // and nothing is asked
  }
};

/** A server that is gone, that came back and knows nothing of this question, or that never took it: look now and then. */
function listen(card, id) {
  const asked = Date.now();
  const timer = setInterval(async () => {
    if (card.state !== "writing") return clearInterval(timer);
    const reply = await fetch(id ? `pictures/${id}` : "./", { method: "HEAD" }).catch(() => null);
    const isTaken = card.task || Date.now() - asked < PATIENCE_MS;
    if (!reply?.ok || !isTaken) page.end("failed");
  }, 3000);
}

/** The running answers are over: stopped, or failed for want of a server. */
page.end = (state) => {
  for (const card of writing()) {
    Object.assign(card, { state, message: ENDS[state] });
    show(card);
  }
};
