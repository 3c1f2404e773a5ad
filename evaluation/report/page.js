"use strict";
// A slider for each strip of images, rings around its point in the plots, boxes that choose the lines of the front, and a
// text for every point that is pointed at.
// Without this script the page has the same pictures and numbers.

const SVG = "http://www.w3.org/2000/svg";
const chapters = [...document.querySelectorAll(".chapter-data")];
const curvesOf = (data) => JSON.parse(data.dataset.curves);
const following = (data) => {
  const parts = [];
  for (let part = data.nextElementSibling; part && !part.matches(".chapter-data"); part = part.nextElementSibling) parts.push(part);
  return parts;
};

/** The markers of a curve in the plots of a guidance scale, a list for each plot that has all of its points. */
function markersOf(parts, curve) {
  return parts
    .filter((part) => part.matches(".panels") && part.dataset.scale === curve.scale)
    .flatMap((part) => [...part.querySelectorAll(`[id$="-${curve.id}"]`)])
    .map((line) => [...line.querySelectorAll("use")])
    .filter((markers) => markers.length === curve.texts.length);
}

function addTexts(markers, texts) {
  markers.forEach((marker, position) => {
    const title = document.createElementNS(SVG, "title");
    title.textContent = texts[position];
    marker.append(title);
  });
}

/** Put a ring on a marker, in place of the ring that its plot had. */
function ring(marker) {
  const plot = marker.ownerSVGElement;
  plot.querySelector(".ring")?.remove();
  const circle = document.createElementNS(SVG, "circle");
  for (const [key, value] of Object.entries({ class: "ring", cx: marker.getAttribute("x"), cy: marker.getAttribute("y"), r: 6, fill: "none", stroke: "var(--accent)", "stroke-width": 2 })) circle.setAttribute(key, value);
  marker.parentNode.append(circle);
}

function play(player, strip, curve, plots) {
  const [slider, output, grid] = ["input", "output", ".grid"].map((name) => player.querySelector(name));
  const fractions = JSON.parse(player.dataset.fractions);
  const show = () => {
    const column = Number(slider.value);
    const position = curve ? curve.fractions.indexOf(fractions[column]) : -1;
    output.textContent = position < 0 ? fractions[column] : curve.texts[position];
    slider.setAttribute("aria-valuetext", fractions[column]);
    strip.querySelectorAll(".chosen").forEach((cell) => cell.classList.remove("chosen"));
    const cells = [...strip.querySelectorAll("tbody tr")].map((row) => row.children[column + 1]);
    cells.forEach((cell) => cell.classList.add("chosen"));
    grid.replaceChildren(...cells.map((cell) => cell.firstElementChild.cloneNode()));
    if (position >= 0) plots.forEach((markers) => ring(markers[position]));
  };
  slider.addEventListener("input", show);
  player.hidden = false;
  show();
}

for (const data of chapters) {
  const parts = following(data);
  const curves = curvesOf(data);
  for (const curve of curves) for (const markers of markersOf(parts, curve)) addTexts(markers, curve.texts);
  for (const player of parts.filter((part) => part.matches(".player"))) {
    const curve = curves.find((each) => each.scale === player.dataset.scale && each.id === player.dataset.curve);
    play(player, player.nextElementSibling, curve, curve ? markersOf(parts, curve) : []);
  }
}

/** Boxes that show and hide the lines of the plot of all points; the dotted front is of the points that are shown. */
function filter(boxes, plot) {
  const texts = JSON.parse(boxes.dataset.texts);
  const groups = [...boxes.querySelectorAll("input")].map((box, number) => {
    const [line, interval] = ["group", "interval"].map((name) => plot.querySelector(`[id$="-${name}-${number}"]`));
    const markers = [...line.querySelectorAll("use")];
    addTexts(markers, texts[number]);
    return { box, parts: [line, interval].filter(Boolean), markers };
  });
  const front = plot.querySelector('[id$="-pareto"] path');
  const show = () => {
    for (const { box, parts } of groups) for (const part of parts) part.style.display = box.checked ? "" : "none";
    const shown = groups.filter(({ box }) => box.checked).flatMap(({ markers }) => markers);
    const places = shown.map((marker) => ["x", "y"].map((key) => Number(marker.getAttribute(key))));
    places.sort((one, other) => one[0] - other[0] || other[1] - one[1]);
    const kept = places.filter(([, y], position) => places.slice(0, position).every((before) => y > before[1])); // down is better
    front.setAttribute("d", kept.length ? `M${kept.map((place) => place.join(" ")).join("L")}` : "");
  };
  boxes.addEventListener("change", show);
  boxes.hidden = false;
}

for (const boxes of document.querySelectorAll(".filter")) filter(boxes, document.querySelector(".front svg"));
