import { useEffect, useMemo, useState } from "preact/hooks";

import { bytesOf, isDicom, isVolume, keyOf, ModelInfo, onScreen, post, Stack } from "./api";
import { Bars, Drop, Empty, Origin, Panes, Picture, Slider, Status, Task, useLatest } from "./parts";
import { COLORS, css, decode, decodePng, Gray, where } from "./pixels";
import { Overlay, Volume } from "./Volume";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [760, 220, 56, 32, 14];

// Areas, or probabilities, of every class along the depth; a click chooses a slice.
export function Curve(props: {
  curves: Record<string, number[]>;
  what: string;
  upright: boolean; // from the feet to the head
  slice: number;
  onSlice: (slice: number) => void;
}) {
  const entries = Object.entries(props.curves);
  const count = Math.max(...entries.map(([, values]) => values.length), 1);
  const top = Math.max(...entries.flatMap(([, values]) => values), 1e-9);
  const x = (i: number) => LEFT + (count === 1 ? 0.5 : i / (count - 1)) * (WIDTH - LEFT - 10);
  const y = (value: number) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
  const shown = (value: number) => (top <= 1 ? value.toFixed(2) : Math.round(value).toLocaleString());
  return (
    <svg
      class="chart"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`${props.what} along the depth`}
      onClick={(event) => {
        const box = event.currentTarget.getBoundingClientRect();
        const at = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - 10);
        props.onSlice(Math.max(0, Math.min(count - 1, Math.round(at * (count - 1)))));
      }}
    >
      {[0, 0.5, 1].map((part) => (
        <g key={part}>
          <line x1={LEFT} x2={WIDTH - 10} y1={y(top * part)} y2={y(top * part)} />
          <text x={LEFT - 6} y={y(top * part) + 4} text-anchor="end">
            {shown(top * part)}
          </text>
        </g>
      ))}
      <text x={LEFT} y={HEIGHT - 8}>
        slice 1{props.upright && ", feet"}
      </text>
      <text x={WIDTH - 10} y={HEIGHT - 8} text-anchor="end">
        slice {count}
        {props.upright && ", head"}
      </text>
      <line x1={x(props.slice)} x2={x(props.slice)} y1={TOP} y2={HEIGHT - BOTTOM} style={{ stroke: "var(--accent)" }} />
      {entries.map(([name, values], k) => (
        <polyline
          key={name}
          fill="none"
          stroke-width="2"
          stroke={css(COLORS[k % COLORS.length])}
          points={values.map((value, i) => `${x(i)},${y(value)}`).join(" ")}
        />
      ))}
    </svg>
  );
}

interface Slice {
  number: number;
  image: Gray;
  masks: Uint8Array[]; // of the classes
}

// A slice of a stack and its masks, decoded when it is looked at; the last one stays until then.
function useSlice(stack: Stack | null, files: File[], number: number, classes: string[]): Slice | null {
  const [slice, setSlice] = useState<Slice | null>(null);
  useEffect(() => {
    let alive = true;
    const name = String(number + 1).padStart(4, "0");
    const given = stack?.files ?? {};
    const maskOf = async (name: string) => (given[name] ? (await decodePng(given[name])).values : null);
    (async () => {
      if (!stack) return null;
      const preview = given[`preview${name}.png`];
      const image = preview ? await decodePng(preview) : await decode(files[number]);
      const all = await maskOf(`mask${name}.png`);
      const masks = all ? classes.map((_, k) => (classes.length > 1 ? where(all, k + 1) : all)) : await Promise.all(classes.map((label) => maskOf(`mask${name}_${label}.png`)));
      return { number, image, masks: masks.filter((one) => one !== null) };
    })().then(
      (found) => alive && setSlice(found),
      () => alive && setSlice(null), // a format that this browser does not show
    );
    return () => {
      alive = false;
    };
  }, [stack, files, number, classes]);
  return slice;
}

