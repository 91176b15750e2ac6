// Starts igv.js on the data in this page, and walks from one boundary to the next.
(async () => {
  const view = JSON.parse(document.getElementById("view").textContent);
  const rows = document.querySelectorAll("#places tbody tr");
  const shown = document.getElementById("shown");
  let current = 0;
  let browser;

  function show(place) {
    current = (place + view.loci.length) % view.loci.length;
    rows.forEach((row, number) => row.classList.toggle("current", number === current));
    shown.textContent = `${current + 1} of ${view.loci.length}: ${view.titles[current]}`;
    return browser.search(view.loci[current]);
  }

  try {
    browser = await igv.createBrowser(document.getElementById("igv"), view.options);
    document.getElementById("previous").addEventListener("click", () => show(current - 1));
    document.getElementById("next").addEventListener("click", () => show(current + 1));
    document.querySelectorAll("#places button").forEach((button) =>
      button.addEventListener("click", () => {
        show(Number(button.dataset.place));
        document.getElementById("browser").scrollIntoView();
      })
    );
    await show(0);
    window.gatescope = { browser, ready: true };
  } catch (error) {
    shown.textContent = `The genome view could not start: ${error.message || error}`;
    window.gatescope = { ready: false, error: String(error) };
  }
})();
