// One case as a single HTML file, to send to a colleague.

import { Answer, ModelInfo } from "./api";
import { COLORS, count, css, draw, Gray, Layer } from "./pixels";

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function picture(image: Gray, layers: Layer[]): string {
  const canvas = document.createElement("canvas");
  draw(canvas, image, layers);
  return canvas.toDataURL("image/png");
}

export function exportCase(one: {
  model: ModelInfo;
  answer: Answer;
  image: Gray;
  layers: Layer[];
  masks: Uint8Array[];
  score: number | null;
  version: string;
}): Blob {
  const { model, answer } = one;
  const rows = model.classes
    .map(
      (name, k) =>
        `<tr><th><i style="background:${css(COLORS[k % COLORS.length])}"></i>${escaped(name)}</th>` +
        `<td>${(100 * answer.probabilities[name]).toFixed(1)} %</td><td>${count(one.masks[k])}</td></tr>`,
    )
    .join("");
  const dice = one.score === null ? "" : `<p>Dice with the true mask: ${one.score.toFixed(4)}</p>`;
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escaped(model.name)}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#18212c}
figure{display:inline-block;width:48%;margin:0 1% 1rem 0}img{width:100%;image-rendering:pixelated;background:#000}
table{border-collapse:collapse}th,td{text-align:left;padding:4px 14px;border-bottom:1px solid #ccc}
i{display:inline-block;width:12px;height:12px;margin-right:8px}</style>
<h1>${escaped(model.name)}: ${escaped(answer.prediction)}</h1>
<p><b>Research use only; not a medical device.</b></p>
<figure><img alt="image" src="${picture(one.image, [])}"><figcaption>Image</figcaption></figure>
<figure><img alt="image with mask" src="${picture(one.image, one.layers)}"><figcaption>With the mask</figcaption></figure>
<table><tr><th>Class</th><th>Presence</th><th>Pixels</th></tr>${rows}</table>${dice}
<p>Decision ${escaped(answer.decision)}, ${answer.sealed ? "sealed" : "not sealed"}, seal <code>${answer.seal}</code>,
heldout ${escaped(one.version)}.</p></html>`;
  return new Blob([html], { type: "text/html" });
}
