import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { Answer, bytesOf, Found, isDicom, isVolume, ModelInfo, onScreen, post, saveCorrection } from "./api";
import { exportCase } from "./export";
import { Check, Classes, Drop, Empty, Origin, Panes, percent, Picture, save, Slider, Status, Task } from "./parts";
import { atLeast, count, decode, decodePng, dice, errorLayers, ERRORS, COLORS, css, Gray, Layer, Mark, where } from "./pixels";
import { Handle, Overlay, Start, Volume } from "./Volume";

type Tool = "none" | "paint" | "erase";

// Masks of every class, 0 or 255, from the files of an answer.
async function masksOf(answer: Answer, classes: string[]): Promise<Uint8Array[]> {
  const files = answer.files ?? {};
  if (files["mask.png"]) {
    const { values } = await decodePng(files["mask.png"]);
    return classes.length === 1 ? [atLeast(values, 1)] : classes.map((_, k) => where(values, k + 1));
  }
  return Promise.all(classes.map(async (name) => atLeast((await decodePng(files[`mask_${name}.png`])).values, 1)));
}

export function Segmentation(props: { model: ModelInfo; task: Task }) {
  const { model, task } = props;
  const [file, setFile] = useState<File | null>(null);
  const [volume, setVolume] = useState<File | null>(null); // as the viewer reads it
  const [start, setStart] = useState<Start | null>(null); // of a drawing in a volume
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [image, setImage] = useState<Gray | null>(null);
  const [sealedMasks, setSealedMasks] = useState<Uint8Array[]>([]);
  const [maps, setMaps] = useState<Uint8Array[]>([]);
  const [threshold, setThreshold] = useState<number | null>(null);
  const [opacity, setOpacity] = useState(0.55);
  const [shown, setShown] = useState<boolean[]>(model.classes.map(() => true));
  const [unsure, setUnsure] = useState<Answer | null>(null);
  const [entropy, setEntropy] = useState<Gray | null>(null);
  const [withEntropy, setWithEntropy] = useState(false);
  const [truth, setTruth] = useState<Uint8Array | null>(null);
  const [tool, setTool] = useState<Tool>("none");
  const [pen, setPen] = useState(0);
  const [brush, setBrush] = useState(3);
  const [painted, setPainted] = useState<Uint8Array[] | null>(null);
  const [history, setHistory] = useState<Uint8Array[][]>([]);
  const [comment, setComment] = useState("");
  const [note, setNote] = useState("");
  const handle = useRef<Handle | null>(null);
  const canCut = !model.exclusive || model.classes.length === 1;
  const correctable = !model.objects && (model.exclusive || model.classes.length === 1) && !(file && isDicom(file));

  useEffect(() => setShown(model.classes.map(() => true)), [model]);

  const ask = (one: File) =>
    task.run("Segmenting", async () => {
      setFile(one);
      setAnswer(null);
      setImage(null);
      setStart(null);
      setTool("none");
      setUnsure(null);
      setEntropy(null);
      setTruth(null);
      setPainted(null);
      setHistory([]);
      setThreshold(null);
      setNote("");
      // a NIfTI volume is on the screen while the networks work; a DICOM series comes back as one
      setVolume(model.dimensions === 3 && isVolume(one) && !isDicom(one) ? one : null);
      const found = await post<Answer>("/segment", [one], { model: model.name, preview: true, maps: canCut });
      const files = found.files ?? {};
      const flat = found.shape?.length === 2;
      const drawn = flat && found.preview ? await decodePng(found.preview) : null;
      if (!flat && found.preview) setVolume(onScreen(one, found.preview));
      if (drawn) {
        setSealedMasks(await masksOf(found, model.classes));
        const mapped = canCut ? model.classes : [];
        setMaps(await Promise.all(mapped.map(async (name) => (await decodePng(files[`probability_${name}.png`])).values)));
      }
      setImage(drawn);
      setAnswer(found);
    });

  const doubt = () =>
    task.run("Comparing the answers of dropout, flips and networks", async () => {
      const found = await post<Answer>("/segment/uncertainty", [file!], {
        model: model.name,
        n_samples: 8,
        use_tta: true,
      });
      setUnsure(found);
      const map = found.files?.["entropy_uncertainty.png"];
      setEntropy(map ? await decodePng(map) : null);
      setWithEntropy(true);
    });

  const cut = useMemo(
    () => (threshold === null ? sealedMasks : maps.map((map) => atLeast(map, Math.max(1, Math.round(threshold * 255))))),
    [sealedMasks, maps, threshold],
  );
  const masks = painted ?? cut;
  const union = useMemo(() => {
    if (!image) return new Uint8Array();
    const all = new Uint8Array(image.values.length);
    masks.forEach((mask, k) => shown[k] && mask.forEach((value, i) => value && (all[i] = 255)));
    return all;
  }, [masks, shown, image]);
  const layers = useMemo<Layer[]>(() => {
    const doubtful: Layer[] =
      withEntropy && entropy ? [{ values: entropy.values, color: [255, 60, 160], opacity, graded: true }] : [];
    if (truth) return [...errorLayers(union, truth, opacity), ...doubtful];
    const ours = masks.map((values, k) => ({ values, color: COLORS[k % COLORS.length], opacity: shown[k] ? opacity : 0 }));
    return [...ours, ...doubtful];
  }, [masks, shown, opacity, truth, union, withEntropy, entropy]);

  const overlays = useMemo<Overlay[]>(() => {
    if (!answer?.files || image || start) return []; // a drawing shows itself
    const files = answer.files;
    const blob = (name: string) => new Blob([bytesOf(files[name])]);
    if (threshold !== null) {
      return model.classes.flatMap((name, k) =>
        shown[k]
          ? [{ name: `probability_${name}`, content: blob(`probability_${name}.nii.gz`), kind: "probability" as const, classIndex: k, opacity, from: Math.max(1, threshold * 255) }]
          : [],
      );
    }
    if (files["mask.nii.gz"]) {
      return [{ name: "mask", content: blob("mask.nii.gz"), kind: "label" as const, classIndex: model.classes.length === 1 ? 0 : -1, opacity }];
    }
    return model.classes.flatMap((name, k) =>
      shown[k] ? [{ name: `mask_${name}`, content: blob(`mask_${name}.nii.gz`), kind: "label" as const, classIndex: k, opacity }] : [],
    );
  }, [answer, image, start, threshold, shown, opacity, model]);

  const paint = (x: number, y: number) => {
    if (!image) return;
    const next = masks.map((mask) => mask.slice());
    for (let dy = -brush; dy <= brush; dy++) {
      for (let dx = -brush; dx <= brush; dx++) {
        const [u, v] = [x + dx, y + dy];
        if (dx * dx + dy * dy > brush * brush || u < 0 || v < 0 || u >= image.width || v >= image.height) continue;
        const at = v * image.width + u;
        if (model.exclusive) next.forEach((mask) => (mask[at] = 0));
        next[pen][at] = tool === "paint" ? 255 : 0;
      }
    }
    setPainted(next);
  };

  // A drawing begins as the mask that is shown, so that a reviewer corrects it.
  const choose = (wanted: Tool) => {
    const next = tool === wanted ? "none" : wanted;
    setTool(next);
    if (next === "none" || image || start || !answer?.files) return;
    const blob = (name: string) => new Blob([bytesOf(answer.files![name])]);
    if (threshold === null) setStart({ content: blob("mask.nii.gz") });
    else setStart({ content: blob(`probability_${model.classes[0]}.nii.gz`), from: Math.max(1, Math.round(threshold * 255)) });
  };
  const chosen = useRef(choose);
  chosen.current = correctable && answer ? choose : () => undefined;
  const discard = () => {
    setStart(null);
    setPainted(null);
    setHistory([]);
    setTool("none");
  };

  const keep = (verdict: "accepted" | "corrected" | "rejected") =>
    task.run("Saving", async () => {
      const form = new FormData();
      form.append("file", file!, "upload");
      form.append("model", model.name);
      form.append("verdict", verdict);
      form.append("comment", comment);
      if (verdict === "corrected" && image) {
        const values = model.classes.length === 1 ? masks[0] : labelsOf(masks);
        form.append("mask", await png(values, image.width, image.height), "mask.png");
      } else if (verdict === "corrected") {
        const content = await handle.current?.drawing();
        if (!content) throw new Error("Nothing was drawn: choose Paint and draw in the volume first.");
        form.append("mask", new Blob([content as Uint8Array<ArrayBuffer>]), "mask.nii");
      }
      const saved = await saveCorrection(form);
      setNote(`Saved as version ${saved.version} of case ${saved.case}.`);
    });

  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
      if (event.key === "p") chosen.current("paint");
      if (event.key === "e") chosen.current("erase");
      if (event.key === "[") setOpacity((now) => Math.max(0, now - 0.1));
      if (event.key === "]") setOpacity((now) => Math.min(1, now + 0.1));
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);

  const marks = useMemo<Mark[]>(
    () => (answer?.detections ?? []).map(({ x, y, w, h, class: name }) => ({ x, y, w, h, color: COLORS[model.classes.indexOf(name) % COLORS.length] })),
    [answer, model],
  );
  const areas = image ? masks.map(count) : model.classes.map((name) => answer?.areas?.[name] ?? 0);
  const score = truth && image ? dice(union, truth) : null;

  return (
    <Panes
      side={
        <>
          <Drop
            id="segment-file"
            label="Drop an image or a volume"
            hint={`${model.input.formats.join(", ")}; it stays on this server`}
            onFiles={([one]) => ask(one)}
          />
          {answer && (
            <>
              <Classes model={model} shown={shown} onShown={setShown} />
              <Slider id="opacity" label="Opacity" value={opacity} onValue={setOpacity} />
              {canCut && (
                <div>
                  <Slider
                    id="threshold"
                    label="Threshold"
                    value={threshold ?? Object.values(model.thresholds)[0] ?? 0.5}
                    shown={threshold === null ? "as sealed" : threshold.toFixed(2)}
                    onValue={(value) => {
                      discard();
                      setThreshold(value);
                    }}
                  />
                  <button
                    onClick={() => {
                      discard();
                      setThreshold(null);
                    }}
                    disabled={threshold === null}
                  >
                    As sealed
                  </button>
                </div>
              )}
              <div class="row">
                <button onClick={doubt}>Show uncertainty</button>
                {unsure && <Check id="entropy" label="overlay" value={withEntropy} onValue={setWithEntropy} />}
              </div>
              {image && (
                <Drop
                  id="truth-file"
                  label="Drop a true mask"
                  hint="a PNG of the same size: Dice and errors"
                  onFiles={([one]) =>
                    task.run("Reading the mask", async () => {
                      const mask = await decode(one);
                      if (mask.width !== image.width || mask.height !== image.height)
                        throw new Error(`The mask has ${mask.width} × ${mask.height} pixels, the image ${image.width} × ${image.height}.`);
                      setTruth(atLeast(mask.values, 1));
                    })
                  }
                />
              )}
              {truth && <button onClick={() => setTruth(null)}>Leave the true mask out</button>}
              <fieldset>
                <legend>Correction</legend>
                <div class="row">
                  <button aria-pressed={tool === "paint"} disabled={!correctable} onClick={() => choose("paint")}>
                    Paint
                  </button>
                  <button aria-pressed={tool === "erase"} disabled={!correctable} onClick={() => choose("erase")}>
                    Erase
                  </button>
                  <button
                    disabled={image ? !history.length : !start}
                    onClick={() => {
                      if (!image) handle.current?.viewer.drawUndo();
                      else {
                        setPainted(history[history.length - 1]);
                        setHistory(history.slice(0, -1));
                      }
                    }}
                  >
                    Undo
                  </button>
                  <button disabled={!painted && !start} onClick={discard}>
                    Discard
                  </button>
                </div>
                {!correctable && (
                  <p class="muted">
                    {model.objects ? "Corrections are masks: this decision detects objects." : file && isDicom(file) ? "DICOM series are not corrected here: send them as NIfTI." : "Its classes overlap: corrections need one label a voxel."}
                  </p>
                )}
                <label for="pen">Class</label>
                <select id="pen" value={pen} onChange={(event) => setPen(Number(event.currentTarget.value))}>
                  {model.classes.map((name, k) => (
                    <option key={name} value={k}>
                      {name}
                    </option>
                  ))}
                </select>
                {image && (
                  <Slider id="brush" label="Brush" min={0} max={20} step={1} value={brush} shown={`${brush} px`} onValue={setBrush} />
                )}
                <label for="comment">Comment</label>
                <textarea id="comment" rows={2} value={comment} onInput={(event) => setComment(event.currentTarget.value)} />
                <div class="row">
                  <button class="main" disabled={!painted && !start} onClick={() => keep("corrected")}>
                    Save correction
                  </button>
                  <button disabled={!!model.objects} onClick={() => keep("accepted")}>
                    Accept
                  </button>
                  <button disabled={!!model.objects} onClick={() => keep("rejected")}>
                    Reject
                  </button>
                </div>
                {note && <p class="muted">{note}</p>}
              </fieldset>
              {image && (
                <button
                  onClick={() =>
                    save("case.html", exportCase({ model, answer, image, layers, masks, score, version: answer.version }))
                  }
                >
                  Export as one HTML file
                </button>
              )}
            </>
          )}
          <Status task={task} />
        </>
      }
    >
      {model.dimensions === 2 && !image && <Empty>The mask, its probabilities and areas appear here.</Empty>}
      {answer && image && (
        <Picture
          image={image}
          layers={layers}
          marks={marks}
          label={`Image with the mask of ${model.name}`}
          onPaint={tool === "none" ? undefined : paint}
          onStroke={() => setHistory([...history.slice(-19), masks])}
        />
      )}
      {model.dimensions === 3 && (
        <Volume
          file={volume}
          overlays={overlays}
          pen={tool === "none" ? null : tool === "erase" ? 0 : pen + 1}
          start={start}
          opacity={opacity}
          label={`Volume with the mask of ${model.name}`}
          hint="The volume, its mask and probabilities appear here."
          onReady={(ready) => (handle.current = ready)}
        />
      )}
      {answer && (
        <div class="panel">
          <table>
            <caption>{start ? "Mask before the correction" : painted ? "Mask as corrected" : threshold === null ? "Mask as sealed" : `Mask at ${threshold.toFixed(2)}, not as sealed`}</caption>
            <thead>
              <tr>
                <th scope="col">Class</th>
                <th scope="col" class="number">
                  Probability of presence
                </th>
                <th scope="col" class="number">
                  {image ? "Pixels" : "Voxels"}
                </th>
                {!image && (
                  <th scope="col" class="number">
                    Volume
                  </th>
                )}
              </tr>
            </thead>
            <tbody>
              {model.classes.map((name, k) => (
                <tr key={name}>
                  <th scope="row">
                    <span class="swatch" style={{ background: css(COLORS[k % COLORS.length]) }} /> {name}
                  </th>
                  <td class="number">{percent(answer.probabilities[name])}</td>
                  <td class="number">{areas[k].toLocaleString()}</td>
                  {!image && <td class="number">{answer.volumes_ml ? `${answer.volumes_ml[name].toFixed(2)} ml` : "no voxel size"}</td>}
                </tr>
              ))}
            </tbody>
          </table>
          {answer.detections && <Detections found={answer.detections} />}
          {score !== null && (
            <p>
              Dice with the true mask <strong>{score.toFixed(4)}</strong>:{" "}
              {Object.entries(ERRORS).map(([name, color]) => (
                <span key={name}>
                  <span class="swatch" style={{ background: css(color) }} /> {name}{" "}
                </span>
              ))}
            </p>
          )}
          {unsure && (
            <p>
              Entropy {unsure.entropy!.toFixed(4)} nats, of which {unsure.epistemic_uncertainty!.toFixed(4)} epistemic and{" "}
              {unsure.aleatoric_uncertainty!.toFixed(4)} aleatoric; mean Dice of {unsure.answers} answers {unsure.mean_dice!.toFixed(3)}.
            </p>
          )}
          <Origin answer={answer} />
        </div>
      )}
    </Panes>
  );
}

function Detections({ found }: { found: Found[] }) {
  const columns = (["x", "y", "z", "w", "h", "d"] as const).filter((name) => found.some((one) => one[name] !== undefined));
  if (!found.length) return <p>Nothing is detected.</p>;
  return (
    <table>
      <caption>Detections as sealed, in voxels</caption>
      <thead>
        <tr>
          <th scope="col">Class</th>
          {["score", ...columns].map((name) => (
            <th key={name} scope="col" class="number">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {found.map((one, k) => (
          <tr key={k}>
            <th scope="row">{one.class}</th>
            <td class="number">{percent(one.score)}</td>
            {columns.map((name) => (
              <td key={name} class="number">
                {one[name]?.toFixed(1)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function labelsOf(masks: Uint8Array[]): Uint8Array {
  const labels = new Uint8Array(masks[0].length);
  masks.forEach((mask, k) => mask.forEach((value, i) => value && (labels[i] = k + 1)));
  return labels;
}

async function png(values: Uint8Array, width: number, height: number): Promise<Blob> {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d")!;
  const data = context.createImageData(width, height);
  values.forEach((value, i) => data.data.set([value, value, value, 255], 4 * i));
  context.putImageData(data, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
