// The three pictures: dropped, pasted or chosen; the task that follows from them; questions and examples to try.
// Sets page.given (slot -> {blob, url, name, id}), page.give, page.send; triggers "question" with page.question.
const { slots, tasks, questions, examples, megabytes } = props.table;
const given = (page.given = {});
const boxes = {};
const taskLine = make("p", { class: "dq-task", role: "status" });
const chips = make("div", { class: "dq-chips" });
let pointedAt = null; // the slot under the pointer or in focus: where a pasted picture goes

function box(slot, label, help) {
  const input = make("input", {
    type: "file", accept: "image/*,.heic,.heif,.avif", "aria-label": label,
    onchange: () => { fill(slot, input.files); input.value = ""; },
  });
  const image = make("img", { alt: label, hidden: true });
  const hint = make("span", { class: "dq-hint" }, help);
  const note = make("p", { class: "dq-note" });
  const problem = make("p", { class: "dq-problem", role: "alert" });
  const remove = make("button", {
    type: "button", class: "dq-remove", hidden: true, title: `Remove ${label}`, "aria-label": `Remove ${label}`,
    onclick: () => page.give({ ...given, [slot]: null }),
  }, "×");
  const section = make("section", {
    class: "dq-slot", "data-slot": slot,
    onpointerenter: () => { pointedAt = slot; }, onpointerleave: () => { pointedAt = null; },
    onfocusin: () => { pointedAt = slot; }, onfocusout: () => { pointedAt = null; },
    ondragover: (event) => { event.preventDefault(); section.classList.add("dq-over"); },
    ondragleave: () => section.classList.remove("dq-over"),
    ondrop: (event) => {
      event.preventDefault();
      event.stopPropagation();
      section.classList.remove("dq-over");
      fill(slot, event.dataTransfer.files);
    },
  }, make("header", {}, make("strong", {}, label), remove), make("label", {}, input, image, hint), note, problem);
  boxes[slot] = { help, section, image, hint, note, problem, remove };
  return section;
}

const firstEmpty = () => ["a", "b", "ref"].find((slot) => !given[slot]) ?? "a";

/** Put files into a slot and, if there are more, into those that are empty. */
function fill(slot, files) {
  const next = { ...given };
  for (const file of [...files].slice(0, 3)) {
    boxes[slot].problem.textContent = "";
    const wrong = problemOf(file);
    if (wrong) boxes[slot].problem.textContent = wrong;
    else next[slot] = { blob: file, name: file.name };
    slot = ["a", "b", "ref"].find((other) => !next[other]) ?? slot;
  }
  page.give(next);
}

function problemOf(file) {
  if (file.type && !file.type.startsWith("image/")) return `${file.name} is not a picture`;
  if (!file.size) return `${file.name} is empty`;
  const size = file.size / 1e6;
  if (size > megabytes) return `${file.name} is too large: ${size.toFixed(1)} MB, at most ${megabytes} MB`;
  return null;
}

/** Show these pictures, and no others. What is given stays given, with the id that the server knows it by. */
page.give = (pictures) => {
  for (const { name } of slots) {
    const picture = pictures[name] ?? null;
    const { help, section, image, hint, note, problem, remove } = boxes[name];
    if (picture === (given[name] ?? null)) continue;
    if (picture) {
      picture.url ??= URL.createObjectURL(picture.blob);
      given[name] = picture;
      image.onload = () => { note.textContent = `${picture.name} · ${image.naturalWidth} × ${image.naturalHeight}`; };
      image.onerror = () => {
        image.hidden = true;
        hint.hidden = false;
        hint.textContent = "This browser cannot show it";
      };
      image.src = picture.url;
      note.textContent = picture.name;
    } else {
      delete given[name];
      image.removeAttribute("src");
      note.textContent = "";
    }
    problem.textContent = "";
    image.hidden = remove.hidden = !picture;
    hint.hidden = !!picture;
    hint.textContent = help;
    section.classList.toggle("dq-full", !!picture);
  }
  const task = tasks[slots.map(({ name }) => name).filter((name) => given[name]).join("+")];
  taskLine.textContent = task?.words ?? "Give picture A; or A and B, to compare them.";
  taskLine.dataset.task = task?.name ?? "";
  const row = questions[task?.kind] ?? [];
  chips.replaceChildren(...row.map((text) => make("button", { type: "button", onclick: () => suggest(text) }, text)));
  page.look?.();
};

function suggest(text) {
  page.question = text;
  trigger("question");
}

/** Ids by which the server knows these pictures; what it does not hold (any more) is sent first. */
page.send = async (pictures) => {
  const ids = {};
  for (const [slot, picture] of Object.entries(pictures)) {
    if (!picture.id || !(await fetch(`pictures/${picture.id}`, { method: "HEAD" })).ok) {
      const reply = await fetch("pictures", { method: "POST", body: picture.blob });
      const body = await reply.json();
      if (!reply.ok) throw new Error(body.error.message);
      picture.id = body.id;
    }
    ids[slot] = picture.id;
  }
  return ids;
};

async function showExample(example) {
  const loaded = {};
  for (const [slot, file] of Object.entries(example.pictures)) {
    loaded[slot] = { name: "example", example, blob: await (await fetch(`examples/${file}`)).blob() };
  }
  page.give(loaded);
  suggest(example.question);
}

function exampleButton(example) {
  const files = Object.values(example.pictures);
  const thumbs = files.map((name) => make("img", { src: `examples/${name}`, alt: "", loading: "lazy" }));
  return make("button", { type: "button", class: "dq-example", onclick: () => showExample(example) },
    make("span", { class: "dq-thumbs" }, ...thumbs), make("span", {}, example.title));
}

const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  fill(pointedAt ?? firstEmpty(), files);
});
document.addEventListener("dragover", (event) => { if (isFile(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  fill(firstEmpty(), event.dataTransfer.files);
});

element.querySelector(".dq-root").append(
  make("div", { class: "dq-slots" }, ...slots.map(({ name, label, help }) => box(name, label, help))),
  taskLine, chips,
  make("p", { class: "dq-label" }, "Or try one of these"),
  make("div", { class: "dq-examples" }, ...examples.map(exampleButton)),
);
page.give({});
