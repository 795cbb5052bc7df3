// Drawing, and asking. What is drawn becomes 8x8 numbers as the data set was made: 32x32 black or white, counted in blocks of 4x4.
import { Cresset } from "../cresset/client.js";

const site = new Cresset("/inference");
const canvas = document.querySelector("#canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const answer = document.querySelector("#answer");

const clear = () => pen.clearRect(0, 0, canvas.width, canvas.height);
pen.lineWidth = 22;
pen.lineCap = pen.lineJoin = "round";
pen.strokeStyle = "#fff";

let drawing = false;
const at = (event) => [event.offsetX, event.offsetY];
canvas.addEventListener("pointerdown", (event) => {
  drawing = true;
  canvas.setPointerCapture(event.pointerId);
  pen.beginPath();
  pen.moveTo(...at(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  pen.lineTo(...at(event));
  pen.stroke();
});
canvas.addEventListener("pointerup", () => (drawing = false));

/** The box around what is white, as the data set's digits fill theirs. */
function box(data, width) {
  let [left, top, right, bottom] = [width, width, -1, -1];
  for (let y = 0; y < width; y++)
    for (let x = 0; x < width; x++)
      if (data[(y * width + x) * 4 + 3] * data[(y * width + x) * 4] > 128 * 255) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
  return right < 0 ? null : [left, top, right - left + 1, bottom - top + 1];
}

function pixels() {
  const found = box(pen.getImageData(0, 0, canvas.width, canvas.height).data, canvas.width);
  if (!found) return null;
  const [x, y, width, height] = found;
  const small = document.createElement("canvas");
  small.width = small.height = 32;
  const scaled = small.getContext("2d");
  const scale = Math.min(26 / width, 32 / height);
  scaled.drawImage(canvas, x, y, width, height, (32 - width * scale) / 2, (32 - height * scale) / 2, width * scale, height * scale);
  const { data } = scaled.getImageData(0, 0, 32, 32);
  const lit = (column, row) => (data[(row * 32 + column) * 4 + 3] * data[(row * 32 + column) * 4] > 128 * 255 ? 1 : 0);
  return Array.from({ length: 8 }, (_, row) =>
    Array.from({ length: 8 }, (_, column) => {
      let count = 0;
      for (let i = 0; i < 16; i++) count += lit(column * 4 + (i % 4), row * 4 + Math.floor(i / 4));
      return count;
    }),
  );
}

function show(probabilities) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  const digit = Object.assign(document.createElement("div"), { className: "digit", textContent: best });
  const bars = probabilities.map((probability, value) => {
    const bar = Object.assign(document.createElement("div"), { className: "bar" });
    const fill = document.createElement("i");
    fill.style.width = `${probability * 100}%`;
    bar.append(String(value), fill, `${(probability * 100).toFixed(1)} %`);
    return bar;
  });
  answer.replaceChildren(digit, ...bars);
}

async function ask(grid) {
  if (!grid) {
    answer.textContent = "Draw something first.";
    return;
  }
  try {
    const task = await site.submit("/classify", grid);
    const element = document.createElement("cresset-task");
    element.setAttribute("events", task.events_url);
    element.setAttribute("src", task.url);
    element.addEventListener("cresset-end", (event) => {
      if (event.detail.status !== "SUCCESS") return;
      event.preventDefault();
      show(event.detail.result);
    });
    answer.replaceChildren(element);
  } catch (error) {
    answer.textContent = error.message;
  }
}

document.querySelector("#form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(pixels());
});
document.querySelector("#clear").addEventListener("click", () => {
  clear();
  answer.replaceChildren();
});
document.querySelector("#file").addEventListener("change", async (event) => {
  let image;
  try {
    image = await createImageBitmap(event.target.files[0]);
  } catch {
    answer.textContent = "This file is no image that can be read here.";
    return;
  }
  clear();
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  ask(pixels());
});
for (const [index, grid] of JSON.parse(document.querySelector("#samples").textContent).entries()) {
  const thumb = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  thumb.setAttribute("aria-label", `held-out digit ${index}`);
  const dot = thumb.getContext("2d");
  grid.forEach((row, y) =>
    row.forEach((value, x) => {
      dot.fillStyle = `rgb(${value * 15.9} ${value * 15.9} ${value * 15.9})`;
      dot.fillRect(x, y, 1, 1);
    }),
  );
  thumb.addEventListener("click", () => {
    clear();
    pen.imageSmoothingEnabled = false;
    pen.drawImage(thumb, 0, 0, canvas.width, canvas.height);
    ask(grid);
  });
  document.querySelector("#thumbs").append(thumb);
}
document.body.dataset.ready = "yes";
