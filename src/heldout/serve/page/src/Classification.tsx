import { useMemo, useState } from "preact/hooks";

import { Answer, bytesOf, isDicom, keyOf, ModelInfo, onScreen, post, Refusal } from "./api";
import { Review } from "./Correction";
import { Bars, Drop, Empty, figure, Origin, Panes, percent, Picture, Slider, Status, Task, useLatest } from "./parts";
import { decodePng, Gray, Layer } from "./pixels";
import { Overlay, Volume } from "./Volume";

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

  const [volume, setVolume] = useState<File | null>(null); // as the viewer reads it
  const [note, setNote] = useState("");
  const latest = useLatest();

  const ask = (one: File, target: string) =>
    props.task.run("Classifying", async () => {
      const isLast = latest.begin();
      if (one !== file) {
        setFile(null);
        setAnswer(null);
        setImage(null);
        setHeat(null);
        setNote("");
        setVolume(props.model.dimensions === 3 && !isDicom(one) ? one : null);
      }
      const [found, why] = await explained(one, target);
      const flat = props.model.dimensions === 2;
      const picture = flat && found.preview ? await decodePng(found.preview) : null;
      const shown = picture && found.heatmap ? await decodePng(found.heatmap) : null;
      if (!isLast()) return;
      if (!flat && found.preview) setVolume(onScreen(one, found.preview));
      setFile(one);
      setAnswer(found);
      setNote(why);
      setImage(picture);
      setHeat(shown);
    });

  // A network that cannot be explained still classifies.
  const explained = async (one: File, target: string): Promise<[Answer, string]> => {
    const options: Record<string, string | boolean> = { model: keyOf(props.model), preview: true };
    if (target) options.target = target;
    if (!numbers) {
      try {
        return [await post<Answer>("/classify/gradcam", [one], options), ""];
      } catch (problem) {
        if (!(problem instanceof Refusal) || problem.status !== 409) throw problem;
        return [await post<Answer>("/classify", [one], options), problem.message];
      }
    }
    return [await post<Answer>("/classify", [one], options), ""];
  };

  const layers = useMemo<Layer[]>(
    () => (heat ? [{ values: heat.values, color: [255, 90, 0], opacity, graded: true }] : []),
    [heat, opacity],
  );
  const overlays = useMemo<Overlay[]>(
    () =>
      volume && answer?.heatmap
        ? [{ name: `gradcam_${answer.explained}_${answer.request_id}`, content: new Blob([bytesOf(answer.heatmap)]), kind: "probability", opacity }]
        : [],
    [volume, answer, opacity],
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
          {file && answer?.explained && (
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
          {file && answer && <Review file={file} model={props.model} answer={answer} task={props.task} />}
          {!numbers && <Slider id="heat-opacity" label="Opacity of Grad-CAM" value={opacity} onValue={setOpacity} />}
          <Status task={props.task} />
        </>
      }
    >
      {!answer && props.model.dimensions === 2 && (
        <Empty>{numbers ? "The predicted numbers appear here." : "The class, its probability and what speaks for it appear here."}</Empty>
      )}
      {(answer || props.model.dimensions === 3) && (
        <div class="two">
          {image && <Picture image={image} layers={layers} label={numbers ? "Image" : `Image with Grad-CAM of ${answer?.explained}`} />}
          {props.model.dimensions === 3 && (
            <Volume
              file={volume}
              overlays={overlays}
              label={answer?.explained ? `Volume with Grad-CAM of ${answer.explained}` : "Volume"}
              hint="The volume, its class and what speaks for it appear here."
            />
          )}
          <div>
            {note && <p class="warning">Not explained: {note}</p>}
            {answer && <Verdict answer={answer} model={props.model} />}
          </div>
        </div>
      )}
    </Panes>
  );
}
