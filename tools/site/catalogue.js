// Search and filters of the index, copy buttons on every block of code. Pages are whole without it.
"use strict";

function narrow() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const filters = [...document.querySelectorAll("select[data-filter]")];
  const items = [...document.querySelectorAll("#bundles > li")];
  for (const item of items) {
    const text = item.dataset.search;
    const fits = filters.every((f) => !f.value || item.dataset[f.dataset.filter] === f.value);
    item.hidden = !(fits && words.every((word) => text.includes(word)));
  }
  const shown = items.filter((item) => !item.hidden).length;
  document.getElementById("count").textContent = `${shown} of ${items.length}`;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no permission, or an older browser on a plain file
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

for (const block of document.querySelectorAll("pre")) {
  const button = document.createElement("button");
  const text = block.textContent.trim();
  button.className = "copy";
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await copy(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  const frame = document.createElement("div");
  frame.className = "block";
  block.replaceWith(frame);
  frame.append(block, button);
}

if (document.getElementById("search")) {
  document.getElementById("controls").hidden = false;
  for (const control of document.querySelectorAll("#search, select[data-filter]")) control.addEventListener("input", narrow);
  narrow();
}
