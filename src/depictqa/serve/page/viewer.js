// A closer look: pictures side by side, one over the other with a line to swipe, or how far two differ; zoom and place
// are shared.
// Follows page.given; sets page.look.
const LABELS = props.table.labels;
const state = { mode: "side", pair: null, scale: 1, x: 0, y: 0, line: 50 };
const panes = make("div", { class: "dq-panes" });
const zoomText = make("output", { class: "dq-zoom" });
const pairs = make("select", { "aria-label": "Pictures to compare", onchange: () => { state.pair = pairs.value; draw(); } });
const MODES = { side: "Side by side", swipe: "Swipe", difference: "Difference" };
const modes = Object.entries(MODES).map(([mode, text]) => make("button", {
  type: "button", "data-mode": mode, onclick: () => { state.mode = mode; draw(); },
}, text));
const bar = make("div", { class: "dq-bar" }, ...modes, pairs,
  make("span", { class: "dq-space" }),
  make("button", { type: "button", title: "Smaller", "aria-label": "Zoom out", onclick: () => zoom(1 / 1.5) }, "−"),
  zoomText,
  make("button", { type: "button", title: "Larger", "aria-label": "Zoom in", onclick: () => zoom(1.5) }, "+"),
  make("button", { type: "button", title: "The whole picture", onclick: () => move(0, 0, 1) }, "Fit"),
  make("button", { type: "button", title: "Pixel by pixel", onclick: () => zoom(1 / pixelSize()) }, "1:1"));
const root = element.querySelector(".dq-root");
root.append(bar, panes);

const given = () => ["ref", "a", "b"].filter((slot) => page.given?.[slot]);

/** One picture, or two in one place: `mode` says how. */
function pane(slots, mode) {
  const layers = slots.map((slot, index) => make("div", { class: "dq-layer", "data-layer": index },
    make("img", { src: page.given[slot].url, alt: LABELS[slot], draggable: "false", onload: place })));
  const names = slots.map((slot, index) => make("span", { class: `dq-name dq-name-${index}` }, LABELS[slot]));
  const stack = make("div", { class: "dq-stack", "data-mode": mode }, ...layers);
  const made = make("div", { class: "dq-pane", onwheel: wheel, onpointerdown: hold }, stack, ...names);
  if (mode === "swipe") {
    made.append(make("div", { class: "dq-line" }), make("input", {
      type: "range", min: 0, max: 100, step: 0.5, value: state.line, class: "dq-swipe", "aria-label": "Swipe",
      oninput: (event) => { state.line = Number(event.target.value); place(); },
    }));
  }
  return made;
}

/** Anew, with what is given now. */
function draw() {
  const slots = given();
  root.hidden = slots.length === 0;
  const choices = slots.length === 3 ? ["a+b", "ref+a", "ref+b"] : slots.length === 2 ? [slots.join("+")] : [];
  if (!choices.includes(state.pair)) state.pair = choices[0] ?? null;
  pairs.replaceChildren(...choices.map((pair) => make("option", { value: pair, selected: pair === state.pair },
    pair.split("+").map((slot) => LABELS[slot]).join(" | "))));
  const mode = choices.length ? state.mode : "side";
  pairs.hidden = mode === "side" || choices.length < 2;
  for (const button of modes) {
    button.hidden = !choices.length;
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }
  const places = mode === "side" ? slots.map((slot) => [slot]) : [state.pair.split("+")];
  panes.replaceChildren(...places.map((shown) => pane(shown, mode)));
  place();
}

function place() {
  for (const image of panes.querySelectorAll(".dq-layer img")) {
    image.style.transform = `translate(${100 * state.x}%, ${100 * state.y}%) scale(${state.scale})`;
    image.classList.toggle("dq-pixels", pixelSize() >= 3);
  }
  for (const pane of panes.children) pane.style.touchAction = state.scale > 1 ? "none" : "pan-y"; // a phone has to scroll
  const over = panes.querySelector('[data-mode="swipe"] [data-layer="1"]');
  if (over) over.style.clipPath = `inset(0 0 0 ${state.line}%)`;
  for (const line of panes.querySelectorAll(".dq-line")) line.style.left = `${state.line}%`;
  zoomText.textContent = percent(pixelSize());
}

/** How large a pixel of the first picture is on the screen, in pixels of the screen. */
function pixelSize() {
  const image = panes.querySelector("img");
  if (!image?.naturalWidth) return state.scale;
  return state.scale * Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
}

/** Zoom by a factor about a point of the pane, as shares of its size from its middle. */
function zoom(factor, atX = 0, atY = 0) {
  const scale = Math.min(16, Math.max(1, state.scale * factor));
  move(atX - ((atX - state.x) * scale) / state.scale, atY - ((atY - state.y) * scale) / state.scale, scale);
}

function move(x, y, scale = state.scale) {
  const most = (scale - 1) / 2; // the picture covers its pane
  Object.assign(state, { scale, x: Math.max(-most, Math.min(most, x)), y: Math.max(-most, Math.min(most, y)) });
  place();
}

function wheel(event) {
  if (state.scale === 1 && event.deltaY > 0) return; // nothing to make smaller: the page scrolls
  event.preventDefault();
  const frame = event.currentTarget.getBoundingClientRect();
  const across = (event.clientX - frame.left) / frame.width - 0.5, down = (event.clientY - frame.top) / frame.height - 0.5;
  zoom(Math.exp(-event.deltaY / 300), across, down);
}

const fingers = new Map(); // pointer -> where it is
function hold(event) {
  if (event.target.matches(".dq-swipe")) return;
  const target = event.currentTarget, frame = target.getBoundingClientRect();
  target.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  const follow = (now) => {
    const before = fingers.get(now.pointerId);
    if (!before) return;
    const apart = () => {
      const [[ax, ay], [bx, by]] = fingers.values();
      return Math.hypot(ax - bx, ay - by) || 1;
    };
    const wide = fingers.size === 2 && apart();
    fingers.set(now.pointerId, [now.clientX, now.clientY]);
    if (wide) zoom(apart() / wide);
    else move(state.x + (now.clientX - before[0]) / frame.width, state.y + (now.clientY - before[1]) / frame.height);
  };
  const release = (now) => {
    fingers.delete(now.pointerId);
    target.removeEventListener("pointermove", follow);
    for (const name of ["pointerup", "pointercancel"]) target.removeEventListener(name, release);
  };
  target.addEventListener("pointermove", follow);
  for (const name of ["pointerup", "pointercancel"]) target.addEventListener(name, release);
}

window.addEventListener("resize", place);
page.look = draw;
draw();
