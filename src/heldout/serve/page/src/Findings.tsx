// What was found, in numbers: classes, detections, Dice, uncertainty.

import { Answer, Found } from "./api";
import { Finding } from "./export";
import { Origin, percent } from "./parts";
import { COLORS, css, ERRORS } from "./pixels";

export function Findings(props: {
  answer: Answer;
  mask: string; // which mask it is
  findings: Finding[];
  score: number | null;
  unsure: Answer | null;
}) {
  const { answer, findings, score, unsure } = props;
  const flat = answer.shape?.length === 2;
  return (
    <div class="panel">
      <table>
        <caption>{props.mask}</caption>
        <thead>
          <tr>
            <th scope="col">Class</th>
            <th scope="col" class="number">
              Probability of presence
            </th>
            <th scope="col" class="number">
              {flat ? "Pixels" : "Voxels"}
            </th>
            {!flat && (
              <th scope="col" class="number">
                Volume
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {findings.map(({ name, count, ml }, k) => (
            <tr key={name}>
              <th scope="row">
                <span class="swatch" style={{ background: css(COLORS[k % COLORS.length]) }} /> {name}
              </th>
              <td class="number">{percent(answer.probabilities[name])}</td>
              <td class="number">{count.toLocaleString()}</td>
              {!flat && <td class="number">{ml === null ? "no voxel size" : `${ml.toFixed(2)} ml`}</td>}
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
