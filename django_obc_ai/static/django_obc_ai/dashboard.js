// Draws the dashboard's charts from the figures that stand in the page, in the admin's colours.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("ai-data").textContent);
  const page = document.getElementById("ai-dashboard");
  // Distinguishable for colour-blind people, on light and on dark (Okabe and Ito).
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#888888"];
  const OF_CALLS = ["#0072b2", "#009e73", "#56b4e9", "#d55e00"];
  const ON_PAPER = { "--body-fg": "#333", "--hairline-color": "#ccc" };
  const drawn = [];
  let isOnPaper = false;

  const colour = (name) =>
    (!isOnPaper && getComputedStyle(page).getPropertyValue(name).trim()) || ON_PAPER[name];

  function written(unit, value) {
    if (unit !== "$") return unit ? `${value} ${unit}` : value.toLocaleString("en");
    const digits = value && Math.abs(value) < 1 ? 4 : 2;
    return `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: digits })}`;
  }

  // The table below a chart holds the address of the rows behind each bar, and of each day's.
  function addressOf(figure, chart, event, found) {
    const [hit] = chart.getElementsAtEventForMode(event, "nearest", { intersect: true }, false);
    const row = figure.querySelectorAll("tbody tr")[(hit ?? found[0])?.index];
    const cell = hit && row.cells[row.cells.length - chart.data.datasets.length + hit.datasetIndex];
    return (cell?.querySelector("a") ?? row?.querySelector("a"))?.href;
  }

  function options(figure, unit, isStacked) {
    const text = colour("--body-fg");
    const line = colour("--hairline-color");
    const scale = { stacked: isStacked, ticks: { color: text }, grid: { color: line } };
    const days = { color: text, maxRotation: 0, autoSkip: true, autoSkipPadding: 16 };
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      onClick(event, found, chart) {
        const address = addressOf(figure, chart, event, found);
        if (address) location.assign(address);
      },
      scales: {
        x: { ...scale, grid: { display: false }, ticks: days },
        y: { ...scale, beginAtZero: true, ticks: { color: text, precision: unit ? undefined : 0, callback: (value) => written(unit, value) } },
      },
      plugins: {
        legend: { labels: { color: text, boxWidth: 12 } },
        tooltip: {
          filter: (item) => Boolean(item.parsed.y),
          callbacks: { label: (item) => `${item.dataset.label}: ${written(unit, item.parsed.y)}` },
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
        label: label.length > 32 ? `${label.slice(0, 31)}…` : label,
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
          options: options(figure, unit, !isLine),
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

  function drawOn(paper) {
    isOnPaper = paper;
    draw();
  }

  draw();
  document.querySelectorAll("[data-load]").forEach(load);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  addEventListener("beforeprint", () => drawOn(true));
  addEventListener("afterprint", () => drawOn(false));
})();
