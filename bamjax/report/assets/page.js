"use strict";
const uris = JSON.parse(document.getElementById("uris").textContent);

// One object URL per image, however often it is shown.
const urls = {};
function url(key) {
  if (!urls[key]) {
    const [head, body] = uris[key].split(",");
    const bytes = Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
    const type = head.slice(5, head.indexOf(";"));
    urls[key] = URL.createObjectURL(new Blob([bytes], { type }));
  }
  return urls[key];
}

function show(image, key, text) {
  image.src = url(key);
  image.alt = text;
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function start(article) {
  const methods = JSON.parse(article.dataset.methods);
  const stage = article.querySelector(".stage");
  const panels = article.querySelector(".panels");
  const one = (selector) => article.querySelector(selector);
  const buttons = article.querySelectorAll("button[data-view]");
  const split = one(".split");
  const zoom = one(".zoom");
  const errors = one(".errors");
  let view = 0;
  let [x, y] = [0.5, 0.5]; // centre of the zoomed crops, 0 to 1

  function drawStage() {
    for (const side of ["left", "right"]) {
      const select = one(`select[data-side=${side}]`);
      const method = methods[parseInt(select.value, 10)];
      const isError = select.value.endsWith("e");
      const text = method.label + (isError ? ": error" : "");
      const keys = isError ? method.errors : method.views;
      show(one(`.side.${side} img`), keys[view], text);
      one(`.tag.${side}`).textContent = text;
    }
    stage.classList.toggle("crop", view > 0);
    const image = one(".side.right img");
    const ratio = () => {
      stage.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    };
    image.complete ? ratio() : image.addEventListener("load", ratio, { once: true });
  }

  function drawPanels() {
    const crop = Math.max(view, 1);
    for (const panel of article.querySelectorAll(".panel")) {
      const method = methods[panel.dataset.method];
      const isError = errors?.checked && method.errors;
      const keys = isError ? method.errors : method.views;
      const image = panel.querySelector("img");
      show(image, keys[crop], `Crop ${crop}, ${method.label}${isError ? ": error" : ""}`);
      const here = method.cropErrors?.[crop - 1];
      panel.querySelector(".here").textContent = here
        ? `crop ${crop}: RMSE ${here}` : `crop ${crop}`;
    }
  }

  function look(button) {
    view = Number(button.dataset.view);
    for (const b of buttons) {
      b.setAttribute("aria-pressed", String(Number(b.dataset.view) === view));
    }
    drawStage();
    drawPanels();
  }

  // Zooms every panel to the point (x, y) of the crop.
  function move() {
    const z = Number(zoom.value);
    const half = 0.5 / z;
    x = clamp(x, half, 1 - half);
    y = clamp(y, half, 1 - half);
    article.style.setProperty("--z", z);
    article.style.setProperty("--x", `${100 * (0.5 - x * z)}%`);
    article.style.setProperty("--y", `${100 * (0.5 - y * z)}%`);
    article.classList.toggle("zoomed", z > 1);
  }

  function divide() {
    stage.style.setProperty("--split", `${split.value}%`);
  }

  function reset() {
    zoom.value = 1;
    move();
  }

  for (const button of buttons) button.addEventListener("click", () => look(button));
  for (const select of article.querySelectorAll("select")) {
    select.addEventListener("change", drawStage);
  }
  split.addEventListener("input", divide);
  zoom.addEventListener("input", move);
  errors?.addEventListener("change", drawPanels);
  one(".reset").addEventListener("click", reset);
  panels.addEventListener("keydown", (event) => {
    const step = 0.1 / Number(zoom.value);
    const keys = {
      ArrowLeft: () => (x -= step),
      ArrowRight: () => (x += step),
      ArrowUp: () => (y -= step),
      ArrowDown: () => (y += step),
      "+": () => (zoom.value = Number(zoom.value) * 1.25),
      "=": () => (zoom.value = Number(zoom.value) * 1.25),
      "-": () => (zoom.value = Number(zoom.value) / 1.25),
      0: () => (zoom.value = 1),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
    move();
  });
  let held = null; // last position of a dragging pointer
  panels.addEventListener("pointerdown", (event) => {
    const lens = event.target.closest(".lens");
    if (!lens || event.button !== 0) return;
    held = [event.clientX, event.clientY];
    lens.setPointerCapture(event.pointerId);
  });
  panels.addEventListener("pointermove", (event) => {
    if (!held) return;
    const lens = event.target.closest(".lens");
    x -= (event.clientX - held[0]) / lens.clientWidth / Number(zoom.value);
    y -= (event.clientY - held[1]) / lens.clientHeight / Number(zoom.value);
    held = [event.clientX, event.clientY];
    move();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    panels.addEventListener(end, () => (held = null));
  }
  // The browser's native image dragging would interrupt ours.
  panels.addEventListener("dragstart", (event) => event.preventDefault());
  look(buttons[0]);
  divide();
}

document.querySelectorAll(".image").forEach(start);
for (const image of document.querySelectorAll("img[data-key]")) {
  image.loading = "lazy";
  image.src = url(image.dataset.key);
}
for (const mix of document.querySelectorAll(".mix")) {
  const set = () => {
    const maps = mix.closest("details").querySelector(".maps");
    maps.style.setProperty("--mix", mix.value / 100);
  };
  mix.addEventListener("input", set);
}
