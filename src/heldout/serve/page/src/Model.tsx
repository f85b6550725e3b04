import { useEffect, useState } from "preact/hooks";

import { Drift, drift, information, keyOf, leaderboard, ModelInfo, Reliability, token } from "./api";
import { save } from "./parts";
import { COLORS, css } from "./pixels";

function Facts(props: { value: unknown }) {
  const { value } = props;
  if (value === null || value === undefined || value === "") return <span class="muted">not on record</span>;
  if (Array.isArray(value)) return <>{value.map(String).join(value.every((one) => /[.!?]$/.test(String(one))) ? " " : ", ")}</>;
  if (typeof value === "object")
    return (
      <table>
        <tbody>
          {Object.entries(value).map(([name, one]) => (
            <tr key={name}>
              <th scope="row">{name.replaceAll("_", " ")}</th>
              <td>
                <Facts value={one} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    );
  return <>{String(value)}</>;
}

export function Model(props: { model: ModelInfo; active: boolean }) {
  const [model, setModel] = useState<ModelInfo>(props.model);
  const [recent, setRecent] = useState<{ of: string; drift: Drift } | null>(null);
  const [problem, setProblem] = useState("");
  const [asked, setAsked] = useState(0); // how often the drift was refreshed
  const key = keyOf(props.model);
  useEffect(() => {
    let alive = true; // another decision may be chosen before the answer comes
    setModel(props.model);
    information(key).then(
      (found) => alive && setModel(found),
      (error) => alive && setProblem(String(error.message)),
    );
    return () => {
      alive = false;
    };
  }, [props.model]);
  useEffect(() => {
    if (!props.active) return;
    let alive = true;
    drift(key).then(
      (found) => {
        if (!alive) return;
        setRecent({ of: key, drift: found });
        setProblem("");
      },
      (error) => alive && setProblem(`The drift is not known: ${error.message}`),
    );
    return () => {
      alive = false;
    };
  }, [props.model, props.active, asked]);
  const card = model.card as Record<string, unknown> | null;
  const sections = ["input", "output", "data", "training", "calibration", "limits", "intended_use"];
  return (
    <div class="stage">
      <div class="grid">
        <div class="panel">
          <p class="verdict">{model.name}</p>
          <p>
            <span class={`chip ${model.sealed ? "good" : "bad"}`}>{model.sealed ? "sealed" : "not sealed"}</span>{" "}
            {model.sealed_at ?? ""}
          </p>
          {model.warnings.map((text) => (
            <p class="warning" key={text}>
              {text}
            </p>
          ))}
          <p>
            <code style={{ overflowWrap: "anywhere" }}>{model.seal}</code>
          </p>
          <Facts
            value={{
              task: `${model.kind} in ${model.dimensions}D${model.two_heads ? ", with a head that classifies" : ""}`,
              classes: model.classes,
              dataset: model.dataset,
              calibration: model.calibration,
              "reads": model.input.formats,
            }}
          />
        </div>
        <div class="panel">
          <h2>Cross-fitted score</h2>
          <p class="verdict">
            {model.metric} {model.score === null ? "not known" : model.score.toFixed(4)}
          </p>
          {model.interval && model.score !== null && <Interval low={model.interval[0]} score={model.score} high={model.interval[1]} />}
          {model.leaderboard && !token.get() && (
            <p>
              <a href="/leaderboard" target="_blank">
                Leaderboard
              </a>
            </p>
          )}
          {model.leaderboard && token.get() && (
            <button onClick={() => leaderboard().then((page) => save("leaderboard.html", page), (error) => setProblem(String(error.message)))}>
              Leaderboard
            </button>
          )}
          {model.leaderboard === false && <p class="muted">No leaderboard here: `python run.py leaderboard` writes it.</p>}
          <Facts value={{ thresholds: Object.fromEntries(Object.entries(model.thresholds).map(([name, value]) => [name, value.toFixed(3)])) }} />
        </div>
        <div class="panel">
          <h2>Members</h2>
          <table>
            <thead>
              <tr>
                <th scope="col">Experiment</th>
                <th scope="col" class="number">
                  Weight
                </th>
                <th scope="col" class="number">
                  Networks
                </th>
                <th scope="col">Flips</th>
              </tr>
            </thead>
            <tbody>
              {model.members.map((one) => (
                <tr key={one.name}>
                  <th scope="row" style={{ overflowWrap: "anywhere" }}>
                    {one.name}
                  </th>
                  <td class="number">{one.weight === null ? "presence" : one.weight.toFixed(3)}</td>
                  <td class="number">{one.networks}</td>
                  <td>{one.tta || "none"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </div>
      {model.reliability.length > 0 && <Diagram curves={model.reliability} />}
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      {recent?.of === key && <DriftTable recent={recent.drift} refresh={() => setAsked(asked + 1)} />}
      <div class="panel">
        <h2>Model card</h2>
        {!card && <p class="muted">There is none yet: `python run.py card {model.name}` writes it.</p>}
        {card &&
          sections.map((name) => (
            <details key={name} open={name === "limits" || name === "intended_use"}>
              <summary>{name.replaceAll("_", " ")}</summary>
              <Facts value={card[name]} />
            </details>
          ))}
      </div>
    </div>
  );
}

function Interval(props: { low: number; score: number; high: number }) {
  const x = (value: number) => 10 + 300 * Math.max(0, Math.min(1, value));
  return (
    <svg viewBox="0 0 320 44" width="100%" role="img" aria-label={`95 % interval from ${props.low.toFixed(3)} to ${props.high.toFixed(3)}`}>
      <line x1="10" x2="310" y1="16" y2="16" stroke="var(--line)" stroke-width="4" />
      <line x1={x(props.low)} x2={x(props.high)} y1="16" y2="16" stroke="var(--accent)" stroke-width="6" />
      <circle cx={x(props.score)} cy="16" r="6" fill="var(--accent)" />
      <text x={Math.min(x(props.low), 262)} y="38" text-anchor="end" font-size="12" fill="var(--muted)">
        {props.low.toFixed(3)}
      </text>
      <text x={Math.min(x(props.high), 276)} y="38" text-anchor="start" font-size="12" fill="var(--muted)">
        {props.high.toFixed(3)}
      </text>
    </svg>
  );
}

const [SIDE, EDGE] = [320, 40];

// Observed share against stated probability; the area of a point is the number of its cases.
function Diagram(props: { curves: Reliability[] }) {
  const x = (value: number) => EDGE + value * (SIDE - EDGE - 10);
  const y = (value: number) => SIDE - EDGE - value * (SIDE - EDGE - 10);
  const most = Math.max(...props.curves.flatMap((one) => one.cases));
  return (
    <div class="panel">
      <h2>Reliability</h2>
      <div class="row" style={{ alignItems: "start", gap: "24px" }}>
        <svg class="chart" style={{ maxWidth: "420px", cursor: "default" }} viewBox={`0 0 ${SIDE} ${SIDE}`} role="img" aria-label="Reliability diagram">
          {[0, 0.5, 1].map((tick) => (
            <g key={tick}>
              <line x1={x(0)} x2={x(1)} y1={y(tick)} y2={y(tick)} />
              <line x1={x(tick)} x2={x(tick)} y1={y(0)} y2={y(1)} />
              <text x={x(0) - 6} y={y(tick) + 4} text-anchor="end">
                {tick}
              </text>
              <text x={x(tick)} y={y(0) + 14} text-anchor="middle">
                {tick}
              </text>
            </g>
          ))}
          <line x1={x(0)} y1={y(0)} x2={x(1)} y2={y(1)} style={{ stroke: "var(--muted)" }} stroke-dasharray="4 4" />
          <text x={x(0.5)} y={SIDE - 6} text-anchor="middle">
            stated probability
          </text>
          <text transform={`translate(10 ${y(0.5)}) rotate(-90)`} text-anchor="middle">
            observed share
          </text>
          {props.curves.map((one, k) => (
            <g key={one.label} fill={css(COLORS[k % COLORS.length])} stroke={css(COLORS[k % COLORS.length])}>
              <polyline fill="none" stroke-width="2" points={one.stated.map((value, i) => `${x(value)},${y(one.observed[i])}`).join(" ")} />
              {one.stated.map((value, i) => (
                <circle key={i} cx={x(value)} cy={y(one.observed[i])} r={2 + 8 * Math.sqrt(one.cases[i] / most)} fill-opacity="0.5">
                  <title>
                    {one.label}: stated {value.toFixed(2)}, observed {one.observed[i].toFixed(2)}, {one.cases[i]} cases
                  </title>
                </circle>
              ))}
            </g>
          ))}
        </svg>
        <div>
          {props.curves.map((one, k) => (
            <p key={one.label}>
              <span class="swatch" style={{ background: css(COLORS[k % COLORS.length]) }} /> {one.label}
            </p>
          ))}
          <p class="muted">Cases that the networks had not seen. On the dashed line, what is stated happens as often as it is stated.</p>
        </div>
      </div>
    </div>
  );
}

function DriftTable(props: { recent: Drift; refresh: () => void }) {
  const { recent } = props;
  const figure = (value: number | null) => (value === null ? "" : Number(value.toPrecision(4)).toLocaleString());
  return (
    <div class="panel">
      <h2>Drift</h2>
      <p>
        {recent.inputs === 0
          ? "No input yet."
          : `${recent.unusual} of the last ${recent.inputs} inputs are unlike the training images.`}{" "}
        <button onClick={props.refresh}>Refresh</button>
      </p>
      <div style={{ overflowX: "auto" }}>
        <table>
          <thead>
            <tr>
              <th scope="col">Measure</th>
              <th scope="col">Inputs in the range of training</th>
              <th scope="col" class="number">
                Inputs, median
              </th>
              <th scope="col" class="number">
                Training, median
              </th>
              <th scope="col" class="number">
                from
              </th>
              <th scope="col" class="number">
                to
              </th>
            </tr>
          </thead>
          <tbody>
            {Object.entries(recent.measures).map(([name, [now, low, middle, high]]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>
                  <Range now={now} low={low} middle={middle} high={high} />
                </td>
                <td class={`number ${now !== null && (now < low || now > high) ? "warning" : ""}`}>{figure(now)}</td>
                <td class="number">{figure(middle)}</td>
                <td class="number">{figure(low)}</td>
                <td class="number">{figure(high)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

// The range of the training images as a bar, their median as a tick, the median of the last inputs as a point.
function Range(props: { now: number | null; low: number; middle: number; high: number }) {
  const span = props.high - props.low || Math.abs(props.high) || 1;
  const x = (value: number) => 8 + 144 * Math.max(0, Math.min(1, (value - props.low + 0.3 * span) / (1.6 * span)));
  const outside = props.now !== null && (props.now < props.low || props.now > props.high);
  return (
    <svg viewBox="0 0 160 16" width="160" height="16" aria-hidden="true">
      <line x1="8" x2="152" y1="8" y2="8" stroke="var(--line)" />
      <line x1={x(props.low)} x2={x(props.high)} y1="8" y2="8" stroke="var(--muted)" stroke-width="5" stroke-opacity="0.45" />
      <line x1={x(props.middle)} x2={x(props.middle)} y1="3" y2="13" stroke="var(--muted)" />
      {props.now !== null && <circle cx={x(props.now)} cy="8" r="5" fill={outside ? "var(--bad)" : "var(--accent)"} />}
    </svg>
  );
}
