import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { Answer, bytesOf, isDicom, isVolume, keyOf, ModelInfo, onScreen, post, reviewOf, saveCorrection, Verdict } from "./api";
import { Correction, Tool } from "./Correction";
import { exportCase, Finding, pictureOf } from "./export";
import { Findings } from "./Findings";
import { Check, Classes, Drop, Empty, Panes, Picture, save, Slider, Status, Task, useLatest } from "./parts";
import { atLeast, COLORS, count, decode, decodePng, dice, errorLayers, ERRORS, errorsOf, Gray, Layer, levelOf, Mark, unionOf, where } from "./pixels";
import { Handle, Overlay, Start, Volume } from "./Volume";
import { onGridOf, truthOn, Voxels, voxelsOf } from "./voxels";

// Masks of every class, 0 or 255, of the files of an answer.
async function masksOf(answer: Answer, classes: string[]): Promise<Uint8Array[]> {
  const files = answer.files ?? {};
  if (files["mask.png"]) {
    const { values } = await decodePng(files["mask.png"]);
    return classes.length === 1 ? [atLeast(values, 1)] : classes.map((_, k) => where(values, k + 1));
  }
  return Promise.all(classes.map(async (name) => atLeast((await decodePng(files[`mask_${name}.png`])).values, 1)));
}

type Files = Record<string, string>;

const unpackedFiles = new WeakMap<Files, Map<string, Voxels>>(); // a slider asks for the same maps with every step

function unpack(files: Files, name: string): Voxels {
  const known = unpackedFiles.get(files) ?? new Map<string, Voxels>();
  unpackedFiles.set(files, known);
  const found = known.get(name) ?? voxelsOf(files[name]);
  known.set(name, found);
  return found;
}

// The same of a volume; at a threshold where one is given.
function volumeMasks(files: Files, classes: string[], threshold: number | null): Uint8Array[] {
  if (threshold !== null) {
    const level = levelOf(threshold);
    return classes.map((name) => atLeast(unpack(files, `probability_${name}.nii.gz`).values, level));
  }
  if (!files["mask.nii.gz"]) return classes.map((name) => unpack(files, `mask_${name}.nii.gz`).values);
  const { values } = unpack(files, "mask.nii.gz");
  return classes.length === 1 ? [values] : classes.map((_, k) => where(values, k + 1));
}

