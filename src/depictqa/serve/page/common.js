// Shared by the scripts of the page. Each runs in a function of its own, with `element`, `props`, `trigger`, `watch`.
const page = (window.depictqa ??= {});

/** An element: make("button", {class: "x", onclick: f}, "text", child). Text is only ever text. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const percent = (share) => `${Math.round(100 * share)} %`;
