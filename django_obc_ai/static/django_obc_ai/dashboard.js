// Draws the dashboard's charts from the figures that stand in the page, in the admin's colours.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("ai-data").textContent);
  // Distinguishable for colour-blind people, on light and on dark (Okabe and Ito).
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#888888"];
  const OF_CALLS = ["#0072b2", "#009e73", "#d55e00"];
  const drawn = [];

  const colour = (name, otherwise) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim() || otherwise;

  function options(unit, isStacked) {
    const text = colour("--body-fg", "#333");
    const line = colour("--hairline-color", "#e8e8e8");
    const write = (value) => (unit === "$" ? `$${value}` : unit ? `${value} ${unit}` : `${value}`);
    const scale = { stacked: isStacked, ticks: { color: text }, grid: { color: line } };
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      scales: {
        x: { ...scale, grid: { display: false } },
        y: { ...scale, beginAtZero: true, ticks: { color: text, callback: write } },
      },
      plugins: {
        legend: { labels: { color: text, boxWidth: 12 } },
        tooltip: {
          callbacks: { label: (item) => `${item.dataset.label}: ${write(item.parsed.y)}` },
        },
      },
    };
  }

  function draw() {
    while (drawn.length) drawn.pop().destroy();
    for (const figure of document.querySelectorAll("[data-chart]")) {
      const name = figure.dataset.chart;
      const { labels, names, series, unit } = data[name];
      const isLine = name === "times";
      const palette = name === "calls" ? OF_CALLS : COLOURS;
      const datasets = names.map((label, number) => ({
        label,
        data: series[number],
        backgroundColor: palette[number % palette.length],
        borderColor: palette[number % palette.length],
        borderWidth: isLine ? 2 : 0,
        pointRadius: labels.length > 60 ? 0 : 2,
        spanGaps: false,
      }));
      drawn.push(
        new Chart(figure.querySelector("canvas"), {
          type: isLine ? "line" : "bar",
          data: { labels, datasets },
          options: options(unit, !isLine),
        }),
      );
      figure.dataset.drawn = "true";
    }
  }

  async function load(place) {
    try {
      const answer = await fetch(place.dataset.load, { credentials: "same-origin" });
      // Where the session has ended, the answer is the page to log in.
      if (answer.ok && !answer.redirected) place.innerHTML = await answer.text();
    } catch {
      // The link stays, which leads to the same table.
    }
  }

  draw();
  document.querySelectorAll("[data-load]").forEach(load);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  addEventListener("beforeprint", () => drawn.forEach((chart) => chart.resize()));
})();
