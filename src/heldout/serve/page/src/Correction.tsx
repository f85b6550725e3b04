// The tools of a reviewer: paint, erase, comment, and what becomes of the prediction.

import { useEffect, useState } from "preact/hooks";

import { Answer, ModelInfo, reviewOf, saveCorrection, Verdict } from "./api";
import { Slider, Task, useLatest } from "./parts";

export type Tool = "none" | "paint" | "erase";

function Comment(props: { id: string; value: string; onValue: (value: string) => void }) {
  return (
    <>
      <label for={props.id}>Comment</label>
      <textarea id={props.id} rows={2} value={props.value} onInput={(event) => props.onValue(event.currentTarget.value)} />
    </>
  );
}

// What is said of a prediction that has no mask to correct.
export function Review(props: { file: File; model: ModelInfo; answer: Answer; task: Task }) {
  const [comment, setComment] = useState("");
  const [note, setNote] = useState("");
  const latest = useLatest();
  useEffect(() => {
    latest.begin();
    setComment("");
    setNote("");
  }, [props.file, props.model]);
  const keep = (verdict: Verdict) =>
    props.task.run("Saving", async () => {
      const isLast = latest.follow();
      const saved = await saveCorrection(reviewOf(props.file, props.model, props.answer, verdict, comment));
      if (isLast()) setNote(`Saved as version ${saved.version} of case ${saved.case}.`);
    });
  return (
    <fieldset>
      <legend>Review</legend>
      <Comment id="review-comment" value={comment} onValue={setComment} />
      <div class="row">
        <button onClick={() => keep("accepted")}>Accept</button>
        <button onClick={() => keep("rejected")}>Reject</button>
      </div>
      {note && <p class="muted">{note}</p>}
    </fieldset>
  );
}

export function Correction(props: {
  model: ModelInfo;
  tool: Tool;
  hindered: string; // why nothing can be painted; empty where it can
  drawn: boolean; // whether something was painted
  sealed: boolean; // whether the mask on the screen is the one that was sealed
  undo: (() => void) | null;
  pen: number;
  brush: number | null; // in pixels; null where the viewer has its own
  comment: string;
  note: string;
  onTool: (tool: Tool) => void;
  onDiscard: () => void;
  onPen: (pen: number) => void;
  onBrush: (brush: number) => void;
  onComment: (comment: string) => void;
  onVerdict: (verdict: Verdict) => void;
}) {
  const { model, tool, drawn } = props;
  const painting = (wanted: Tool, text: string) => (
    <button aria-pressed={tool === wanted} disabled={!!props.hindered} onClick={() => props.onTool(wanted)}>
      {text}
    </button>
  );
  return (
    <fieldset>
      <legend>Correction</legend>
      <div class="row">
        {painting("paint", "Paint")}
        {painting("erase", "Erase")}
        <button disabled={!props.undo} onClick={() => props.undo?.()}>
          Undo
        </button>
        <button disabled={!drawn} onClick={props.onDiscard}>
          Discard
        </button>
      </div>
      {props.hindered && <p class="muted">{props.hindered}</p>}
      <label for="pen">Class</label>
      <select id="pen" value={props.pen} onChange={(event) => props.onPen(Number(event.currentTarget.value))}>
        {model.classes.map((name, k) => (
          <option key={name} value={k}>
            {name}
          </option>
        ))}
      </select>
      {props.brush !== null && (
        <Slider id="brush" label="Brush" min={0} max={20} step={1} value={props.brush} shown={`${props.brush} px`} onValue={props.onBrush} />
      )}
      <Comment id="comment" value={props.comment} onValue={props.onComment} />
      <div class="row">
        <button class="main" disabled={!drawn} onClick={() => props.onVerdict("corrected")}>
          Save correction
        </button>
        <button disabled={!props.sealed} onClick={() => props.onVerdict("accepted")}>
          Accept
        </button>
        <button onClick={() => props.onVerdict("rejected")}>Reject</button>
      </div>
      {!props.sealed && (
        <p class="muted">{drawn ? "A painted mask is saved as a correction." : "The mask as sealed can be accepted: press As sealed first."}</p>
      )}
      {props.note && <p class="muted">{props.note}</p>}
    </fieldset>
  );
}
