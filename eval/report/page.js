"use strict";
// Tabs, theme, and links from tables into the replay.

const $ = (id) => document.getElementById(id);

function showGroup(index) {
  document.body.classList.toggle("tabbed", document.querySelector("[data-tab]") !== null);
  for (const group of document.querySelectorAll(".group")) group.classList.toggle("shown", group.dataset.group === String(index));
  for (const tab of document.querySelectorAll("[data-tab]")) tab.setAttribute("aria-pressed", String(tab.dataset.tab === String(index)));
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

for (const tab of document.querySelectorAll("[data-tab]")) tab.addEventListener("click", () => showGroup(tab.dataset.tab));
showGroup(0);
$("theme").addEventListener("click", switchTheme);
for (const button of document.querySelectorAll(".jump")) {
  button.addEventListener("click", () => {
    viewer.open(Number(button.dataset.run), button.dataset.talk, Number(button.dataset.time));
    $("replay").scrollIntoView();
    $("viewer").focus({ preventScroll: true });
  });
}
