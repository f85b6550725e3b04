// A volume in three planes and in 3D, with label and graded overlays and a drawing (NiiVue).
//
// What NiiVue does again for every layer when one of them changes is most of the time that a browser without a GPU
// needs. So overlays are drawn by themselves here, and the 3D view, which nobody without a GPU turns, is asked for.

import { Niivue, NVImage, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import { useEffect, useRef, useState } from "preact/hooks";

import { COLORS } from "./pixels";

export interface Overlay {
  name: string;
  content: Blob;
  kind: "label" | "probability" | "uncertainty";
  colors?: [number, number, number][]; // of a label's values from 1
  opacity: number;
  from?: number; // values below are not shown
}

// The mask that a drawing starts from: values of at least `from` are its class, or each value is a class.
export interface Start {
  content: Blob;
  from?: number;
}

export interface Handle {
  viewer: Niivue;
  drawing: () => Promise<Uint8Array | null>;
  picture: (marked: boolean) => string; // what is on the screen as a data URL, with or without overlays
}

export function Volume(props: {
  file: File | null;
  overlays: Overlay[];
  pen?: number | null; // label to draw, 0 erases, null draws nothing
  start?: Start | null; // a drawing is open, and began as this; null closes it
  opacity?: number; // of the drawing
  slice?: number | null; // of the last axis, from the feet up
  label: string;
  hint: string; // where there is no file yet
  onReady?: (handle: Handle) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const viewer = useRef<Niivue | null>(null);
  const [attached, setAttached] = useState(false);
  const [solid, setSolid] = useState(false); // whether the 3D view is drawn
  const [loaded, setLoaded] = useState(0);
  const [shown, setShown] = useState(0); // overlays that are drawn
  const [open, setOpen] = useState(0); // how many drawings were opened; 0 while there is none
  const [problem, setProblem] = useState("");

  useEffect(() => {
    const nv = new Niivue({
      backColor: [0.05, 0.07, 0.09, 1],
      isColorbar: false,
      crosshairWidth: 0.3,
      multiplanarShowRender: SHOW_RENDER.NEVER,
      dragAndDropEnabled: false,
      crosshairColor: [0.31, 0.77, 0.73, 0.7],
      loadingText: "",
      logLevel: "warn",
    });
    const attach = async () => {
      await nv.attachToCanvas(canvas.current!);
      nv.setSliceType(SLICE_TYPE.MULTIPLANAR);
      viewer.current = nv;
      setSolid(!isSoftware(nv.gl));
      setAttached(true);
    };
    // its programs take a second to compile without a GPU: not before the tab is looked at, but before there is a file
    const seen = new ResizeObserver(([entry]) => {
      if (!entry.contentRect.width) return;
      seen.disconnect();
      attach().catch((error) => setProblem(String(error)));
    });
    seen.observe(canvas.current!);
    return () => {
      seen.disconnect();
      if (viewer.current) nv.cleanup();
      viewer.current = null;
    };
  }, []);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv) return;
    nv.opts.multiplanarShowRender = solid ? SHOW_RENDER.ALWAYS : SHOW_RENDER.NEVER;
    nv.drawScene();
  }, [attached, solid]);

  const names = props.overlays.map((one) => one.name).join("|");
  const wanted = useRef(props.overlays);
  wanted.current = props.overlays;

  useEffect(() => {
    const nv = viewer.current;
    if (!nv) return;
    let alive = true;
    setLoaded(0);
    setShown(0);
    setProblem("");
    if (!props.file) {
      clear(nv); // the last case must not be taken for this one
      return;
    }
    (async () => {
      const image = await NVImage.loadFromFile({ file: props.file!, name: props.file!.name });
      if (!alive) return;
      if (nv.drawBitmap) nv.closeDrawing();
      nv.volumes = [];
      nv.addVolume(image); // forgets the overlays
      props.onReady?.({ viewer: nv, drawing: () => saved(nv), picture: (marked) => pictureOf(nv, wanted.current, marked) });
      setLoaded((n) => n + 1);
    })().catch((error) => setProblem(error instanceof Error ? error.message : String(error)));
    return () => {
      alive = false;
    };
  }, [attached, props.file]);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !loaded) return;
    let alive = true;
    (async () => {
      const images = await Promise.all(wanted.current.map(imageOf));
      if (!alive || (!images.length && !nv.overlays.length)) return;
      nv.volumes = [nv.volumes[0], ...images];
      nv.overlays = images;
      drawOverlays(nv, wanted.current);
      setShown(images.length);
    })().catch((error) => setProblem(String(error)));
    return () => {
      alive = false;
    };
  }, [loaded, names]);

  useEffect(() => {
    const nv = viewer.current;
    if (nv && shown && nv.overlays.length === props.overlays.length) drawOverlays(nv, props.overlays);
  }, [props.overlays]);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !loaded || props.start === undefined) return;
    if (!props.start) {
      if (nv.drawBitmap) nv.closeDrawing();
      setOpen(0);
      return;
    }
    const { content, from } = props.start;
    (async () => {
      const mask = await NVImage.loadFromFile({ file: new File([content], "mask.nii.gz"), name: "mask.nii.gz" });
      mask.img = Uint8Array.from(mask.img as Uint8Array, (value) => (from === undefined ? value : Number(value >= from)));
      const own: number[][] = [[0, 0, 0], ...COLORS];
      const colors = {
        R: own.map((c) => c[0]),
        G: own.map((c) => c[1]),
        B: own.map((c) => c[2]),
        A: own.map((_, k) => (k ? 255 : 0)),
        labels: own.map((_, k) => String(k)),
      };
      nv.setDrawColormap(colors as unknown as string); // it takes both, whatever its type says
      if (nv.loadDrawing(mask)) setOpen((n) => n + 1);
      else setProblem("the mask is on another grid");
    })();
  }, [loaded, props.start]);

  useEffect(() => {
    if (open) viewer.current?.setDrawOpacity(props.opacity ?? 0.55);
  }, [open, props.opacity]);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !open || props.pen === undefined) return;
    nv.setDrawingEnabled(props.pen !== null);
    if (props.pen !== null) nv.setPenValue(props.pen, false);
  }, [open, props.pen]);

  useEffect(() => {
    const nv = viewer.current;
    if (!nv || !loaded || props.slice === undefined || props.slice === null) return;
    const depth = nv.volumes[0].dimsRAS?.[3] ?? 1;
    nv.scene.crosshairPos = [nv.scene.crosshairPos[0], nv.scene.crosshairPos[1], (props.slice + 0.5) / depth];
    nv.drawScene();
  }, [loaded, props.slice]);

  return (
    <div>
      <div class="volume">
        <canvas ref={canvas} aria-label={props.label} role="img" data-attached={Number(attached)} data-loaded={loaded} data-overlays={shown} data-drawing={open} />
        {!props.file && <p class="muted">{props.hint}</p>}
        {loaded > 0 && (
          <button aria-pressed={solid} onClick={() => setSolid(!solid)}>
            3D
          </button>
        )}
      </div>
      {problem && <p class="error">The volume cannot be shown: {problem}</p>}
    </div>
  );
}