function anyMask(files: Files): Voxels {
  return unpack(files, Object.keys(files).find((name) => name.startsWith("mask"))!);
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
  const latest = useLatest();
  const canCut = !model.exclusive || model.classes.length === 1;
  const hindered = model.objects
    ? "Corrections are masks: this decision detects objects."
    : file && isDicom(file)
      ? "DICOM files name the patient, so no mask of them is kept: send NIfTI or PNG to correct it."
      : canCut && model.classes.length > 1
        ? "Its classes overlap: corrections need one label a voxel."
        : "";

  useEffect(() => setShown(model.classes.map(() => true)), [model]);

  const ask = (one: File) =>
    task.run("Segmenting", async () => {
      const isLast = latest.begin();
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
      setComment("");
      setNote("");
      // a NIfTI volume is on the screen while the networks work; a DICOM series comes back as one
      setVolume(model.dimensions === 3 && isVolume(one) && !isDicom(one) ? one : null);
      const found = await post<Answer>("/segment", [one], { model: keyOf(model), preview: true, maps: canCut });
      const files = found.files ?? {};
      const flat = found.shape?.length === 2;
      const drawn = flat && found.preview ? await decodePng(found.preview) : null;
      const masks = drawn ? await masksOf(found, model.classes) : [];
      const mapped = drawn && canCut ? model.classes : [];
      const cuts = await Promise.all(mapped.map(async (name) => (await decodePng(files[`probability_${name}.png`])).values));
      if (!isLast()) return;
      if (!flat && found.preview) setVolume(onScreen(one, found.preview));
      setSealedMasks(masks);
      setMaps(cuts);
      setImage(drawn);
      setAnswer(found);
    });

  const doubt = () =>
    task.run("Comparing the answers of dropout, flips and networks", async () => {
      const isLast = latest.follow();
      const found = await post<Answer>("/segment/uncertainty", [file!], { model: keyOf(model), n_samples: 8, use_tta: true, maps: false });
      const map = found.files?.["entropy_uncertainty.png"];
      const decoded = map ? await decodePng(map) : null;
      if (!isLast()) return;
      setUnsure(found);
      setEntropy(decoded);
      setWithEntropy(true);
    });

  const compare = (one: File) =>
    task.run("Reading the mask", async () => {
      const isLast = latest.follow();
      let found: Uint8Array;
      if (image) {
        const mask = await decode(one);
        if (mask.width !== image.width || mask.height !== image.height)
          throw new Error(`The mask has ${mask.width} × ${mask.height} pixels, the image ${image.width} × ${image.height}.`);
        found = atLeast(mask.values, 1);
      } else found = await truthOn(anyMask(answer!.files!), one);
      if (!isLast()) return;
      setTruth(found);
      setWithEntropy(false); // it would cover the errors
    });

  const cut = useMemo(
    () => (threshold === null ? sealedMasks : maps.map((map) => atLeast(map, levelOf(threshold)))),
    [sealedMasks, maps, threshold],
  );
  const masks = painted ?? cut;
  // of a volume masks are unpacked where numbers need them: at a threshold, or beside a true mask
  const unpacked = useMemo(
    () => (answer?.files && !image && (threshold !== null || truth) ? volumeMasks(answer.files, model.classes, threshold) : null),
    [answer, image, threshold, truth, model],
  );
  const union = useMemo(
    () => (truth ? unionOf((image ? masks : (unpacked ?? [])).filter((_, k) => shown[k]), truth.length) : null),
    [masks, unpacked, shown, image, truth],
  );
  const score = truth && union ? dice(union, truth) : null;

  const layers = useMemo<Layer[]>(() => {
    const doubtful: Layer[] =
      withEntropy && entropy ? [{ values: entropy.values, color: [255, 60, 160], opacity, graded: true }] : [];
    if (truth && union) return [...errorLayers(union, truth, opacity), ...doubtful];
    const ours = masks.map((values, k) => ({ values, color: COLORS[k % COLORS.length], opacity: shown[k] ? opacity : 0 }));
    return [...ours, ...doubtful];
  }, [masks, shown, opacity, truth, union, withEntropy, entropy]);

  const errors = useMemo(
    () => (answer?.files && truth && union && !image ? onGridOf(anyMask(answer.files), errorsOf(union, truth)) : null),
    [answer, truth, union, image],
  );
  const overlays = useMemo<Overlay[]>(() => {
    if (!answer?.files || image || start) return []; // a drawing shows itself
    const files = answer.files;
    const blob = (name: string) => new Blob([bytesOf(files[name])]);
    const map = withEntropy ? unsure?.files?.["entropy_uncertainty.nii.gz"] : undefined;
    const doubtful: Overlay[] = map ? [{ name: "uncertainty", content: new Blob([bytesOf(map)]), kind: "uncertainty", opacity }] : [];
    const visible = model.classes.map((name, k) => ({ name, color: COLORS[k % COLORS.length], on: shown[k] })).filter(({ on }) => on);
    const id = answer.request_id;
    if (errors) {
      const name = `errors_${id}_${threshold}_${shown.join()}`;
      return [{ name, content: errors, kind: "label", colors: Object.values(ERRORS), opacity }, ...doubtful];
    }
    if (threshold !== null) {
      const from = levelOf(threshold);
      const cuts = visible.map(({ name }): Overlay => ({ name: `probability_${name}_${id}`, content: blob(`probability_${name}.nii.gz`), kind: "probability", opacity, from }));
      return [...cuts, ...doubtful];
    }
    if (files["mask.nii.gz"]) {
      const colors = model.classes.map((_, k) => COLORS[k % COLORS.length]);
      return [{ name: `mask_${id}`, content: blob("mask.nii.gz"), kind: "label", colors, opacity }, ...doubtful];
    }
    const labels = visible.map(({ name, color }): Overlay => ({ name: `mask_${name}_${id}`, content: blob(`mask_${name}.nii.gz`), kind: "label", colors: [color], opacity }));
    return [...labels, ...doubtful];
  }, [answer, image, start, threshold, shown, opacity, model, errors, withEntropy, unsure]);

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
    else setStart({ content: blob(`probability_${model.classes[0]}.nii.gz`), from: levelOf(threshold) });
  };
  const chosen = useRef(choose);
  chosen.current = !hindered && answer ? choose : () => undefined;
  const discard = () => {
    setStart(null);
    setPainted(null);
    setHistory([]);
    setTool("none");
  };

  const keep = (verdict: Verdict) =>
    task.run("Saving", async () => {
      const isLast = latest.follow();
      const form = reviewOf(file!, model, answer!, verdict, comment);
      if (verdict === "corrected" && image) {
        const values = model.classes.length === 1 ? masks[0] : labelsOf(masks);
        form.append("mask", await png(values, image.width, image.height), "mask.png");
      } else if (verdict === "corrected") {
        const content = await handle.current?.drawing();
        if (!content) throw new Error("Nothing was drawn: choose Paint and draw in the volume first.");
        form.append("mask", new Blob([content as Uint8Array<ArrayBuffer>]), "mask.nii");
      }
      const saved = await saveCorrection(form);
      if (isLast()) setNote(`Saved as version ${saved.version} of case ${saved.case}.`);
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
  const findings = useMemo<Finding[]>(() => {
    if (!answer) return [];
    const cubic = answer.spacing_mm ? answer.spacing_mm.reduce((a, b) => a * b, 1) / 1000 : null;
    const counted = image ? masks : unpacked;
    return model.classes.map((name, k) => {
      if (threshold === null && !image) return { name, count: answer.areas?.[name] ?? 0, ml: answer.volumes_ml?.[name] ?? null };
      const voxels = counted ? count(counted[k]) : 0;
      return { name, count: voxels, ml: image || cubic === null ? null : voxels * cubic };
    });
  }, [answer, image, masks, unpacked, threshold, model]);
  const cutAt = threshold ?? answer?.threshold ?? null; // the service may have a threshold of its own
  const kind = cutAt === null ? "Mask as sealed" : `Mask at ${cutAt.toFixed(2)}, not as sealed`;
  const mask = start ? `${kind}, before the correction` : painted ? "Mask as corrected" : kind;
  const exported = () => {
    const pictures = image
      ? { plain: pictureOf(image, []), marked: pictureOf(image, layers) }
      : { plain: handle.current!.picture(false), marked: handle.current!.picture(true) };
    return exportCase({ model, answer: answer!, ...pictures, findings, mask, score });
  };

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
              <Drop
                id="truth-file"
                label="Drop a true mask"
                hint={image ? "a PNG of the same size: Dice and errors" : "NIfTI on the same grid: Dice and errors"}
                onFiles={([one]) => compare(one)}
              />
              {truth && <button onClick={() => setTruth(null)}>Leave the true mask out</button>}
              <Correction
                model={model}
                tool={tool}
                hindered={hindered}
                drawn={!!painted || !!start}
                sealed={threshold === null && !painted && !start}
                undo={
                  !image
                    ? start && (() => handle.current?.viewer.drawUndo())
                    : history.length
                      ? () => {
                          setPainted(history[history.length - 1]);
                          setHistory(history.slice(0, -1));
                        }
                      : null
                }
                pen={pen}
                brush={image ? brush : null}
                comment={comment}
                note={note}
                onTool={choose}
                onDiscard={discard}
                onPen={setPen}
                onBrush={setBrush}
                onComment={setComment}
                onVerdict={keep}
              />
              {(image || volume) && <button onClick={() => save("case.html", exported())}>Export as one HTML file</button>}
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
      {answer && <Findings answer={answer} mask={mask} findings={findings} score={score} unsure={unsure} />}
    </Panes>
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