export function Patient(props: { model: ModelInfo; task: Task }) {
  const { model, task } = props;
  const [files, setFiles] = useState<File[]>([]);
  const [stack, setStack] = useState<Stack | null>(null);
  const [slice, setSlice] = useState(0);
  const [opacity, setOpacity] = useState(0.55);
  const [pixel, setPixel] = useState("");
  const [distance, setDistance] = useState("");

  const latest = useLatest();

  const ask = (given: File[]) =>
    task.run("Analyzing the patient", async () => {
      const isLast = latest.begin();
      const options: Record<string, string | boolean> = { model: keyOf(model), preview: true, maps: false };
      if (pixel && distance) Object.assign(options, { pixel_mm: pixel, slice_mm: distance });
      // a dialog may put slice 10 before slice 2
      const ordered = [...given].sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
      setFiles(ordered);
      setStack(null);
      const found = await post<Stack>("/patient/analyze_stack", ordered, options);
      if (!isLast()) return;
      setStack(found);
      setSlice(Math.floor(found.slices / 2));
    });

  const overlays = useMemo<Overlay[]>(
    () =>
      Object.entries(stack?.files ?? {})
        .filter(([name]) => name.startsWith("mask") && name.endsWith(".nii.gz"))
        .map(([name, text], k, all) => ({
          name: name.replace(".nii.gz", ""),
          content: new Blob([bytesOf(text)]),
          kind: "label" as const,
          colors: all.length > 1 ? [COLORS[k % COLORS.length]] : undefined,
          opacity,
        })),
    [stack, opacity, model],
  );
  const curves = stack?.areas ?? stack?.slice_probabilities ?? null;
  const volume = useMemo(() => {
    const [one] = files;
    if (files.length !== 1 || !isVolume(one)) return null;
    return isDicom(one) && !stack?.preview ? null : onScreen(one, stack?.preview);
  }, [files, stack?.preview]);
  const isStack = stack !== null && !volume;
  const shown = useSlice(isStack ? stack : null, files, slice, model.classes);
  const layers = useMemo(
    () => shown?.masks.map((values, k) => ({ values, color: COLORS[k % COLORS.length], opacity })) ?? [],
    [shown, opacity],
  );

  return (
    <Panes
      side={
        <>
          <Drop
            id="patient-files"
            label="Drop a patient"
            hint="a NIfTI volume, a zip of DICOM files, or all slices as pictures"
            several
            onFiles={ask}
          />
          {model.dimensions === 2 && (
            <div class="pair">
              <label for="pixel">Pixel, mm</label>
              <label for="distance">Slices, mm</label>
              <input id="pixel" type="number" min="0" step="any" value={pixel} onInput={(event) => setPixel(event.currentTarget.value)} />
              <input id="distance" type="number" min="0" step="any" value={distance} onInput={(event) => setDistance(event.currentTarget.value)} />
            </div>
          )}
          {stack && (
            <>
              <Slider id="slice" label="Slice" min={0} max={Math.max(0, stack.slices - 1)} step={1} value={slice} shown={`${slice + 1} of ${stack.slices}`} onValue={setSlice} />
              {(overlays.length > 0 || layers.length > 0) && <Slider id="patient-opacity" label="Opacity" value={opacity} onValue={setOpacity} />}
              <Bars values={stack.probabilities} title="Presence" />
              {stack.volumes_ml && (
                <table>
                  <caption>Volume</caption>
                  <tbody>
                    {Object.entries(stack.volumes_ml).map(([name, value]) => (
                      <tr key={name}>
                        <th scope="row">{name}</th>
                        <td class="number">{value.toFixed(2)} ml</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )}
              <Origin answer={stack} />
            </>
          )}
          <Status task={task} />
        </>
      }
    >
      {model.dimensions === 2 && !stack && <Empty>The slices, and how the finding runs along the depth, appear here.</Empty>}
      {(model.dimensions === 3 || volume) && (
        <Volume
          file={volume}
          overlays={overlays}
          slice={stack ? slice : null}
          label="Patient with mask"
          hint="The patient in three planes, and how the finding runs along the depth, appear here."
        />
      )}
      {isStack && shown && <Picture image={shown.image} layers={layers} label={`Slice ${shown.number + 1}`} />}
      {curves && (
        <div class="panel">
          <p class="muted">
            {stack?.areas ? `${volume ? "Voxels" : "Pixels"} of every class in each slice` : "Probability of every class in each slice"}; click to jump to a slice.{" "}
            {Object.keys(curves).map((name, k) => (
              <span key={name}>
                <span class="swatch" style={{ background: css(COLORS[k % COLORS.length]) }} /> {name}{" "}
              </span>
            ))}
          </p>
          <Curve curves={curves} what={stack?.areas ? (volume ? "voxels" : "pixels") : "probability"} upright={volume !== null} slice={slice} onSlice={setSlice} />
        </div>
      )}
    </Panes>
  );
}