async function imageOf(one: Overlay): Promise<NVImage> {
  const name = `${one.name}.nii.gz`;
  const image = await NVImage.loadFromFile({ file: new File([one.content], name), name, opacity: one.opacity });
  if (one.kind === "label") {
    const own = [[0, 0, 0], ...(one.colors ?? COLORS)];
    image.setColormapLabel({
      R: own.map((c) => c[0]),
      G: own.map((c) => c[1]),
      B: own.map((c) => c[2]),
      A: own.map((_, k) => (k ? 255 : 0)),
      I: own.map((_, k) => k),
      labels: own.map((_, k) => String(k)),
    });
  } else {
    image.colormap = one.kind === "probability" ? "warm" : "plasma";
    image.cal_max = 255;
  }
  return image;
}

// The volume below them is as it was, so its layer is not made again.
function drawOverlays(nv: Niivue, overlays: Overlay[]): void {
  overlays.forEach((one, k) => {
    nv.overlays[k].opacity = one.opacity;
    if (one.kind !== "label") nv.overlays[k].cal_min = one.from ?? 1;
  });
  nv.gl.deleteTexture(nv.overlayTexture); // NiiVue makes another for the first of them
  nv.overlayTexture = null;
  if (nv.overlays.length) nv.overlays.forEach((image, k) => nv.refreshLayers(image, k + 1));
  else nv.refreshLayers(nv.volumes[0], 0); // says that there is none
  nv.drawScene();
}

// Read in the same task as it is drawn: a canvas of WebGL is empty afterwards.
function pictureOf(nv: Niivue, overlays: Overlay[], marked: boolean): string {
  if (!marked) drawOverlays(nv, overlays.map((one) => ({ ...one, opacity: 0 })));
  nv.drawScene();
  const picture = nv.canvas!.toDataURL("image/png");
  if (!marked) drawOverlays(nv, overlays);
  return picture;
}

function clear(nv: Niivue): void {
  if (!nv.volumes.length) return;
  if (nv.drawBitmap) nv.closeDrawing();
  nv.volumes = [];
  nv.overlays = [];
  nv.updateGLVolume();
  nv.drawScene();
}

function isSoftware(gl: WebGL2RenderingContext): boolean {
  const named = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = String(gl.getParameter(named ? named.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  return /swiftshader|llvmpipe|software|basic render/i.test(renderer);
}

async function saved(nv: Niivue): Promise<Uint8Array | null> {
  const content = await nv.saveImage({ filename: "", isSaveDrawing: true, volumeByIndex: 0 });
  return content instanceof Uint8Array ? content : null;
}
