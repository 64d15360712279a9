// A search box above examples hides those that do not contain all of its words.
for (const box of document.querySelectorAll(".search input")) {
  const list = box.closest(".examples");
  const items = [...list.querySelectorAll("article")];
  const texts = items.map((item) => item.textContent.toLowerCase());
  const count = list.querySelector("output");
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    items.forEach((item, at) => {
      item.hidden = !words.every((word) => texts[at].includes(word));
      shown += item.hidden ? 0 : 1;
    });
    count.textContent = `${shown} of ${items.length}`;
  });
}
// Paper shows everything.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
