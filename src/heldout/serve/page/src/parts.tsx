// Small components that the tabs share.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { Answer, ModelInfo, Refusal } from "./api";
import { COLORS, css, draw, Gray, Layer, Mark } from "./pixels";

// A number of a regression, in four digits.
export function figure(value: number): string {
  return Math.abs(value) < 1000 ? value.toPrecision(4) : value.toFixed(0);
}

export function percent(value: number): string {
  return `${(100 * value).toFixed(1)} %`;
}

export function seconds(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function Drop(props: {
  id: string;
  label: string;
  hint: string;
  several?: boolean;
  onFiles: (files: File[]) => void;
}) {
  const [over, setOver] = useState(false);
  return (
    <label
      class={`drop ${over ? "over" : ""}`}
      for={props.id}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const files = Array.from(event.dataTransfer?.files ?? []);
        if (files.length) props.onFiles(props.several ? files : files.slice(0, 1));
      }}
    >
      <strong>{props.label}</strong>
      <span class="muted">{props.hint}</span>
      <input
        id={props.id}
        type="file"
        multiple={props.several}
        onChange={(event) => {
          const files = Array.from(event.currentTarget.files ?? []);
          if (files.length) props.onFiles(files);
          event.currentTarget.value = "";
        }}
      />
    </label>
  );
}

export function Slider(props: {
  id: string;
  label: string;
  value: number;
  min?: number;
  max?: number;
  step?: number;
  shown?: string;
  onValue: (value: number) => void;
}) {
  return (
    <div class="field">
      <label for={props.id}>
        {props.label} <output>{props.shown ?? props.value.toFixed(2)}</output>
      </label>
      <input
        id={props.id}
        type="range"
        min={props.min ?? 0}
        max={props.max ?? 1}
        step={props.step ?? 0.01}
        value={props.value}
        onInput={(event) => props.onValue(Number(event.currentTarget.value))}
      />
    </div>
  );
}

export function Check(props: { id: string; label: string; value: boolean; onValue: (value: boolean) => void }) {
  return (
    <div class="check">
      <input
        id={props.id}
        type="checkbox"
        checked={props.value}
        onChange={(event) => props.onValue(event.currentTarget.checked)}
      />
      <label for={props.id}>{props.label}</label>
    </div>
  );
}

