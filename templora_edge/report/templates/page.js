"use strict";
// A block that is pointed at, or chosen by a click or the arrow keys, is shown everywhere at once:
// in all figures, in the text, and with the figures of its row of the table in the panel.
for (const run of document.querySelectorAll(".run")) {
  const rows = [...run.querySelectorAll("tbody tr")];
  const titles = [...run.querySelectorAll("thead th")].map((cell) => cell.textContent);
  const panel = run.querySelector(".panel");
  const text = run.querySelector(".text");
  const marks = new Map(rows.map((row) => [row.dataset.block, []]));
  for (const mark of run.querySelectorAll("[data-block]")) marks.get(mark.dataset.block).push(mark);
  let chosen = null;
  let shown = null;

  const show = (block) => {
    if (block === shown) return;
    for (const mark of marks.get(shown) ?? []) mark.classList.remove("on");
    for (const mark of marks.get(block) ?? []) mark.classList.add("on");
    shown = block;
    panel.classList.toggle("empty", block === null);
    panel.querySelector("h2").textContent = block === null ? "Block" : `Block ${block} of ${rows.length}`;
    if (block === null) return;
    const list = panel.querySelector("dl");
    list.replaceChildren();
    [...rows[block - 1].cells].forEach((cell, index) => {
      if (index === 0 || cell.textContent === "") return;
      const line = list.appendChild(document.createElement("div"));
      line.appendChild(document.createElement("dt")).textContent = titles[index];
      line.appendChild(document.createElement("dd")).textContent = cell.textContent;
    });
    panel.querySelector(".excerpt").textContent = text?.querySelector(`[data-block="${block}"]`).textContent.trim() ?? "";
  };
  const choose = (block) => {
    chosen = block;
    show(block);
  };
  const step = (by) => {
    const next = chosen === null ? (by > 0 ? 1 : rows.length) : Number(chosen) + by;
    choose(String(Math.min(Math.max(next, 1), rows.length)));
  };
  const blockOf = (event) => event.target.closest("[data-block]")?.dataset.block ?? null;

  run.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse" && !panel.contains(event.target)) show(blockOf(event) ?? chosen);
  });
  run.addEventListener("pointerleave", () => show(chosen));
  run.addEventListener("click", (event) => {
    const block = blockOf(event);
    if (block !== null) choose(block === chosen ? null : block);
  });
  run.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !event.target.matches(".plot, .text")) return;
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "Escape") choose(null);
    else return;
    event.preventDefault();
  });
  for (const button of panel.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  panel.querySelector(".go").addEventListener("click", () => {
    text?.querySelector(`[data-block="${shown}"]`)?.scrollIntoView({ block: "center" });
  });
  panel.querySelector(".go").hidden = text === null;
  panel.classList.add("empty");
  panel.hidden = false;
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
