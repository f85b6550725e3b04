// The tools of a reviewer: paint, erase, comment, and what becomes of the mask.

import { ModelInfo } from "./api";
import { Slider } from "./parts";

export type Tool = "none" | "paint" | "erase";
export type Verdict = "accepted" | "corrected" | "rejected";

export function Correction(props: {
  model: ModelInfo;
  tool: Tool;
  hindered: string; // why nothing can be reviewed; empty where it can
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
      <label for="comment">Comment</label>
      <textarea id="comment" rows={2} value={props.comment} onInput={(event) => props.onComment(event.currentTarget.value)} />
      <div class="row">
        <button class="main" disabled={!drawn} onClick={() => props.onVerdict("corrected")}>
          Save correction
        </button>
        <button disabled={!!props.hindered || !props.sealed} onClick={() => props.onVerdict("accepted")}>
          Accept
        </button>
        <button disabled={!!props.hindered} onClick={() => props.onVerdict("rejected")}>
          Reject
        </button>
      </div>
      {!props.sealed && !props.hindered && (
        <p class="muted">{drawn ? "A painted mask is saved as a correction." : "The mask as sealed can be accepted: press As sealed first."}</p>
      )}
      {props.note && <p class="muted">{props.note}</p>}
    </fieldset>
  );
}
