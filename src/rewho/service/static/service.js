// Pasting, dropping and drawing on the search page; keys and judging in place on the results. All works without it.
"use strict";

const STORE = "rewho query";

function chosen(input) {
  const preview = document.getElementById("preview"), help = document.getElementById("box-help");
  const box = document.getElementById("box");
  preview.replaceChildren();
  box.value = "";
  preview.hidden = help.hidden = input.files.length !== 1;
  if (input.files.length === 0) { return; }
  const image = document.createElement("img");
  image.alt = "The image you search with";
  image.draggable = false;
  image.src = URL.createObjectURL(input.files[0]);
  image.addEventListener("load", () => remember(image), { once: true });
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const frame = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  drawing.append(frame);
  preview.append(image, drawing);
  draw(preview, image, frame, box);
}

function remember(image) {
  const canvas = document.createElement("canvas"), scale = Math.min(1, 192 / image.naturalHeight);
  canvas.width = Math.max(1, image.naturalWidth * scale);
  canvas.height = Math.max(1, image.naturalHeight * scale);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  sessionStorage.setItem(STORE, canvas.toDataURL("image/jpeg", 0.8));
}

function draw(area, image, frame, box) {
  let start = null;
  const at = (event) => {
    const bounds = image.getBoundingClientRect();
    return [Math.min(Math.max(event.clientX - bounds.left, 0), bounds.width),
            Math.min(Math.max(event.clientY - bounds.top, 0), bounds.height)];
  };
  area.addEventListener("pointerdown", (event) => { start = at(event); area.setPointerCapture(event.pointerId); });
  area.addEventListener("pointermove", (event) => {
    if (!start) { return; }
    const [x, y] = at(event), left = Math.min(x, start[0]), top = Math.min(y, start[1]);
    const width = Math.abs(x - start[0]), height = Math.abs(y - start[1]);
    for (const [name, value] of Object.entries({ x: left, y: top, width, height })) { frame.setAttribute(name, value); }
    const scale = image.naturalWidth / image.getBoundingClientRect().width;
    const sides = [left, top, left + width, top + height].map((side) => Math.round(side * scale));
    box.value = width > 4 && height > 4 ? sides.join(",") : "";
  });
  area.addEventListener("pointerup", () => { start = null; });
}

function take(files) {
  const input = document.getElementById("images");
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!input || !images.length) { return false; }
  const list = new DataTransfer();
  images.forEach((file) => list.items.add(file));
  input.files = list.files;
  chosen(input);
  return true;
}

function openSearch() {
  const drop = document.getElementById("drop");
  if (!drop) { return; }
  document.getElementById("images").addEventListener("change", (event) => chosen(event.target));
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") { take(event.dataTransfer.files); }
    });
  }
  document.addEventListener("paste", (event) => { if (take(event.clipboardData.files)) { event.preventDefault(); } });
}

// The image is kept under the address of its own results: another search's page, opened later, must not show it.
function showQuery() {
  const place = document.querySelector("[data-query]"), last = sessionStorage.getItem(STORE), own = STORE + location.pathname;
  sessionStorage.removeItem(STORE);
  if (!place) { return; }
  const sent = document.referrer && new URL(document.referrer).pathname === "/";
  if (last && sent) { sessionStorage.setItem(own, last); }
  const kept = sessionStorage.getItem(own);
  if (!kept) { return; }
  const image = document.createElement("img");
  image.alt = "The image you searched with";
  image.src = kept;
  place.prepend(image);
}

const cards = () => [...document.querySelectorAll(".candidate")];
const current = () => Math.max(0, cards().findIndex((card) => card.contains(document.activeElement)));
const focusCard = (index) => {
  const all = cards();
  if (all.length) { all[Math.min(Math.max(index, 0), all.length - 1)].querySelector("a.crop").focus(); }
};

function tell(words) {
  const main = document.querySelector("main"), message = document.createElement("p");
  main.querySelector(".wrong")?.remove();
  message.className = "wrong";
  message.setAttribute("role", "alert");
  message.textContent = words;
  main.prepend(message);
  message.scrollIntoView();
}

async function submitInPlace(form, button) {
  const index = cards().findIndex((card) => card.contains(form)), data = new URLSearchParams(new FormData(form));
  if (button) { data.append(button.name, button.value); }
  let answer, page;
  try {
    answer = await fetch(form.action, { method: "POST", body: data, headers: { "X-CSRF-Token": document.body.dataset.csrf } });
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    tell("The service does not answer: nothing was kept. Try again soon.");
    return;
  }
  if (answer.url.includes("/login")) { location.reload(); return; }
  if (!answer.ok) { tell(page.querySelector("[role=alert]")?.textContent ?? "That did not work. Load the page again."); return; }
  document.querySelector("main").replaceWith(page.querySelector("main"));
  history.replaceState(null, "", answer.url);
  showQuery();
  if (index >= 0) { focusCard(index); } else { document.querySelector("main").focus(); }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) { event.preventDefault(); return; }
  if (form.id === "search") { form.querySelector("button").textContent = "Searching…"; }
  if (form.action.endsWith("/logout")) { sessionStorage.clear(); }
  if ("inplace" in form.dataset) {
    event.preventDefault();
    submitInPlace(form, event.submitter);
  }
});

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) { return; }
  const all = cards(), key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const lone = document.querySelector(`main .pair-keys [data-key="${CSS.escape(key)}"]`);
  if (lone) { event.preventDefault(); lone.click(); return; }
  if (!all.length) { return; }
  const now = all[current()], inside = now.contains(document.activeElement);
  const actions = {
    ArrowRight: () => focusCard(inside ? current() + 1 : 0), j: () => focusCard(inside ? current() + 1 : 0),
    ArrowLeft: () => focusCard(current() - 1), k: () => focusCard(current() - 1),
    o: () => now.querySelector("a.crop").click(), m: () => document.querySelector("a[rel=next]")?.click(),
  };
  const button = now.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (button) { event.preventDefault(); button.click(); } else if (actions[key]) { event.preventDefault(); actions[key](); }
});

openSearch();
showQuery();
if (document.querySelector('[data-refresh="yes"]')) {
  setInterval(() => {
    const typing = /^(INPUT|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (!typing) { location.reload(); }
  }, 3000);
}
