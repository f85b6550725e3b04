// One case as a single HTML file, to send to a colleague.

import { Answer, ModelInfo } from "./api";
import { COLORS, css, draw, ERRORS, Gray, Layer } from "./pixels";

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

export function pictureOf(image: Gray, layers: Layer[]): string {
  const canvas = document.createElement("canvas");
  draw(canvas, image, layers);
  return canvas.toDataURL("image/png");
}

export interface Finding {
  name: string;
  count: number; // pixels or voxels
  ml: number | null;
}

export function exportCase(one: {
  model: ModelInfo;
  answer: Answer;
  plain: string; // the picture as a data URL
  marked: string; // with what was found
  findings: Finding[];
  mask: string; // which mask it is
  score: number | null;
}): Blob {
  const { model, answer } = one;
  const flat = answer.shape?.length === 2;
  const rows = one.findings
    .map(
      ({ name, count, ml }, k) =>
        `<tr><th><i style="background:${css(COLORS[k % COLORS.length])}"></i>${escaped(name)}</th>` +
        `<td>${(100 * answer.probabilities[name]).toFixed(1)} %</td><td>${count}</td>${flat ? "" : `<td>${ml === null ? "" : `${ml.toFixed(2)} ml`}</td>`}</tr>`,
    )
    .join("");
  const legend = Object.entries(ERRORS).map(([name, color]) => ` <i style="background:${css(color)}"></i>${name}`);
  const dice = one.score === null ? "" : `<p>Dice with the true mask: ${one.score.toFixed(4)};${legend.join("")}</p>`;
  const warnings = answer.warnings.length ? `<ul>${answer.warnings.map((text) => `<li>${escaped(text)}</li>`).join("")}</ul>` : "";
  const left = answer.abstain ? `<p>Left to people: ${escaped(answer.abstain_reason ?? "")}.</p>` : "";
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escaped(model.name)}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#18212c}
figure{display:inline-block;width:48%;margin:0 1% 1rem 0}img{width:100%;image-rendering:pixelated;background:#000}
table{border-collapse:collapse}th,td{text-align:left;padding:4px 14px;border-bottom:1px solid #ccc}
i{display:inline-block;width:12px;height:12px;margin:0 6px}</style>
<h1>${escaped(model.name)}: ${escaped(answer.prediction)}</h1>
<p><b>Research use only; not a medical device.</b></p>${left}
<figure><img alt="image" src="${one.plain}"><figcaption>Image</figcaption></figure>
<figure><img alt="image with mask" src="${one.marked}"><figcaption>${escaped(one.mask)}</figcaption></figure>
<table><tr><th>Class</th><th>Presence</th><th>${flat ? "Pixels" : "Voxels"}</th>${flat ? "" : "<th>Volume</th>"}</tr>${rows}</table>${dice}${warnings}
<p>Decision ${escaped(answer.decision)}, ${answer.sealed ? "sealed" : "not sealed"}, seal <code>${answer.seal}</code>,
heldout ${escaped(answer.version)}.</p></html>`;
  return new Blob([html], { type: "text/html" });
}