export function Bars(props: { values: Record<string, number>; title: string }) {
  return (
    <table class="bars">
      <caption>{props.title}</caption>
      <tbody>
        {Object.entries(props.values).map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="bar">
              <div style={{ width: `${100 * value}%` }} />
            </td>
            <td class="number">{percent(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const FIRST = 3; // warnings that are always shown

function Warnings(props: { texts: string[] }) {
  return (
    <>
      {props.texts.map((text) => (
        <p class="warning" key={text}>
          {text}
        </p>
      ))}
    </>
  );
}

export function Origin(props: { answer: Pick<Answer, "decision" | "seal" | "sealed" | "took_ms" | "warnings" | "in_distribution" | "abstain" | "abstain_reason"> }) {
  const { answer } = props;
  return (
    <div class="origin">
      <p>
        <span class={`chip ${answer.sealed ? "good" : "bad"}`}>{answer.sealed ? "sealed" : "not sealed"}</span>{" "}
        {answer.decision} <code title={answer.seal}>{answer.seal.slice(0, 12)}</code>, {seconds(answer.took_ms)}
      </p>
      {answer.abstain && <p class="warning">Left to people: {answer.abstain_reason}.</p>}
      {answer.abstain === false && <p class="muted">Sure enough to be answered, by the decision's own cut.</p>}
      {answer.in_distribution === false && <p class="warning">This input is unlike the training images.</p>}
      <Warnings texts={answer.warnings.slice(0, FIRST)} />
      {answer.warnings.length > FIRST && (
        <details>
          <summary class="warning">{answer.warnings.length - FIRST} more</summary>
          <Warnings texts={answer.warnings.slice(FIRST)} />
        </details>
      )}
    </div>
  );
}

export function Classes(props: { model: ModelInfo; shown: boolean[]; onShown: (shown: boolean[]) => void }) {
  return (
    <fieldset>
      <legend>Classes</legend>
      {props.model.classes.map((name, k) => (
        <div class="check" key={name}>
          <input
            id={`class-${k}`}
            type="checkbox"
            checked={props.shown[k]}
            onChange={(event) => props.onShown(props.shown.map((on, i) => (i === k ? event.currentTarget.checked : on)))}
          />
          <label for={`class-${k}`}>
            <span class="swatch" style={{ background: css(COLORS[k % COLORS.length]) }} /> {name}
          </label>
        </div>
      ))}
    </fieldset>
  );
}

export function Picture(props: {
  image: Gray;
  layers: Layer[];
  marks?: Mark[];
  label: string;
  onPaint?: (x: number, y: number) => void;
  onStroke?: () => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const drawing = useRef(false);
  useEffect(() => {
    if (canvas.current) draw(canvas.current, props.image, props.layers, props.marks);
  }, [props.image, props.layers, props.marks]);
  const paint = (event: PointerEvent) => {
    if (!props.onPaint || !drawing.current || !canvas.current) return;
    const box = canvas.current.getBoundingClientRect();
    props.onPaint(
      Math.floor(((event.clientX - box.left) / box.width) * props.image.width),
      Math.floor(((event.clientY - box.top) / box.height) * props.image.height),
    );
  };
  return (
    <canvas
      ref={canvas}
      class={`picture ${props.onPaint ? "painting" : ""}`}
      role="img"
      aria-label={props.label}
      onPointerDown={(event) => {
        if (!props.onPaint) return;
        drawing.current = true;
        event.currentTarget.setPointerCapture(event.pointerId);
        props.onStroke?.();
        paint(event);
      }}
      onPointerMove={paint}
      onPointerUp={() => {
        drawing.current = false;
      }}
    />
  );
}

export interface Task {
  busy: string;
  error: string;
  run: (what: string, work: () => Promise<void>) => Promise<void>;
}

export function useTask(onToken: () => void): Task {
  const [busy, setBusy] = useState("");
  const [error, setError] = useState("");
  const last = useRef(0);
  const run = async (what: string, work: () => Promise<void>) => {
    const mine = ++last.current;
    setBusy(what);
    setError("");
    try {
      await work();
    } catch (problem) {
      if (problem instanceof Refusal && problem.status === 401) onToken();
      if (mine === last.current) setError(problem instanceof Error ? problem.message : String(problem));
    } finally {
      if (mine === last.current) setBusy("");
    }
  };
  return { busy, error, run };
}

// What is shown is of the file that was dropped last: an answer that comes later is of no use. `begin` is called with
// every file, `follow` with a further question about it; what they give says whether the file is still the last one.
export function useLatest(): { begin: () => () => boolean; follow: () => () => boolean } {
  const count = useRef(0);
  const follow = () => {
    const mine = count.current;
    return () => mine === count.current;
  };
  return {
    follow,
    begin: () => {
      count.current++;
      return follow();
    },
  };
}

// Seconds so far: an animation would take processor time from the networks where there is no GPU.
function Elapsed() {
  const [passed, setPassed] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setPassed((now) => now + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return <span aria-hidden="true">{passed} s</span>;
}

export function Status(props: { task: Task }) {
  return (
    <div aria-live="polite">
      {props.task.busy && (
        <p class="busy">
          {props.task.busy} … <Elapsed key={props.task.busy} />
        </p>
      )}
      {props.task.error && (
        <p class="error" role="alert">
          {props.task.error}
        </p>
      )}
    </div>
  );
}

export function Panes(props: { side: ComponentChildren; children: ComponentChildren }) {
  return (
    <div class="panes">
      <aside>{props.side}</aside>
      <section class="stage">{props.children}</section>
    </div>
  );
}

export function Empty(props: { children: ComponentChildren }) {
  return <div class="empty muted">{props.children}</div>;
}

export function save(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
