(() => {
  const read = (id) => document.getElementById(id).textContent;
  const palette = JSON.parse(read("palette"));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function show() {
    let plots = read("plots");
    if (dark.matches) {
      for (const [light, other] of palette) plots = plots.replaceAll(`"${light}"`, `"${other}"`);
    }
    for (const old of Bokeh.documents.splice(0)) old.clear();
    for (const plot of JSON.parse(plots)) {
      document.getElementById(plot.target_id).replaceChildren();
      Bokeh.embed.embed_item(plot);
    }
  }
  dark.addEventListener("change", show);
  show();
})();
