// All that the pages do by themselves: copying, and telling that news came. Everything else is htmx and plain forms.
"use strict";

document.documentElement.classList.add("scripted");

const say = (text) => {
  const said = document.getElementById("said");
  if (said) said.textContent = text;
};

const copy = async (text) => {
  // The clipboard is there in secure contexts only, such as localhost; elsewhere the older way works.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "out-of-sight";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("not copied");
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  try {
    await copy(button.dataset.copy);
    button.textContent = "Copied";
    button.classList.add("done");
    say("Copied");
  } catch {
    button.textContent = "Select it";
    say("Copying is not possible here: select the text instead");
  }
  setTimeout(() => {
    button.textContent = "Copy";
    button.classList.remove("done");
    say("");
  }, 1600);
});

// News of a page that somebody only looks at; what a search brings is told by its own status line.
document.addEventListener("htmx:afterSwap", (event) => {
  const path = event.detail.pathInfo?.requestPath;
  if (path && path === location.pathname + location.search) say("The page shows news");
});
