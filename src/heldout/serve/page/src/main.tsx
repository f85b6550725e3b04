import "./style.css";

import { render } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { keyOf, ModelInfo, models as list, Refusal, token } from "./api";
import { Batch } from "./Batch";
import { Classification } from "./Classification";
import { Model } from "./Model";
import { Empty, useTask } from "./parts";
import { Patient } from "./Patient";
import { Segmentation } from "./Segmentation";

const TABS = ["Classification", "Segmentation", "Batch", "Patient", "Model"] as const;
type Tab = (typeof TABS)[number];

const LOOK = 60_000; // ms between looks at what is served

const SHORTCUTS: [string, string][] = [
  ["1 … 5", "the tabs"],
  ["o", "open a file"],
  ["[ and ]", "less and more opacity"],
  ["p, e", "paint, erase"],
  ["d", "dark or light"],
  ["?", "this list"],
];

function fits(tab: Tab, model: ModelInfo): boolean {
  if (tab === "Classification") return model.kind !== "segmentation" || model.two_heads;
  if (tab === "Segmentation") return model.kind === "segmentation";
  return true;
}

// What a tab has on the screen stays where another decision of the same kind takes over.
function kindOf(model: ModelInfo): string {
  return JSON.stringify([keyOf(model), model.kind, model.dimensions, model.objects, model.exclusive, model.classes]);
}

function App() {
  const [models, setModels] = useState<ModelInfo[]>([]);
  const [chosen, setChosen] = useState<Partial<Record<Tab, string>>>({});
  const [tab, setTab] = useState<Tab>("Segmentation");
  const [state, setState] = useState("The networks are being loaded …");
  const [theme, setTheme] = useState(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const login = useRef<HTMLDialogElement>(null);
  const help = useRef<HTMLDialogElement>(null);
  const onToken = useCallback(() => login.current?.showModal(), []);
  const tasks = { Classification: useTask(onToken), Segmentation: useTask(onToken), Batch: useTask(onToken), Patient: useTask(onToken), Model: useTask(onToken) };

  const refresh = useCallback(
    (found: ModelInfo[]) => setModels((now) => (found.length && JSON.stringify(found) !== JSON.stringify(now) ? found : now)),
    [],
  );
  const load = useCallback(async () => {
    try {
      const found = await list();
      setModels(found);
      if (!found.length) setTimeout(load, 1000);
      else setTab((now) => (found.some((one) => fits(now, one)) ? now : "Classification"));
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) onToken();
      else setState(error instanceof Error ? error.message : String(error));
    }
  }, []);
  useEffect(() => {
    load();
    const look = () => list().then(refresh, () => undefined); // another decision may have taken over
    const timer = setInterval(look, LOOK);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
      const number = Number(event.key);
      if (number >= 1 && number <= TABS.length) setTab(TABS[number - 1]);
      if (event.key === "d") setTheme((now) => (now === "dark" ? "light" : "dark"));
      if (event.key === "?") help.current?.showModal();
      if (event.key === "o") document.querySelector<HTMLInputElement>("main [role=tabpanel]:not([hidden]) .drop input")?.click();
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);

  const modelOf = (one: Tab): ModelInfo | undefined => {
    const fitting = models.filter((model) => fits(one, model));
    return fitting.find((model) => keyOf(model) === chosen[one]) ?? (one === "Patient" ? fitting.find((model) => model.dimensions === 3) : undefined) ?? fitting[0];
  };
  const model = modelOf(tab);

  return (
    <>
      <header>
        <h1>heldout</h1>
        {models.length > 0 && (
          <>
            <label for="decision" class="muted">
              Decision
            </label>
            <select id="decision" value={model && keyOf(model)} onChange={(event) => setChosen({ ...chosen, [tab]: event.currentTarget.value })}>
              {models
                .filter((one) => fits(tab, one))
                .map((one) => (
                  <option key={keyOf(one)} value={keyOf(one)}>
                    {keyOf(one)}
                  </option>
                ))}
            </select>
            {model && (
              <span>
                <span class={`chip ${model.sealed ? "good" : "bad"}`}>{model.sealed ? "sealed" : "not sealed"}</span>{" "}
                <code title={model.seal}>{model.seal.slice(0, 12)}</code>
              </span>
            )}
          </>
        )}
        <span class="grow" />
        <button onClick={() => help.current?.showModal()} aria-label="Keyboard shortcuts">
          ?
        </button>
        <button onClick={() => setTheme(theme === "dark" ? "light" : "dark")}>{theme === "dark" ? "Light" : "Dark"}</button>
      </header>
      <div class="banner">Research use only. Not a medical device: not validated for clinical use.</div>
      <nav role="tablist" aria-label="Views">
        {TABS.map((one) => (
          <button key={one} role="tab" id={`tab-${one}`} aria-selected={tab === one} aria-controls={`panel-${one}`} onClick={() => setTab(one)}>
            {one}
          </button>
        ))}
      </nav>
      <main>
        {!models.length && <Empty>{state}</Empty>}
        {models.length > 0 &&
          TABS.map((one) => {
            const own = modelOf(one);
            return (
              <div key={one} role="tabpanel" id={`panel-${one}`} aria-labelledby={`tab-${one}`} hidden={tab !== one}>
                {!own && <Empty>No decision that is served here does this.</Empty>}
                {own && one === "Classification" && <Classification key={kindOf(own)} model={own} task={tasks[one]} />}
                {own && one === "Segmentation" && <Segmentation key={kindOf(own)} model={own} task={tasks[one]} />}
                {own && one === "Batch" && <Batch key={kindOf(own)} model={own} task={tasks[one]} />}
                {own && one === "Patient" && <Patient key={kindOf(own)} model={own} task={tasks[one]} />}
                {own && one === "Model" && <Model model={own} active={tab === one} />}
              </div>
            );
          })}
      </main>
      <dialog ref={login} aria-labelledby="login-title">
        <form
          method="dialog"
          onSubmit={(event) => {
            token.set(String(new FormData(event.currentTarget).get("token") ?? ""));
            load();
          }}
        >
          <h2 id="login-title">Token</h2>
          <p class="muted">This service asks for a token. It is kept until this window is closed.</p>
          <label for="token">Token</label> <input id="token" name="token" type="password" autocomplete="off" />{" "}
          <button class="main">Continue</button>
        </form>
      </dialog>
      <dialog ref={help} aria-labelledby="help-title">
        <h2 id="help-title">Keyboard shortcuts</h2>
        <table>
          <tbody>
            {SHORTCUTS.map(([keys, what]) => (
              <tr key={keys}>
                <th scope="row">
                  <kbd>{keys}</kbd>
                </th>
                <td>{what}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <form method="dialog">
          <button>Close</button>
        </form>
      </dialog>
    </>
  );
}

render(<App />, document.getElementById("app")!);
