import { useMemo, useState } from "preact/hooks";

import { Answer, ModelInfo, post } from "./api";
import { Bars, Drop, Empty, figure, Origin, Panes, percent, Picture, Slider, Status, Task } from "./parts";
import { decodePng, Gray, Layer } from "./pixels";

export function Verdict(props: { answer: Answer; model: ModelInfo }) {
  const { answer, model } = props;
  if (answer.values)
    return (
      <div class="panel">
        <table>
          <caption>Predicted numbers</caption>
          <tbody>
            {Object.entries(answer.values).map(([name, value]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{figure(value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <Origin answer={answer} />
      </div>
    );
  return (
    <div class="panel">
      <p class="verdict">{answer.prediction}</p>
      <table>
        <tbody>
          {answer.grade !== undefined && (
            <tr>
              <th scope="row">Grade</th>
              <td class="number">
                {answer.grade} of 0 to {model.classes.length - 1}
              </td>
            </tr>
          )}
          <tr>
            <th scope="row">Probability</th>
            <td class="number">{percent(answer.confidence)}</td>
          </tr>
          <tr>
            <th scope="row">Calibrated probability</th>
            <td class="number">{percent(answer.calibrated_confidence)}</td>
          </tr>
        </tbody>
      </table>
      <Bars values={answer.probabilities} title="Every class" />
      <Origin answer={answer} />
    </div>
  );
}

export function Classification(props: { model: ModelInfo; task: Task }) {
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [image, setImage] = useState<Gray | null>(null);
  const [heat, setHeat] = useState<Gray | null>(null);
  const [file, setFile] = useState<File | null>(null);
  const [opacity, setOpacity] = useState(0.5);
  const numbers = props.model.kind === "regression";

  const ask = (one: File, target: string) =>
    props.task.run("Classifying", async () => {
      const options: Record<string, string | boolean> = { model: props.model.name, preview: true };
      if (target) options.target = target;
      const found = await post<Answer>(numbers ? "/classify" : "/classify/gradcam", [one], options);
      setFile(one);
      setAnswer(found);
      setImage(found.preview ? await decodePng(found.preview) : null);
      setHeat(found.preview && found.heatmap ? await decodePng(found.heatmap) : null);
    });

  const layers = useMemo<Layer[]>(
    () => (heat ? [{ values: heat.values, color: [255, 90, 0], opacity, graded: true }] : []),
    [heat, opacity],
  );

  return (
    <Panes
      side={
        <>
          <Drop
            id="classify-file"
            label="Drop an image"
            hint={`${props.model.input.formats.join(", ")}; it stays on this server`}
            onFiles={([one]) => ask(one, "")}
          />
          {file && !numbers && (
            <div class="field">
              <label for="target">Explain the class</label>
              <select id="target" value={answer?.explained} onChange={(event) => ask(file, event.currentTarget.value)}>
                {props.model.classes.map((name) => (
                  <option key={name} value={name}>
                    {name}
                  </option>
                ))}
              </select>
            </div>
          )}
          {!numbers && <Slider id="heat-opacity" label="Opacity of Grad-CAM" value={opacity} onValue={setOpacity} />}
          <Status task={props.task} />
        </>
      }
    >
      {!answer && (
        <Empty>{numbers ? "The predicted numbers appear here." : "The class, its probability and what speaks for it appear here."}</Empty>
      )}
      {answer && (
        <div class="two">
          {image ? (
            <Picture image={image} layers={layers} label={numbers ? "Image" : `Image with Grad-CAM of ${answer.explained}`} />
          ) : (
            <Empty>Volumes are shown under Patient.</Empty>
          )}
          <Verdict answer={answer} model={props.model} />
        </div>
      )}
    </Panes>
  );
}
