import { zipSync } from "fflate";
import { useMemo, useState } from "preact/hooks";

import { Answer, BatchResult, bytesOf, keyOf, ModelInfo, post, Refusal } from "./api";
import { Check, Drop, Empty, figure, Panes, percent, save, Status, Task, useLatest } from "./parts";

const TOGETHER = 8;

type Result = Answer & { error?: string };

interface Row {
  name: string;
  answer: Result | null;
}

function verdict(answer: Answer): string {
  return answer.abstain ? "left to people" : answer.prediction;
}

function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function Batch(props: { model: ModelInfo; task: Task }) {
  const { model, task } = props;
  const segments = model.kind === "segmentation";
  const numbers = model.kind === "regression";
  const [rows, setRows] = useState<Row[]>([]);
  const [done, setDone] = useState(0);
  const [masks, setMasks] = useState(segments);
  const [order, setOrder] = useState<{ key: string; up: boolean }>({ key: "", up: true });

  const latest = useLatest();

  const ask = (files: File[]) =>
    task.run(`Predicting ${files.length} files`, async () => {
      const isLast = latest.begin();
      const all: Row[] = files.map((file) => ({ name: file.name, answer: null }));
      setRows(all);
      setDone(0);
      for (let start = 0; start < files.length; start += TOGETHER) {
        const part = files.slice(start, start + TOGETHER);
        const results = await together(part);
        if (!isLast()) return;
        results.forEach((answer, i) => (all[start + i] = { name: part[i].name, answer }));
        setRows([...all]);
        setDone(start + part.length);
      }
    });

  // Where some files have no answer, the others still get theirs.
  const together = async (files: File[]): Promise<Result[]> => {
    const options = { model: keyOf(model), thumbnail: true, files: segments && masks, maps: false };
    try {
      return (await post<BatchResult>(segments ? "/segment/batch" : "/classify/batch", files, options)).results;
    } catch (problem) {
      if (!(problem instanceof Refusal) || problem.status === 401) throw problem;
      if (files.length === 1) return [{ error: problem.message } as Result];
      const results: Result[] = [];
      for (const file of files) results.push(...(await together([file]))); // they may be too large together
      return results;
    }
  };

  const value = (row: Row, key: string): string | number => {
    if (key === "name") return row.name;
    if (!row.answer || row.answer.error) return -1;
    if (key === "prediction") return verdict(row.answer);
    return (row.answer.values ?? row.answer.probabilities)[key];
  };
  const sorted = useMemo(() => {
    if (!order.key) return rows;
    const sign = order.up ? 1 : -1;
    return [...rows].sort((a, b) => (value(a, order.key) < value(b, order.key) ? -sign : sign));
  }, [rows, order]);

  const table = () => {
    const head = ["name", "prediction", ...model.classes.map((name) => (numbers ? name : `p_${name}`)), "abstain", "error"];
    const lines = rows.map(({ name, answer }) => [
      name,
      answer?.error ? "" : (answer?.prediction ?? ""),
      ...model.classes.map((one) => (answer && !answer.error ? (answer.values ?? answer.probabilities)[one].toFixed(6) : "")),
      answer?.abstain ? (answer.abstain_reason ?? "") : "",
      answer?.error ?? "",
    ]);
    return [head, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
  };

  const download = () => {
    const content: Record<string, Uint8Array> = { "predictions.csv": new TextEncoder().encode(table()) };
    rows.forEach(({ name, answer }, i) => {
      const stem = `${String(i + 1).padStart(3, "0")}_${name.replace(/[^\w.-]/g, "_")}`;
      for (const [file, text] of Object.entries(answer?.files ?? {}))
        if (file.startsWith("mask")) content[`${stem}/${file}`] = bytesOf(text);
    });
    save("predictions.zip", new Blob([zipSync(content, { level: 0 }) as Uint8Array<ArrayBuffer>], { type: "application/zip" }));
  };

  const heading = (key: string, text: string, number = false) => (
    <th scope="col" class={number ? "number" : ""} aria-sort={order.key === key ? (order.up ? "ascending" : "descending") : "none"}>
      <button onClick={() => setOrder({ key, up: order.key === key ? !order.up : true })}>
        {text} {order.key === key ? (order.up ? "▲" : "▼") : ""}
      </button>
    </th>
  );

  return (
    <Panes
      side={
        <>
          <Drop
            id="batch-files"
            label="Drop many files"
            hint={`${model.input.formats.join(", ")}; ${TOGETHER} at a time`}
            several
            onFiles={ask}
          />
          {segments && <Check id="batch-masks" label="with masks" value={masks} onValue={setMasks} />}
          {rows.length > 0 && (
            <>
              <div class="field">
                <label for="batch-progress">
                  {done} of {rows.length}
                </label>
                <progress id="batch-progress" max={rows.length} value={done} />
              </div>
              <div class="row">
                <button onClick={() => save("predictions.csv", new Blob([table()], { type: "text/csv" }))}>CSV</button>
                <button onClick={download}>Zip{segments && masks ? " with masks" : ""}</button>
              </div>
            </>
          )}
          <Status task={task} />
        </>
      }
    >
      {!rows.length && <Empty>A table of all files appears here, to sort and to download.</Empty>}
      {rows.length > 0 && (
        <div class="panel">
          <table id="batch-table">
            <thead>
              <tr>
                <th scope="col">Image</th>
                {heading("name", "File")}
                {!numbers && heading("prediction", "Prediction")}
                {model.classes.map((name) => heading(name, name, true))}
              </tr>
            </thead>
            <tbody>
              {sorted.map((row, i) => (
                <tr key={`${row.name}${i}`}>
                  <td>
                    {row.answer?.thumbnail ? (
                      <img class="thumb" alt="" src={`data:image/png;base64,${row.answer.thumbnail}`} />
                    ) : (
                      <div class="thumb" />
                    )}
                  </td>
                  <td>{row.name}</td>
                  {row.answer?.error ? (
                    <td class="error" colSpan={(numbers ? 0 : 1) + model.classes.length}>
                      {row.answer.error}
                    </td>
                  ) : (
                    <>
                      {!numbers && <td title={row.answer?.abstain_reason ?? ""}>{row.answer ? verdict(row.answer) : "…"}</td>}
                      {model.classes.map((name) => (
                        <td key={name} class="number">
                          {row.answer ? (row.answer.values ? figure(row.answer.values[name]) : percent(row.answer.probabilities[name])) : ""}
                        </td>
                      ))}
                    </>
                  )}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panes>
  );
}
